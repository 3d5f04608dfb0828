"""NIP-59: what lies in a gift wrap, and who really sent it. For NIP-17's private messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, event_id, parse_event_json, parse_template, verify
from bunker_core.kinds import GIFT_WRAP

SEAL: Final = 13
MESSAGE: Final = 14  # NIP-17

# Returns the plaintext of a NIP-44 payload from a pubkey; raises CryptoError and InvalidKey.
Open = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Rumor:
    """The unsigned event inside. `pubkey` is who sent it: the seal around it is signed by them."""

    pubkey: str
    id: str
    kind: int
    content: str
    created_at: int  # Unix seconds; seal and wrap are dated at random


def unwrap(wrap: Event, opened: Open) -> Rumor:
    """Return what is in a gift wrap to us; raises InvalidEvent, CryptoError and InvalidKey."""
    if wrap.kind != GIFT_WRAP:
        raise InvalidEvent("not a gift wrap")
    seal = verify(parse_event_json(opened(wrap.pubkey, wrap.content)))
    if seal.kind != SEAL or seal.tags:
        raise InvalidEvent("not a seal")
    try:
        value: Any = orjson.loads(opened(seal.pubkey, seal.content))
    except orjson.JSONDecodeError:
        raise InvalidEvent("rumor is not JSON") from None
    template = parse_template(value)
    # NIP-17: or anybody could speak in another's name.
    if value.get("pubkey") != seal.pubkey:
        raise InvalidEvent("rumor is of another author than its seal")
    identifier = event_id(template, seal.pubkey)
    if value.get("id", identifier) != identifier or value.get("sig"):
        raise InvalidEvent("not a rumor")
    return Rumor(seal.pubkey, identifier, template.kind, template.content, template.created_at)
