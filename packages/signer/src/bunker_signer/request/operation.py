"""What a request would have the key do, read from its parameters. Pure: the key is not needed."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from bunker_core.errors import InvalidEntity, InvalidEvent
from bunker_core.event import EventTemplate, event_id, parse_template
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method, Request
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
        peer = parse_pubkey(request.param(0))
    except InvalidEntity as error:
        raise Refused(f"invalid: {error}") from None
    return Operation(Action(method, peer=peer), text=request.param(1))


def _template(request: Request, user_pubkey: str, now: int) -> tuple[EventTemplate, str]:
    """Read params[0]: JSON text in every library, an object from hand-made clients.

    Returns the template and its event id.
    """
    value: Any = request.params[0] if request.params else None
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Refused("invalid: the event is not JSON") from None
    try:
        template = parse_template(value, now=now)
        # Now, and not by the key: text that has no UTF-8 is found here.
        identifier = event_id(template, user_pubkey)
    except InvalidEvent as error:
        raise Refused(f"invalid: {error}") from None
    author = value.get("pubkey")
    if author and author != user_pubkey:
        raise Refused("invalid: the event is of another author than this signer's user")
    return template, identifier
