"""What a request would have the key do, read from its parameters. Pure: the key is not needed."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import orjson

from bunker_core.errors import InvalidEntity, InvalidEvent
from bunker_core.event import EventTemplate, event_id, parse_template
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method, Request, is_not_unicode
from bunker_core.nips.payload import fault
from bunker_signer.policy import Action


class Refused(Exception):
    """The request is answered with this error; the text starts with a stable word.

    `lasting` tells whether the same request again gets the same answer. A `locked:` or
    `rate-limited:` is over sooner or later.
    """

    def __init__(self, error: str, *, lasting: bool = True, by: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.lasting = lasting
        self.by = by


@dataclass(frozen=True, slots=True)
class Operation:
    """One use of the key. Content stays out of the repr."""

    action: Action
    template: EventTemplate | None = field(default=None, repr=False)
    event_id: str = ""  # of what is to be signed
    text: str = field(default="", repr=False)


def read_operation(request: Request, user_pubkey: str, now: int) -> Operation:
    """Read a request that wants the key; raises Refused.

    `now` is the created_at of an event that has none: the time when the request came, so that it
    means the same event whenever it is looked at.
    """
    try:
        method = Method(request.method)
    except ValueError:
        raise Refused("unsupported: unknown method") from None
    if method is Method.SIGN_EVENT:
        template, identifier = _template(request, user_pubkey, now)
        return Operation(Action(method, kind=template.kind), template, identifier)
    try:
        peer = parse_pubkey(_x_only(request.param(0)))
    except InvalidEntity as error:
        raise Refused(f"invalid: {error}") from None
    text = _text(request, method)
    if (wrong := fault(method, text)) is not None:
        raise Refused(f"invalid: {wrong}")
    return Operation(Action(method, peer=peer), text=text)


def _x_only(pubkey: str) -> str:
    """Return a pubkey without the byte in front that other libraries write (SEC 1: 02 or 03).

    Both NIPs encrypt to the x coordinate, so it means nothing here.
    """
    compressed = len(pubkey) == 66 and pubkey[:2] in ("02", "03")
    return pubkey[2:] if compressed else pubkey


def _text(request: Request, method: Method) -> str:
    """Return what is to be encrypted, or decrypted: a payload may have been copied with a space."""
    if len(request.params) < 2 or not isinstance(request.params[1], str):
        raise Refused("invalid: the text is missing, it is the second parameter")
    text = request.params[1]
    return text.strip() if method in (Method.NIP44_DECRYPT, Method.NIP04_DECRYPT) else text


def _template(request: Request, user_pubkey: str, now: int) -> tuple[EventTemplate, str]:
    """Read params[0]: JSON text in every library, an object from hand-made clients.

    Returns the template and its event id.
    """
    value: Any = request.params[0] if request.params else None
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Refused(f"invalid: the event is not {_what_it_is_not(value)}") from None
    if isinstance(value, dict) and isinstance(value.get("created_at"), float):
        # JavaScript's Date.now() / 1000, not rounded. NaN and infinities are no JSON.
        value = {**value, "created_at": math.floor(value["created_at"])}
    try:
        template = parse_template(value, now=now)
        # Now, and not by the key: text that has no UTF-8 is found here.
        identifier = event_id(template, user_pubkey)
    except InvalidEvent as error:
        raise Refused(f"invalid: {error}") from None
    author = value.get("pubkey")
    if author and (not isinstance(author, str) or author.lower() != user_pubkey):
        raise Refused("invalid: the event is of another author than this signer's user")
    return template, identifier


def _what_it_is_not(text: str) -> str:
    """Return "Unicode" for text that would be JSON without half an emoji, else "JSON"."""
    try:
        return (
            "Unicode: it has half of a surrogate pair"
            if is_not_unicode(json.loads(text))
            else "JSON"
        )
    except (ValueError, RecursionError):
        return "JSON"
