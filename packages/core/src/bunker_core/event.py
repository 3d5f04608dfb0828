"""Events: canonical form, id, signature and strict parsing (NIP-01)."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NewType, Protocol

import orjson

from bunker_core import keys
from bunker_core.errors import InvalidEvent
from bunker_core.kinds import MAX_KIND

# The largest integer that every JSON implementation keeps exact (RFC 8259, section 6).
MAX_TIMESTAMP: Final = 2**53 - 1

Tags = tuple[tuple[str, ...], ...]

_HEX: Final = frozenset("0123456789abcdef")
_ARRAY: Final = (list, tuple)
_unhex: Final = bytes.fromhex
_new_event: Final = object.__new__


@dataclass(frozen=True, slots=True)
class EventTemplate:
    """What an app wants signed: no author, no id, no signature yet."""

    kind: int
    content: str = field(default="", repr=False)  # a repr ends in logs: it names, it does not tell
    tags: Tags = field(default=(), repr=False)
    created_at: int = 0

    def __post_init__(self) -> None:
        _check_template(self.kind, self.content, self.tags, self.created_at)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of NIP-46's `sign_event`."""
        return {
            "kind": self.kind,
            "content": self.content,
            "tags": self.tags,
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True, init=False)
class Event:
    """A signed event of the right shape. Whether id and signature hold, `verify` tells."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags = field(repr=False)
    content: str = field(repr=False)
    sig: str = field(repr=False)

    def __init__(
        self,
        id: str,  # noqa: A002 -- NIP-01's name
        pubkey: str,
        created_at: int,
        kind: int,
        tags: Tags,
        content: str,
        sig: str,
    ) -> None:
        _fill(self, id, pubkey, created_at, kind, tags, content, sig)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of NIP-01."""
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": self.tags,
            "content": self.content,
            "sig": self.sig,
        }

    def to_json(self) -> bytes:
        """Return the event as compact UTF-8 JSON."""
        return _dumps(self.to_dict())

    def tag_values(self, name: str) -> tuple[str, ...]:
        """Return the first value of every tag called `name`, in order (NIP-01 indexes only it)."""
        return tuple([tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name])


_set_id, _set_pubkey, _set_created_at, _set_kind, _set_tags, _set_content, _set_sig = (
    Event.__dict__[name].__set__ for name in Event.__slots__
)


def _fill(
    event: Event,
    event_id: str,
    pubkey: str,
    created_at: int,
    kind: int,
    tags: Tags,
    content: str,
    sig: str,
) -> None:
    """Check the fields and set them: a relay makes an event for every frame.

    The slots are set past the guard of a frozen dataclass, at half of what its own way costs.
    """
    # All three in one go. `fromhex` alone would skip spaces and take capitals; what it has read is
    # written back and compared.
    try:
        text = event_id + pubkey + sig
        are_hex = len(event_id) == len(pubkey) == 64 and len(text) == 256
        are_hex = are_hex and _unhex(text).hex() == text
    except (TypeError, ValueError):
        are_hex = False
    if not are_hex:
        raise InvalidEvent(_hex_fault(event_id, pubkey))
    _check_template(kind, content, tags, created_at)
    _set_id(event, event_id)
    _set_pubkey(event, pubkey)
    _set_created_at(event, created_at)
    _set_kind(event, kind)
    _set_tags(event, tags)
    _set_content(event, content)
    _set_sig(event, sig)


def signed(template: EventTemplate, event_id: str, pubkey: str, signature: bytes) -> Event:
    """Return the event that `template` becomes by the 64-byte `signature` of its id.

    For who has computed `event_id` and `pubkey` and signed: the template was checked when it was
    made, and nothing is checked again.
    """
    event = _new_event(Event)
    _set_id(event, event_id)
    _set_pubkey(event, pubkey)
    _set_created_at(event, template.created_at)
    _set_kind(event, template.kind)
    _set_tags(event, template.tags)
    _set_content(event, template.content)
    _set_sig(event, signature.hex())
    return event


# An Event that `verify` has let through; only the type tells, it costs nothing at run time.
VerifiedEvent = NewType("VerifiedEvent", Event)


# Signs a template in the name of some key: a client's own, or a sealed one.
Sign = Callable[[EventTemplate], Event]


class SigningKey(Protocol):
    """What can sign an event id, such as `keys.SecretKey`."""

    @property
    def pubkey(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


def canonical(
    pubkey: str,
    created_at: int,
    kind: int,
    tags: Iterable[Iterable[str]],
    content: str,
) -> bytes:
    """Return the UTF-8 JSON array that the event id is the SHA-256 of.

    Control characters that NIP-01 gives no short escape for are written `\\u00XX`, as
    JSON.stringify does and so every client in the field; NIP-01's text would have them verbatim.
    """
    return _dumps([0, pubkey, created_at, kind, tags, content])


def _digest(event: EventTemplate | Event, pubkey: str) -> bytes:
    return sha256(
        canonical(pubkey, event.created_at, event.kind, event.tags, event.content)
    ).digest()


def event_id(template: EventTemplate, pubkey: str) -> str:
    """Return the id that `template` has when `pubkey` signs it."""
    return _digest(template, pubkey).hex()


def sign_event(template: EventTemplate, key: SigningKey) -> VerifiedEvent:
    """Return `template` signed by `key`."""
    pubkey = key.pubkey
    digest = _digest(template, pubkey)
    return VerifiedEvent(signed(template, digest.hex(), pubkey, key.sign(digest)))


def verify(event: Event) -> VerifiedEvent:
    """Check id and signature; raises InvalidEvent that says which of them does not match."""
    digest = _digest(event, event.pubkey)
    if digest.hex() != event.id:
        raise InvalidEvent("event id does not match")
    if not keys.verify(event.pubkey, digest, _unhex(event.sig)):
        raise InvalidEvent("signature does not match")
    return VerifiedEvent(event)


def parse_event(value: object) -> Event:
    """Read an event from parsed JSON. Fields that NIP-01 does not name are dropped.

    Checks the shape alone; `verify` checks id and signature. Raises InvalidEvent.
    """
    if not isinstance(value, dict):
        raise InvalidEvent("event is not an object")
    try:
        event = _new_event(Event)  # `Event(...)` would take a way through C to `_fill`
        _fill(
            event,
            value["id"],
            value["pubkey"],
            value["created_at"],
            value["kind"],
            parse_tags(value["tags"]),
            value["content"],
            value["sig"],
        )
    except KeyError as missing:
        raise InvalidEvent(f"field {missing} is missing") from None
    return event


def parse_event_json(text: str | bytes) -> Event:
    """Read an event from JSON text; raises InvalidEvent."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidEvent("event is not JSON") from None
    return parse_event(value)


def parse_template(value: object, *, now: int | None = None) -> EventTemplate:
    """Read what a NIP-46 client sends to `sign_event`.

    Clients leave out what they take for granted and add what they should not: `content` and
    `tags` default to empty and `created_at` to `now` (Unix seconds); any other field is ignored.
    Raises InvalidEvent.
    """
    if not isinstance(value, Mapping):
        raise InvalidEvent("event is not an object")
    if "kind" not in value:
        raise InvalidEvent("field 'kind' is missing")
    created_at = value.get("created_at")
    if created_at is None:
        created_at = int(time.time()) if now is None else now
    return EventTemplate(
        kind=value["kind"],
        content="" if value.get("content") is None else value["content"],
        tags=parse_tags(value.get("tags") or []),
        created_at=created_at,
    )


def parse_tags(value: object) -> Tags:
    """Read a list of lists of strings; raises InvalidEvent."""
    if not isinstance(value, _ARRAY):
        raise InvalidEvent("tags are not an array")
    try:
        for tag in value:
            if not isinstance(tag, _ARRAY):
                raise InvalidEvent("a tag is not an array")
            "".join(tag)  # takes strings alone, and looks at them faster than a loop
    except TypeError:
        raise InvalidEvent("a tag holds something that is not a string") from None
    return tuple(map(tuple, value))


def is_hex(value: object, length: int) -> bool:
    """Tell whether `value` is `length` lower-case hex characters."""
    return isinstance(value, str) and len(value) == length and _HEX.issuperset(value)


def _hex_fault(event_id: object, pubkey: object) -> str:
    for name, value in (("id", event_id), ("pubkey", pubkey)):
        if not is_hex(value, 64):
            return f"{name} is not 64 lower-case hex characters"
    return "sig is not 128 lower-case hex characters"


def _check_template(kind: object, content: object, tags: object, created_at: object) -> None:
    # type(), not isinstance(): JSON's true is an int in Python.
    if type(kind) is not int or not 0 <= kind <= MAX_KIND:
        raise InvalidEvent(f"kind is not an integer from 0 to {MAX_KIND}")
    if type(created_at) is not int or not 0 <= created_at <= MAX_TIMESTAMP:
        raise InvalidEvent("created_at is not a Unix time in seconds")
    if not isinstance(content, str):
        raise InvalidEvent("content is not a string")
    if not isinstance(tags, tuple):
        raise InvalidEvent("tags are not a tuple of tuples of strings")


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a lone surrogate has no UTF-8
        raise InvalidEvent("text is not valid Unicode") from None
