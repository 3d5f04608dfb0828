"""What a client may do without asking: grants, and the decision about one request.

Pure: no clock, no store, no key. A right to sign never implies a right to decrypt.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from bunker_core.nips.nip46 import Method, Permission

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


class Effect(Enum):
    """What a grant does: an owner can rule something out, too."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` uses in each window of `seconds`."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What the owner said about one method (and one kind or peer) for one client.

    `expires_at` is Unix seconds. `window_start` and `window_used` count for `rate`; `id` is the
    store's.
    """

    method: str
    param: str | None = None  # the kind of sign_event, the peer's pubkey of the rest; None is any
    effect: Effect = Effect.ALLOW
    expires_at: int | None = None
    uses_left: int | None = None
    rate: Rate | None = None
    window_start: int = 0
    window_used: int = 0
    id: int = 0

    def covers(self, action: "Action") -> bool:
        """Tell whether the grant is about `action` at all."""
        return self.method == action.method.value and self.param in (None, action.param)

    def live(self, now: int) -> bool:
        """Tell whether the grant is neither expired nor used up."""
        return (self.expires_at is None or now < self.expires_at) and self.uses_left != 0

    def has_room(self, now: int) -> bool:
        """Tell whether the rate allows one more use."""
        if self.rate is None or now >= self.window_start + self.rate.seconds:
            return True
        return self.window_used < self.rate.count

    def used(self, now: int) -> "Grant":
        """Return the grant after one use."""
        if self.uses_left is None and self.rate is None:
            return self
        uses_left = None if self.uses_left is None else max(0, self.uses_left - 1)
        if self.rate is None:
            return replace(self, uses_left=uses_left)
        fresh = now >= self.window_start + self.rate.seconds
        start, count = (now, 1) if fresh else (self.window_start, self.window_used + 1)
        return replace(self, uses_left=uses_left, window_start=start, window_used=count)

    def to_json(self) -> list[Any]:
        """Return what is kept beside a secret until a client pairs with it."""
        rate = [self.rate.count, self.rate.seconds] if self.rate else None
        limits = [self.expires_at, self.uses_left, rate]
        return [self.method, self.param, self.effect.value, *limits]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Grant":
        """Read what `to_json` wrote."""
        method, param, effect, expires_at, uses_left, rate = value
        return cls(
            method, param, Effect(effect), expires_at, uses_left, Rate(*rate) if rate else None
        )


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
    peer: str | None = None  # of encryption

    @property
    def param(self) -> str | None:
        """What a grant can be narrowed to."""
        return self.peer if self.kind is None else str(self.kind)

    @property
    def permission(self) -> Permission:
        """The narrowest permission that covers this, in NIP-46's words."""
        return Permission(self.method.value, self.param)


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on; `grant` is what allows it and has to be counted."""

    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Nothing allows it: ask the owner."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this error."""

    error: str
    grant: Grant = field(default_factory=lambda: Grant(""))


Decision = Allow | Ask | Refuse


def decide(grants: Iterable[Grant], action: Action, now: int) -> Decision:
    """Decide about `action` of a connected client that holds `grants`; `now` is Unix seconds.

    A grant for this very kind or peer goes before one for any; of two alike, a denial wins.
    """
    if action.method in FREE:
        return Allow()
    live = [grant for grant in grants if grant.covers(action) and grant.live(now)]
    live.sort(key=lambda grant: (grant.param is None, grant.effect is Effect.ALLOW))
    full: Grant | None = None
    for grant in live:
        if grant.effect is Effect.DENY:
            return Refuse(f"denied: {action.permission} is ruled out for this client", grant)
        if grant.has_room(now):
            return Allow(grant)
        full = full or grant
    if full is not None:
        return Refuse(f"rate-limited: {action.permission} is used too often", full)
    return Ask()


def profile_grants(profile: Profile) -> tuple[Grant, ...]:
    """Return what `profile` grants."""
    match profile:
        case Profile.ASK:
            return ()
        case Profile.BASIC:
            return tuple(Grant(Method.SIGN_EVENT.value, str(kind)) for kind in _EVERYDAY_KINDS)
        case Profile.FULL:
            return (
                Grant(Method.SIGN_EVENT.value),
                *(Grant(method.value) for method in _CRYPT),
            )


def grants_of(permissions: Iterable[Permission]) -> tuple[Grant, ...]:
    """Return plain grants for a permission list."""
    return tuple(Grant(item.method, item.param) for item in permissions)
