"""NIP-98: a signed event as the authorization of one HTTP request; NIP-86 asks for its payload."""

import base64
import hmac
from hashlib import sha256

from bunker_core.errors import InvalidEvent, InvalidInput, InvalidURI
from bunker_core.event import parse_event_json, verify
from bunker_core.kinds import HTTP_AUTH
from bunker_core.nips.relay_url import parse_relay_url

MAX_SKEW = 60  # seconds, NIP-98


class InvalidAuthorization(InvalidInput):
    """A header that does not authorize the request."""


def check_authorization(
    header: str, *, relay_urls: frozenset[str], method: str, body: bytes, now: int
) -> tuple[str, str]:
    """Return (pubkey, event id) of who signed for this request to one of `relay_urls`.

    `u` may be the relay's ws:// or its http:// address: NIP-86 and NIP-98 differ. Raises
    InvalidAuthorization; the id lets the caller refuse to see it twice.
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "nostr":
        raise InvalidAuthorization("authorization is not of scheme Nostr")
    try:
        event = parse_event_json(base64.b64decode(token.strip(), validate=True))
    except (ValueError, InvalidEvent):
        raise InvalidAuthorization("authorization is not an event in base64") from None
    if event.kind != HTTP_AUTH:
        raise InvalidAuthorization(f"kind is not {HTTP_AUTH}")
    if abs(event.created_at - now) > MAX_SKEW:
        raise InvalidAuthorization("created_at is too far from the relay's clock")
    if event.tag_values("method") != (method,):
        raise InvalidAuthorization("method does not match")
    urls = event.tag_values("u")
    if len(urls) != 1 or _as_relay_url(urls[0]) not in relay_urls:
        raise InvalidAuthorization("u does not match the relay's address")
    payload = event.tag_values("payload")
    digest = sha256(body).hexdigest()
    if len(payload) != 1 or not hmac.compare_digest(payload[0].encode(), digest.encode()):
        raise InvalidAuthorization("payload does not match the body")
    try:
        verify(event)
    except InvalidEvent as error:
        raise InvalidAuthorization(str(error)) from None
    return event.pubkey, event.id


class Authorizations:
    """Those that were used, for as long as they would still be taken."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}  # id: when to forget it

    def use(self, event_id: str, now: float) -> bool:
        """Use an authorization at `now` (Unix seconds); False when it was used before."""
        self._used = {used: until for used, until in self._used.items() if until > now}
        if event_id in self._used:
            return False
        self._used[event_id] = now + 2 * MAX_SKEW + 1
        return True


def _as_relay_url(url: str) -> str | None:
    for http, websocket in (("http://", "ws://"), ("https://", "wss://")):
        if url.startswith(http):
            url = websocket + url.removeprefix(http)
            break
    try:
        return parse_relay_url(url)
    except InvalidURI:
        return None
