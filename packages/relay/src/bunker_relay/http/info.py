"""The relay information document (NIP-11)."""

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Final

from bunker_core.messages import MAX_SUBSCRIPTION_ID
from bunker_relay import __version__
from bunker_relay.config import Config, Profile

MEDIA_TYPE: Final = "application/nostr+json"


def document(config: Config) -> dict[str, Any]:
    """Return the document; every number in `limitation` is one that the relay enforces."""
    limits = config.limits
    nips = [1, 11, 40, 42, 46, 70]
    if config.profile is not Profile.BUNKER:
        nips += [9, 13, 45, 67]
    if config.admin is not None:
        nips += [86, 98]
    result: dict[str, Any] = {
        "name": config.name,
        "description": config.description,
        "supported_nips": sorted(nips),
        "version": __version__,
        "limitation": {
            "max_message_length": limits.max_frame_bytes,
            "max_subscriptions": limits.max_subscriptions,
            "max_limit": limits.max_limit,
            "default_limit": limits.default_limit,
            "max_subid_length": MAX_SUBSCRIPTION_ID,
            "max_event_tags": limits.max_event_tags,
            "max_content_length": limits.max_content_length,
            "min_pow_difficulty": limits.min_pow_difficulty,
            "auth_required": False,
            "payment_required": False,
            "restricted_writes": config.profile is not Profile.OPEN or config.gated,
            "created_at_upper_limit": limits.created_at_upper_limit,
        },
    }
    if limits.created_at_lower_limit:  # 0 means no limit to us, and "nothing from the past" there
        result["limitation"]["created_at_lower_limit"] = limits.created_at_lower_limit
    optional = {
        "pubkey": config.owner,
        "contact": config.contact,
        "icon": config.icon,
        "software": homepage(),
    }
    return result | {key: value for key, value in optional.items() if value is not None}


@cache
def homepage() -> str | None:
    """Return the project's homepage, if the package names one.

    NIP-11: if `software` is present, it MUST be a URL to the project's homepage.
    """
    try:
        urls = metadata("nostr-bunker-relay").get_all("Project-URL") or ()
    except PackageNotFoundError:
        return None
    pairs = (text.partition(", ") for text in urls)
    return next((url for label, _, url in pairs if label.lower() == "homepage"), None)
