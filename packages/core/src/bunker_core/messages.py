"""Messages between client and relay: parse and serialize (NIP-01, NIP-42 AUTH, NIP-45 COUNT)."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bunker_core.errors import (
    InvalidEvent,
    InvalidFilter,
    InvalidMessage,
    UnsupportedFilter,
)
from bunker_core.event import Event, is_hex, parse_event
from bunker_core.filter import Filter, parse_filter

_NEGENTROPY: Final = ("NEG-OPEN", "NEG-MSG", "NEG-CLOSE")  # NIP-77
_VERB: Final = re.compile("[A-Z][A-Z-]{1,19}")

MAX_SUBSCRIPTION_ID: Final = 64  # characters, NIP-01


@dataclass(frozen=True, slots=True)
class Req:
    """Client: subscribe; a used subscription id replaces the old subscription."""

    subscription_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Client: how many stored events match (NIP-45)."""

    subscription_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Client: end a subscription."""

    subscription_id: str


@dataclass(frozen=True, slots=True)
class Auth:
    """Client: the signed answer to a challenge (NIP-42)."""

    event: Event


@dataclass(frozen=True, slots=True)
class Negentropy:
    """Client: a step of NIP-77, which no relay of ours takes; `subscription_id` is its own."""

    subscription_id: str


@dataclass(frozen=True, slots=True)
class NegentropyError:
    """Relay: the end of what a client began with NIP-77."""

    subscription_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """Relay: an event for a subscription."""

    subscription_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Ok:
    """Relay: whether an EVENT or AUTH was accepted; `reason` starts with a prefix if not."""

    event_id: str
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Eose:
    """Relay: all stored events are sent, live ones follow.

    `hints` are NIP-67's: "finish" when a client need not ask for more.
    """

    subscription_id: str
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    """Relay: the subscription is refused or ended."""

    subscription_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Relay: a text for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """Relay: what an AUTH event has to sign (NIP-42)."""

    challenge: str


@dataclass(frozen=True, slots=True)
class CountReply:
    """Relay: the answer to COUNT (NIP-45)."""

    subscription_id: str
    count: int


ClientMessage = Event | Req | Count | Close | Auth | Negentropy
RelayMessage = Delivery | Ok | Eose | Closed | Notice | Challenge | CountReply | NegentropyError


def prefix(reason: str) -> str:
    """Return the machine-readable word before the colon of an OK or CLOSED reason, or ""."""
    word, colon, _ = reason.partition(":")
    return word if colon and word and " " not in word else ""


def parse_client_message(data: str | bytes) -> ClientMessage:
    """Read what a client sends to a relay.

    Raises InvalidMessage, with the event or subscription id where the reply can name one.
    """
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidMessage("invalid: message is not valid JSON", **_client_hint(data)) from None
    if type(message) is list and message and message[0] == "EVENT":  # nearly all that it reads
        return _event_of(message)
    verb = _type_of(message)
    if verb == "AUTH" and len(message) == 2 and isinstance(message[1], dict):
        return Auth(_event_of(message))
    if verb in ("REQ", "COUNT"):
        return _query_of(message)
    if verb == "CLOSE":
        return Close(_subscription_id(message))
    if verb in _NEGENTROPY:
        return Negentropy(_subscription_id(message))
    # With the verb, if it looks like one: whoever waits for an answer to it learns what is wrong.
    shown = f" {verb}" if _VERB.fullmatch(verb) else ""
    raise InvalidMessage(f"invalid: unknown message type{shown}")


def parse_relay_message(data: str | bytes) -> RelayMessage:
    """Read what a relay sends to a client; raises InvalidMessage."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidMessage("invalid: message is not valid JSON") from None
    _type_of(message)
    match message:
        case ["EVENT", str(subscription_id), event]:
            try:
                return Delivery(subscription_id, parse_event(event))
            except InvalidEvent as error:
                raise InvalidMessage(
                    f"invalid: {error}", subscription_id=subscription_id
                ) from error
        case ["OK", str(event_id), bool(accepted)]:
            return Ok(event_id, accepted, "")  # older relays leave the reason out
        case ["OK", str(event_id), bool(accepted), str(reason), *_]:
            return Ok(event_id, accepted, reason)
        case ["EOSE", str(subscription_id), [*hints], *_]:
            return Eose(subscription_id, tuple(item for item in hints if isinstance(item, str)))
        case ["EOSE", str(subscription_id), *_]:
            return Eose(subscription_id)
        case ["CLOSED", str(subscription_id)]:
            return Closed(subscription_id, "")
        case ["CLOSED", str(subscription_id), str(reason), *_]:
            return Closed(subscription_id, reason)
        case ["NOTICE", str(text), *_]:
            return Notice(text)
        case ["AUTH", str(challenge), *_]:
            return Challenge(challenge)
        case ["COUNT", str(subscription_id), {"count": int(count)}, *_] if type(count) is int:
            return CountReply(subscription_id, count)
        case _:
            raise InvalidMessage("invalid: unknown message")


def serialize(message: ClientMessage | RelayMessage) -> str:
    """Return the message as the JSON text of one frame."""
    return encode(message).decode()


def encode_ok(event_id: str, accepted: bool, reason: str) -> bytes:
    """Return what `encode` returns for an `Ok`, without making one: a relay sends no more often."""
    return orjson.dumps(("OK", event_id, accepted, reason))


def encode(message: ClientMessage | RelayMessage) -> bytes:
    """Return a message as the UTF-8 JSON of one frame."""
    match message:
        case Ok(event_id, accepted, reason):
            return encode_ok(event_id, accepted, reason)
        case Event():
            parts: list[Any] = ["EVENT", message.to_dict()]
        case Auth(event):
            parts = ["AUTH", event.to_dict()]
        case Req(subscription_id, filters):
            parts = ["REQ", subscription_id, *(item.to_dict() for item in filters)]
        case Count(subscription_id, filters):
            parts = ["COUNT", subscription_id, *(item.to_dict() for item in filters)]
        case Close(subscription_id):
            parts = ["CLOSE", subscription_id]
        case Delivery(subscription_id, event):
            parts = ["EVENT", subscription_id, event.to_dict()]
        case Eose(subscription_id, hints):
            parts = ["EOSE", subscription_id, *([list(hints)] if hints else [])]
        case Negentropy(subscription_id):
            parts = ["NEG-CLOSE", subscription_id]
        case NegentropyError(subscription_id, reason):
            parts = ["NEG-ERR", subscription_id, reason]
        case Closed(subscription_id, reason):
            parts = ["CLOSED", subscription_id, reason]
        case Notice(text):
            parts = ["NOTICE", text]
        case Challenge(challenge):
            parts = ["AUTH", challenge]
        case CountReply(subscription_id, count):
            parts = ["COUNT", subscription_id, {"count": count}]
    return orjson.dumps(parts)


def _type_of(message: Any) -> str:
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise InvalidMessage("invalid: message is not an array that starts with its type")
    return message[0]


def _client_hint(data: str | bytes) -> dict[str, str]:
    """Name the event or subscription of a message that orjson refuses but json can read.

    Lone surrogates and numbers out of range are such: NIP-01 has an OK or CLOSED for them. Only
    garbage takes this slower way, and the caller has capped its size.
    """
    try:
        message = json.loads(data, parse_int=float)  # `int` takes 4,300 digits at most
    except (ValueError, RecursionError):
        return {}
    match message:
        case ["EVENT" | "AUTH", {"id": str(event_id)}, *_] if is_hex(event_id, 64):
            return {"event_id": event_id}
        case ["REQ" | "COUNT", str(subscription_id), *_] if _is_subscription_id(subscription_id):
            return {"subscription_id": subscription_id}
        case _:
            return {}


def _event_of(message: list[Any]) -> Event:
    value = message[1] if len(message) > 1 else None
    try:
        if len(message) != 2:
            raise InvalidEvent(f"{message[0]} takes one event")
        return parse_event(value)
    except InvalidEvent as error:
        claimed = value.get("id") if isinstance(value, dict) else None
        raise InvalidMessage(
            f"invalid: {error}", event_id=claimed if is_hex(claimed, 64) else None
        ) from error


def _query_of(message: list[Any]) -> Req | Count:
    subscription_id = _subscription_id(message)
    if len(message) < 3:
        raise InvalidMessage("invalid: no filter", subscription_id=subscription_id)
    try:
        filters = tuple(parse_filter(value) for value in message[2:])
    except UnsupportedFilter as error:
        raise InvalidMessage(f"unsupported: {error}", subscription_id=subscription_id) from error
    except InvalidFilter as error:
        raise InvalidMessage(f"invalid: {error}", subscription_id=subscription_id) from error
    return (Req if message[0] == "REQ" else Count)(subscription_id, filters)


def _subscription_id(message: list[Any]) -> str:
    if len(message) < 2 or not _is_subscription_id(message[1]):
        raise InvalidMessage(
            f"invalid: {message[0]} takes a subscription id of 1 to {MAX_SUBSCRIPTION_ID}"
            " characters"
        )
    return str(message[1])


def _is_subscription_id(value: object) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_SUBSCRIPTION_ID:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)
