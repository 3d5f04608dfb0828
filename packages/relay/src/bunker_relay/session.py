"""One client's side of the protocol, without any I/O: messages in, frames and effects out.

A frame (bytes) goes to the client; an effect is for the caller to carry out, in order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bunker_core.errors import InvalidAuth, InvalidMessage
from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.messages import (
    Auth,
    Challenge,
    Close,
    Closed,
    Count,
    Notice,
    Ok,
    RelayMessage,
    Req,
    parse_client_message,
    serialize,
)
from bunker_core.nip42 import check_auth
from bunker_relay.config import Limits
from bunker_relay.hub import Subscription


@dataclass(frozen=True, slots=True)
class Ingest:
    """The client publishes an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Query:
    """A subscription begins: add it to the hub, then send what is stored."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A subscription has ended: take it out of the hub."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class CountQuery:
    """The client asks how many stored events match."""

    subscription_id: str
    filters: tuple[Filter, ...]


Effect = bytes | Ingest | Query | Unsubscribe | CountQuery


class Session:
    """Subscriptions and authenticated pubkeys of one client."""

    def __init__(
        self,
        limits: Limits,
        challenge: str,
        relay_urls: frozenset[str],
        write: Callable[[bytes], None],
    ) -> None:
        """`challenge` is fresh and random; `write` sends a frame of a subscription."""
        self.pubkeys: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._limits = limits
        self._challenge = challenge
        self._relay_urls = relay_urls
        self._write = write

    def greet(self) -> bytes:
        """Return the first frame: the challenge, which a client may answer whenever it wants."""
        return frame(Challenge(self._challenge))

    def receive(self, data: str, now: int) -> Iterator[Effect]:
        """Take one text frame at `now` (Unix seconds) and yield what follows from it."""
        try:
            message = parse_client_message(data)
        except InvalidMessage as error:
            yield frame(_refusal(error))
            return
        match message:
            case Event():
                yield Ingest(message)
            case Req():
                yield from self._subscribe(message)
            case Close(subscription_id):
                yield from self.end(subscription_id)
            case Auth(event):
                yield frame(self._authenticate(event, now))
            case Count():
                reason = self._filter_refusal(message.filters)
                if reason:
                    yield frame(Closed(message.subscription_id, reason))
                else:
                    yield CountQuery(message.subscription_id, message.filters)

    def end(self, subscription_id: str) -> Iterator[Effect]:
        """End a subscription, if it is there."""
        subscription = self.subscriptions.pop(subscription_id, None)
        if subscription is not None:
            yield Unsubscribe(subscription)

    def _subscribe(self, request: Req) -> Iterator[Effect]:
        # NIP-01: a used id replaces the old subscription, also when the new one is refused.
        yield from self.end(request.subscription_id)
        reason = self._filter_refusal(request.filters)
        if not reason and len(self.subscriptions) >= self._limits.max_subscriptions:
            reason = f"rate-limited: more than {self._limits.max_subscriptions} subscriptions"
        if reason:
            yield frame(Closed(request.subscription_id, reason))
            return
        subscription = Subscription(request.subscription_id, request.filters, self._write)
        self.subscriptions[request.subscription_id] = subscription
        yield Query(subscription)

    def _authenticate(self, event: Event, now: int) -> Ok:
        if event.pubkey not in self.pubkeys and len(self.pubkeys) >= self._limits.max_auth_pubkeys:
            return Ok(event.id, False, "rate-limited: too many pubkeys on one connection")
        try:
            check_auth(event, self._relay_urls, self._challenge, now)
        except InvalidAuth as error:
            return Ok(event.id, False, f"invalid: {error}")
        self.pubkeys.add(event.pubkey)
        return Ok(event.id, True, "")

    def _filter_refusal(self, filters: tuple[Filter, ...]) -> str:
        limits = self._limits
        if len(filters) > limits.max_filters:
            return f"invalid: more than {limits.max_filters} filters"
        if any(_value_count(item) > limits.max_filter_values for item in filters):
            return f"invalid: more than {limits.max_filter_values} values in a filter"
        return ""


def frame(message: RelayMessage) -> bytes:
    """Return the message as the bytes of one text frame."""
    return serialize(message).encode()


def _refusal(error: InvalidMessage) -> RelayMessage:
    """Answer what could not be read: with OK or CLOSED when it names an id, else NOTICE."""
    if error.event_id is not None:
        return Ok(error.event_id, False, error.reason)
    if error.subscription_id is not None:
        return Closed(error.subscription_id, error.reason)
    return Notice(error.reason)


def _value_count(item: Filter) -> int:
    lists = (item.ids, item.authors, item.kinds, *(values for _, values in item.tags))
    return sum(len(values) for values in lists if values is not None)
