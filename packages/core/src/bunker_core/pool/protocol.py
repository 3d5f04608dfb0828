"""The client's half of a relay connection, without I/O (NIP-01, NIP-42).

The shell calls `opened`, `receive` and `lost`, sends the text of every `Send` in order, and acts
on the other effects. Subscriptions and unanswered publications outlive a connection: they are
issued again when the next one opens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bunker_core.errors import InvalidEvent, InvalidMessage
from bunker_core.event import Event, Sign, VerifiedEvent, verify
from bunker_core.filter import Filter
from bunker_core.messages import (
    Auth,
    Challenge,
    Close,
    Closed,
    CountReply,
    Delivery,
    Eose,
    NegentropyError,
    Notice,
    Ok,
    Req,
    parse_relay_message,
    prefix,
    serialize,
)
from bunker_core.nips.nip42 import auth_template
from bunker_core.pool.frame_limit import ANYWHERE, FrameLimit


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text frame."""

    text: str


@dataclass(frozen=True, slots=True)
class Received:
    """An event that the subscription asked for; id and signature hold."""

    subscription_id: str
    event: VerifiedEvent


@dataclass(frozen=True, slots=True)
class Live:
    """The subscription is registered at the relay: stored events are over."""

    subscription_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The relay refused or ended the subscription. `resubscribe` asks again."""

    subscription_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The relay's OK to a publication."""

    event_id: str
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """A NOTICE, for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class AskLimit:
    """A large event waits: find out what the relay takes, and say so to `limit_told`."""


Effect = Send | Received | Live | Ended | Answered | Noticed | AskLimit


# Large events whose sizes are remembered until the relay answers; each was sent by our own.
_LARGE_KNOWN: Final = 1024


class ClientProtocol:
    """One relay as a client sees it.

    Each of `auth` signs an answer to the relay's AUTH, but only when the relay insists: a relay
    that does not need to know who is there is not told.
    """

    def __init__(self, relay_url: str, auth: Sequence[Sign] = ()) -> None:
        self.relay_url = relay_url
        self.rejected = 0  # messages and events that could not be believed
        self._auth = tuple(auth)
        self._subscriptions: dict[str, tuple[Filter, ...]] = {}
        self._unanswered: dict[str, Event] = {}
        self._limit = FrameLimit()
        self._large: dict[str, int] = {}  # sizes of the large events sent and not answered yet
        self._asking = False
        self._open = False
        self._challenge: str | None = None
        self._auth_pending: set[str] = set()
        self._authenticated = False
        self._waiting_for_auth: list[Event | str] = []  # publications, subscription ids

    def opened(self) -> list[Effect]:
        """Take up a fresh connection: every subscription first, then what has no answer yet."""
        self._open = True
        self._challenge = None
        self._authenticated = False
        self._auth_pending.clear()
        self._waiting_for_auth.clear()
        self._large.clear()
        effects: list[Effect] = [
            Send(serialize(Req(key, filters))) for key, filters in self._subscriptions.items()
        ]
        for event in list(self._unanswered.values()):
            effects += self._send_event(event)
        return effects

    def lost(self, *, too_large: bool = False, broken_off: bool = False) -> list[Effect]:
        """Take note that the connection is gone, and what of it is not sent again.

        `too_large` says that the relay closed by 1009, `broken_off` that no close frame came.
        """
        self._open = False
        size = max(self._large.values(), default=0)
        if size and too_large:
            self._limit.closed_on(size)
        elif size and broken_off:
            self._limit.lost_with(size)
        self._limit.asked = False  # the next connection may be to a relay that was set up anew
        effects: list[Effect] = []
        for event_id, sent in self._large.items():
            refusal = self._limit.refusal(sent)
            if refusal is not None and self._unanswered.pop(event_id, None) is not None:
                effects.append(Answered(event_id, False, refusal))
        self._large.clear()
        return effects

    def limit_told(self, limit: int | None) -> list[Effect]:
        """Take the relay's `max_message_length` (NIP-11); None when it has none to say."""
        self._limit.told(limit)
        self._asking = False
        effects: list[Effect] = []
        for event in list(self._unanswered.values()):
            text = serialize(event)
            if _size(text) > ANYWHERE and event.id not in self._large:
                effects += self._send_event(event)
        return effects

    def subscribe(self, subscription_id: str, filters: tuple[Filter, ...]) -> list[Effect]:
        """Start a subscription, or replace the one with this id."""
        self._subscriptions[subscription_id] = filters
        return self._send(Req(subscription_id, filters))

    def resubscribe(self, subscription_id: str) -> list[Effect]:
        """Ask again for a subscription that the relay ended."""
        filters = self._subscriptions.get(subscription_id)
        return [] if filters is None else self._send(Req(subscription_id, filters))

    def unsubscribe(self, subscription_id: str) -> list[Effect]:
        """End a subscription."""
        if self._subscriptions.pop(subscription_id, None) is None:
            return []
        return self._send(Close(subscription_id))

    def publish(self, event: Event) -> list[Effect]:
        """Send `event`, again after each reconnect, until the relay answers or `forget`."""
        self._unanswered[event.id] = event
        return self._send_event(event)

    def forget(self, event_id: str) -> None:
        """Stop waiting for the relay's answer."""
        self._unanswered.pop(event_id, None)

    def receive(self, data: str | bytes, now: int) -> list[Effect]:
        """Take one frame from the relay; `now` is Unix seconds, for AUTH."""
        try:
            message = parse_relay_message(data)
        except InvalidMessage:
            self.rejected += 1
            return []
        match message:
            case Delivery(subscription_id, event):
                return self._delivered(subscription_id, event)
            case Eose(subscription_id):
                known = subscription_id in self._subscriptions
                return [Live(subscription_id)] if known else []
            case Ok():
                return self._ok(message, now)
            case Closed(subscription_id, reason):
                return self._closed(subscription_id, reason, now)
            case Challenge(challenge):
                self._challenge = challenge
                self._authenticated = False
                return self._authenticate(now) if self._waiting_for_auth else []
            case Notice(text):
                return [Noticed(text)]
            case CountReply() | NegentropyError():
                return []

    def _delivered(self, subscription_id: str, event: Event) -> list[Effect]:
        filters = self._subscriptions.get(subscription_id)
        if filters is None:
            return []  # CLOSE and EVENT crossed on the way
        # A relay is not trusted: it can neither forge an event nor slip in one not asked for.
        if not any(item.matches(event) for item in filters):
            self.rejected += 1
            return []
        try:
            return [Received(subscription_id, verify(event))]
        except InvalidEvent:
            self.rejected += 1
            return []

    def _ok(self, message: Ok, now: int) -> list[Effect]:
        if message.event_id in self._auth_pending:
            self._auth_pending.discard(message.event_id)
            return self._auth_answered(message)
        size = self._large.pop(message.event_id, None)
        if size is not None:
            self._limit.took(size)
        event = self._unanswered.get(message.event_id)
        if event is None:
            return []
        if self._must_authenticate(message.accepted, message.reason):
            self._waiting_for_auth.append(event)
            return self._authenticate(now)
        del self._unanswered[message.event_id]
        return [Answered(message.event_id, message.accepted, message.reason)]

    def _closed(self, subscription_id: str, reason: str, now: int) -> list[Effect]:
        if subscription_id not in self._subscriptions:
            return []
        if self._must_authenticate(False, reason):
            self._waiting_for_auth.append(subscription_id)
            return self._authenticate(now)
        return [Ended(subscription_id, reason)]

    def _must_authenticate(self, accepted: bool, reason: str) -> bool:
        required = not accepted and prefix(reason) == "auth-required"
        return required and bool(self._auth) and not self._authenticated

    def _authenticate(self, now: int) -> list[Effect]:
        if self._challenge is None or self._auth_pending:
            return []  # the challenge may follow its refusal; then `receive` comes back here
        template = auth_template(self.relay_url, self._challenge, now)
        events = [sign(template) for sign in self._auth]
        self._auth_pending.update(event.id for event in events)
        return [Send(serialize(Auth(event))) for event in events]

    def _auth_answered(self, message: Ok) -> list[Effect]:
        self._authenticated = self._authenticated or message.accepted
        if self._auth_pending:
            return []
        waiting, self._waiting_for_auth = self._waiting_for_auth, []
        effects: list[Effect] = []
        for item in waiting:
            if isinstance(item, Event):
                effects += self._publish_again(item, message.reason)
            elif item in self._subscriptions:
                refused = Ended(item, message.reason)
                effects += self.resubscribe(item) if self._authenticated else [refused]
        return effects

    def _publish_again(self, event: Event, reason: str) -> list[Effect]:
        if event.id not in self._unanswered:
            return []  # given up in the meantime
        if self._authenticated:
            return self._send_event(event)
        del self._unanswered[event.id]
        return [Answered(event.id, False, reason)]

    def _send_event(self, event: Event) -> list[Effect]:
        """Send an event unless it is too large, or may be and the relay was not asked yet."""
        text = serialize(event)
        size = _size(text)
        if size <= ANYWHERE:
            return [Send(text)] if self._open else []
        refusal = self._limit.refusal(size)
        if refusal is not None:
            del self._unanswered[event.id]
            return [Answered(event.id, False, refusal)]
        if not self._open:
            return []
        if self._limit.must_ask(size):
            asking, self._asking = self._asking, True
            return [] if asking else [AskLimit()]
        if len(self._large) < _LARGE_KNOWN:
            self._large[event.id] = size
        return [Send(text)]

    def _send(self, message: Req | Close) -> list[Effect]:
        return [Send(serialize(message))] if self._open else []


def _size(text: str) -> int:
    """Return the bytes of a frame; of what is ASCII, as nearly all is, without encoding it."""
    return len(text) if text.isascii() else len(text.encode())
