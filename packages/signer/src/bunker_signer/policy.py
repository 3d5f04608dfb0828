"""What a client may do without asking: grants, and the decision about one request.

Pure: no clock, no store, no key. A right to sign never implies a right to decrypt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bunker_core.event import EventTemplate
from bunker_core.nip46 import Method, Permission

# What every connected client may do: none of it opens the user key.
FREE: Final = frozenset(
    {Method.CONNECT, Method.PING, Method.GET_PUBLIC_KEY, Method.SWITCH_RELAYS, Method.LOGOUT}
)

# Kinds that an everyday client signs all the time and that change nothing lasting: notes, reposts,
# reactions, comments, relay and HTTP authentication.
_EVERYDAY_KINDS: Final = (1, 6, 7, 16, 1111, 22242, 27235)
_CRYPT: Final = (
    Method.NIP44_ENCRYPT,
    Method.NIP44_DECRYPT,
    Method.NIP04_ENCRYPT,
    Method.NIP04_DECRYPT,
)


class Decision(Enum):
    """The policy's answer to one request."""

    ALLOW = "allow"
    ASK = "ask"


class Profile(Enum):
    """Named sets of grants that an owner gives to a client when it pairs."""

    ASK = "ask"  # nothing without asking
    BASIC = "basic"  # everyday kinds are signed, all else asks
    FULL = "full"  # everything, also reading messages


@dataclass(frozen=True, slots=True)
class Action:
    """What a request would do with the user key."""

    method: Method
    kind: int | None = None  # of sign_event

    @property
    def permission(self) -> Permission:
        """The narrowest permission that covers this."""
        return Permission(self.method.value, None if self.kind is None else str(self.kind))


def profile_permissions(profile: Profile) -> tuple[Permission, ...]:
    """Return what `profile` grants."""
    match profile:
        case Profile.ASK:
            return ()
        case Profile.BASIC:
            return tuple(Permission(Method.SIGN_EVENT.value, str(kind)) for kind in _EVERYDAY_KINDS)
        case Profile.FULL:
            return (
                Permission(Method.SIGN_EVENT.value),
                *(Permission(method.value) for method in _CRYPT),
            )


def action_of(method: Method, template: EventTemplate | None) -> Action:
    """Return what a request would do; `template` is the event of a sign_event."""
    return Action(method, None if template is None else template.kind)


def decide(grants: Iterable[Permission], action: Action) -> Decision:
    """Decide about `action` of a connected client that holds `grants`."""
    if action.method in FREE:
        return Decision.ALLOW
    kind = None if action.kind is None else str(action.kind)
    for grant in grants:
        if grant.method == action.method.value and grant.param in (None, kind):
            return Decision.ALLOW
    return Decision.ASK
