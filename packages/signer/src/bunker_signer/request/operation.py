"""What a request would have the key do, read from its parameters. Pure: the key is not needed."""

import json
import math
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from bunker_core.describe.description import host_of, hosts
from bunker_core.errors import InvalidEntity, InvalidEvent
from bunker_core.event import EventTemplate, event_id, parse_template
from bunker_core.kinds import MAX_KIND
from bunker_core.nips import nip44v3
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method, Request, is_not_unicode
from bunker_core.nips.payload import fault
from bunker_signer.policy import HTTP_AUTH, Action

_LOOPBACK: Final = ("127.0.0.1", "[::1]", "localhost")


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


def hosts_of(relays: Iterable[str]) -> frozenset[str]:
    """Return the hosts of relay URLs, as `read_operation` compares them."""
    return frozenset(_normal(host_of(url)) for url in relays)


def read_operation(
    request: Request, user_pubkey: str, now: int, own_hosts: frozenset[str] = frozenset()
) -> Operation:
    """Read a request that wants the key; raises Refused. `own_hosts` are our own relays'.

    `now` is the created_at of an event that has none: the time when the request came, so that it
    means the same event whenever it is looked at.
    """
    try:
        method = Method(request.method)
    except ValueError:
        raise Refused("unsupported: unknown method") from None
    if method is Method.SIGN_EVENT:
        template, identifier = _template(request, user_pubkey, now)
        where = [_normal(item) for item in hosts(template)]
        host = where[0] if len(where) == 1 and _is_host(where[0]) else None
        own = template.kind == HTTP_AUTH and not own_hosts.isdisjoint(where)
        action = Action(method, kind=template.kind, host=host, at_own_relay=own)
        return Operation(action, template, identifier)
    try:
        peer = parse_pubkey(_x_only(request.param(0)))
    except InvalidEntity as error:
        raise Refused(f"invalid: {error}") from None
    if method in (Method.NIP44V3_ENCRYPT, Method.NIP44V3_DECRYPT):
        return _scoped(request, method, peer)
    text = _text(request, method)
    if (wrong := fault(method, text)) is not None:
        raise Refused(f"invalid: {wrong}")
    return Operation(Action(method, peer=peer), text=text)


def _normal(host: str) -> str:
    """Return a host and port in the one form that is compared: several mean the same place."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host, ""
    name = name.rstrip(".")
    if name in _LOOPBACK:
        name = "localhost"
    return name if port in ("", "80", "443") else f"{name}:{port}"


def _is_host(host: str) -> bool:
    """Tell whether a text can stand in a rule and before a person: host names and ports do."""
    return 0 < len(host) <= 253 + 6 and host.isascii() and host.isprintable() and " " not in host


def _scoped(request: Request, method: Method, peer: str) -> Operation:
    """Read (pubkey, kind, scope, text) of NIP-44 version 3; the plaintext is base64."""
    params = request.params
    kind = params[1] if len(params) > 1 else None
    if isinstance(kind, str) and kind.isascii() and kind.isdigit() and len(kind) <= len("65535"):
        kind = int(kind)  # parameters are strings in NIP-46; the draft says nothing
    if type(kind) is not int or not 0 <= kind <= MAX_KIND:
        raise Refused("invalid: the second parameter is not a kind")
    if len(params) < 4 or not isinstance(params[2], str) or not isinstance(params[3], str):
        raise Refused("invalid: the parameters are pubkey, kind, scope and text")
    scope, text = params[2], params[3]
    if not scope.isprintable() or len(scope.encode()) > nip44v3.MAX_SCOPE:
        raise Refused(f"invalid: the scope is not printable, or over {nip44v3.MAX_SCOPE} bytes")
    if method is Method.NIP44V3_ENCRYPT:
        try:
            b64decode(text, validate=True)
        except ValueError:
            raise Refused("invalid: the text to encrypt is not base64") from None
    return Operation(Action(method, peer=peer, context=(kind, scope)), text=text.strip())


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
