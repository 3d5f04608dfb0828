"""NIP-42: a client proves to a relay that it holds a key."""

import hmac
from typing import Final

from bunker_core.errors import InvalidAuth, InvalidEvent, InvalidURI
from bunker_core.event import Event, EventTemplate, VerifiedEvent, verify
from bunker_core.kinds import CLIENT_AUTH
from bunker_core.nips.relay_url import parse_relay_url

MAX_SKEW: Final = 600  # seconds; NIP-42 suggests about ten minutes


def auth_template(relay_url: str, challenge: str, created_at: int) -> EventTemplate:
    """Return the event that answers `challenge` when it is signed."""
    return EventTemplate(
        kind=CLIENT_AUTH,
        tags=(("relay", relay_url), ("challenge", challenge)),
        created_at=created_at,
    )


def check_auth(event: Event, relay_urls: frozenset[str], challenge: str, now: int) -> VerifiedEvent:
    """Return `event` if it authenticates its author to one of `relay_urls` at `now`.

    `relay_urls` are in the normal form of `parse_relay_url`. Raises InvalidAuth that says what
    does not match; the signature comes last, because it costs most.
    """
    if event.kind != CLIENT_AUTH:
        raise InvalidAuth(f"kind is not {CLIENT_AUTH}")
    if abs(event.created_at - now) > MAX_SKEW:
        raise InvalidAuth("created_at is too far from the relay's clock")
    given = event.tag_values("challenge")
    if len(given) != 1 or not hmac.compare_digest(_bytes(given[0]), _bytes(challenge)):
        raise InvalidAuth("challenge does not match")
    relays = event.tag_values("relay")  # one: an event for two relays could be shown to the other
    if len(relays) != 1 or not _names(relays[0], relay_urls):
        raise InvalidAuth("relay does not match")
    try:
        return verify(event)
    except InvalidEvent as error:
        raise InvalidAuth(str(error)) from None


def _names(url: str, relay_urls: frozenset[str]) -> bool:
    try:
        return parse_relay_url(url) in relay_urls
    except InvalidURI:
        return False


def _bytes(text: str) -> bytes:
    # a lone surrogate, which other JSON parsers than ours let through, has to compare as unequal
    return text.encode(errors="surrogatepass")
