"""What a client may do without asking: grants, and the decision about one request.

Pure: no clock, no store, no key. A right to sign never implies a right to decrypt.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from bunker_core.describe.description import LOGIN_TAGS
from bunker_core.nips.nip46 import Method, Permission

# What every connected client may do: none of it opens the user key.
FREE: Final = frozenset(
    {Method.CONNECT, Method.PING, Method.GET_PUBLIC_KEY, Method.SWITCH_RELAYS, Method.LOGOUT}
)

# Kinds that an everyday client signs all the time and that change nothing lasting: notes, reposts,
# reactions, comments, and the login to a relay. Not that to a web server: it may do anything there
# in the owner's name (NIP-98), NIP-86's administration of a relay included.
_EVERYDAY_KINDS: Final = (1, 6, 7, 16, 1111, 22242)
HTTP_AUTH: Final = 27235  # NIP-98
_CRYPT: Final = (
    Method.NIP44_ENCRYPT,
    Method.NIP44_DECRYPT,
    Method.NIP44V3_ENCRYPT,
    Method.NIP44V3_DECRYPT,
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
    # The kind of sign_event (for a login also `kind:host`), the peer's pubkey of the rest; None is
    # any.
    param: str | None = None
    effect: Effect = Effect.ALLOW
    expires_at: int | None = None
    uses_left: int | None = None
    rate: Rate | None = None
    window_start: int = 0
    window_used: int = 0
    id: int = 0

    def covers(self, action: "Action") -> bool:
        """Tell whether the grant is about `action` at all."""
        return self.method == action.method.value and self.param in action.params

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
    host: str | None = None  # of a login (kinds 22242, 24242, 27235) that is good for one alone
    at_own_relay: bool = False  # an HTTP login (27235) to a relay that the signer runs on
    context: tuple[int, str] | None = None  # kind and scope of NIP-44 version 3

    @property
    def param(self) -> str | None:
        """The narrowest that a grant can be."""
        if self.context is not None:
            return f"{self.context[0]}/{self.context[1]}"
        if self.kind is None:
            return self.peer
        return str(self.kind) if self.host is None else f"{self.kind}:{self.host}"

    @property
    def params(self) -> tuple[str | None, ...]:
        """What grants that are about this have for a parameter, the narrowest first."""
        if self.context is not None:
            return (self.param, str(self.context[0]), None)
        if self.host is None:
            return (self.param, None)
        return (self.param, str(self.kind), None)

    @property
    def permission(self) -> Permission:
        """The narrowest permission that covers this, in NIP-46's words."""
        return Permission(self.method.value, self.param)

    @property
    def rule(self) -> str | None:
        """The parameter of a rule that "always" makes of this; for a login it is one host's.

        Raises ValueError for a login that names no host, or several: no rule is made of it.
        """
        if self.kind in LOGIN_TAGS and self.host is None:
            raise ValueError("a login to nowhere")
        return self.param


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

    The narrowest grant goes first; of two alike, a denial wins.
    """
    if action.method in FREE:
        return Allow()
    live = [grant for grant in grants if grant.covers(action) and grant.live(now)]
    if action.at_own_relay:
        # Who logs in there as the owner could ban the signer itself (NIP-86): nothing less than a
        # grant for that very host does, and nobody is asked.
        exact = {action.param} if action.host else set()
        live = [item for item in live if item.param in exact or item.effect is Effect.DENY]
        if not live:
            return Refuse("denied: no app logs in to the signer's own relay for its owner")
    order = action.params
    live.sort(key=lambda grant: (order.index(grant.param), grant.effect is Effect.ALLOW))
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
