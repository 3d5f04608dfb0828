"""The relay information document (NIP-11)."""

from typing import Any

from bunker_core.messages import MAX_SUBSCRIPTION_ID
from bunker_relay import __version__
from bunker_relay.config import Config

SUPPORTED_NIPS = (1, 9, 11, 40, 42, 45)


def document(config: Config) -> dict[str, Any]:
    """Return the document; every number in `limitation` is one that the relay enforces."""
    limits = config.limits
    return {
        "name": config.name,
        "description": config.description,
        "supported_nips": list(SUPPORTED_NIPS),
        "software": "https://pypi.org/project/nostr-bunker-relay/",
        "version": __version__,
        "limitation": {
            "max_message_length": limits.max_message_bytes,
            "max_subscriptions": limits.max_subscriptions,
            "max_limit": limits.max_limit,
            "default_limit": limits.default_limit,
            "max_subid_length": MAX_SUBSCRIPTION_ID,
            "max_event_tags": limits.max_event_tags,
            "max_content_length": limits.max_content_length,
            "min_pow_difficulty": 0,
            "auth_required": False,
            "payment_required": False,
            "restricted_writes": False,
            "created_at_lower_limit": limits.created_at_lower_limit,
            "created_at_upper_limit": limits.created_at_upper_limit,
        },
    }
