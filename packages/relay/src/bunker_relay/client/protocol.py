"""The relay's side of the protocol with one client, without I/O: messages in, effects out.

A frame (bytes) goes to the client; an effect is for the caller to carry out, in order. Events
that a client publishes do not come here: `connection` gives them to `ingest`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import orjson

from bunker_core.bounds.rate import Buckets
from bunker_core.errors import InvalidAuth, InvalidMessage
from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.messages import (
    Auth,
    Challenge,
    Close,
    Closed,
    Count,
    Negentropy,
    NegentropyError,
    Notice,
    Ok,
    RelayMessage,
    Req,
    encode,
)
from bunker_core.nips.nip42 import check_auth
from bunker_relay.config import Rate
from bunker_relay.event.hub import Sink, Subscription, memory_of
from bunker_relay.event.limits import Budget
from bunker_relay.event.policy import Policy


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
    """The client asks how many events match; `RelayProtocol.counted` takes it when that is told."""

    subscription_id: str
    filters: tuple[Filter, ...]
    size: int  # bytes of memory


@dataclass(frozen=True, slots=True)
class HangUp:
    """The client goes on sending what can't be read: close the connection."""


_ASKS_FOR_AUTH: Final = ("auth-required:", "restricted:")  # NIP-42
_ACCEPTED: Final = b",true,"
_BEHIND_ID: Final = len('["OK",""') + 64  # where it stands in the frame of an OK

Effect = bytes | Query | Unsubscribe | CountQuery | HangUp


class RelayProtocol:
    """The relay's side of NIP-01 for one client: its subscriptions and authenticated pubkeys.

    `address` is whose limits it shares: an IP address or network; `queries` is the bucket for
    REQ, COUNT and AUTH, `memory` what the subscriptions of all clients may take, `filters` how many
    filters an address may have in them.
    """

    def __init__(
        self,
        policy: Policy,
        sink: Sink,
        *,
        address: str,
        queries: Buckets,
        memory: Budget,
        filters: Budget,
        challenge: str,
        relay_urls: frozenset[str],
        overflowed: Callable[[Subscription], None] = lambda _: None,
    ) -> None:
        """`challenge` is fresh and random; an AUTH has to name one of `relay_urls`.

        `overflowed` ends a subscription that can't hold back what happens during its query.
        """
        self.address: Final = address
        self.pubkeys: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._policy = policy
        self._sink = sink
        self._queries = queries
        self._memory = memory
        self._filters = filters
        self._size = 0  # bytes that the subscriptions take
        self._offences: Buckets | None = None
        self._challenge = challenge
        self._challenged = False
        self._relay_urls = relay_urls
        self._overflowed = overflowed

    def challenge_for(self, ok: bytes) -> bytes | None:
        """Return the challenge (NIP-42) that goes before `ok`, the frame of an OK; None for most.

        It is sent once, when it can open something. There are clients that close what they have
        subscribed to on sight of it, and nearly none that has to answer it.
        """
        if self._challenged or ok.startswith(_ACCEPTED, _BEHIND_ID):  # nearly every OK
            return None
        return self._challenge_before(orjson.loads(ok)[3])

    def challenge_for_deaf(self, event: Event) -> bytes | None:
        """Return the challenge for a client that asks a signer and listens to no answer.

        NDK subscribes anew after a reconnect when it has authenticated, and else not at all. Who
        closes subscriptions on sight of a challenge has none here to lose.
        """
        if self._challenged or self.subscriptions or event.kind != NOSTR_CONNECT:
            return None
        return self._first_challenge()

    def _challenge_before(self, reason: str) -> bytes | None:
        """Return the challenge that goes before an answer with `reason`, if any does."""
        if self._challenged or not reason.startswith(_ASKS_FOR_AUTH):
            return None
        return self._first_challenge()

    def _first_challenge(self) -> bytes:
        self._challenged = True
        return frame(Challenge(self._challenge))

    def answer(
        self, message: Req | Close | Auth | Count | Negentropy, now: float
    ) -> Iterator[Effect]:
        """Take one message at `now` (Unix seconds) and yield what follows from it."""
        match message:
            case Req():
                yield from self._subscribe(message, now)
            case Close(subscription_id):
                yield from self.end(subscription_id)
            case Negentropy(subscription_id):
                reason = "unsupported: no negentropy here (NIP-77); ask with REQ"
                yield frame(NegentropyError(subscription_id, reason))
            case Auth(event):
                yield frame(self._authenticate(event, now))
            case Count(subscription_id, filters):
                size = memory_of(filters)
                reason = (
                    self._policy.count_refusal
                    or self._query_refusal(filters, now)
                    or self._take_memory(size)
                )
                if reason:
                    yield from self._close(subscription_id, reason)
                else:
                    yield CountQuery(subscription_id, filters, size)

    def receive_binary(self, now: float) -> Iterator[Effect]:
        """Take a binary frame, which Nostr has no use for."""
        yield from self.refuse(InvalidMessage("invalid: binary frames are not for Nostr"), now)

    def end(self, subscription_id: str) -> Iterator[Effect]:
        """End a subscription, if it is there."""
        subscription = self.subscriptions.get(subscription_id)
        if subscription is not None:
            self.forget(subscription)
            yield Unsubscribe(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Take a subscription out that has ended; others of its id stay."""
        if self.subscriptions.get(subscription.id) is subscription:
            del self.subscriptions[subscription.id]
            self._give_memory_back(subscription.size)
            self._filters.give_back(self.address, len(subscription.filters))

    @property
    def readers(self) -> frozenset[str] | None:
        """Whose messages are shown to this client; None on a relay that shows them to all."""
        guards = self._policy.visibility.guards_messages
        return frozenset(self.pubkeys) if guards else None

    @property
    def is_deaf(self) -> bool:
        """Whether a subscription is one that the policy, as it is now, would show nothing to."""
        refusal = self._policy.visibility.refusal
        return any(refusal(item.filters, self.pubkeys) for item in self.subscriptions.values())

    def counted(self, query: CountQuery) -> None:
        """Give back what a COUNT has taken."""
        self._give_memory_back(query.size)

    def _subscribe(self, request: Req, now: float) -> Iterator[Effect]:
        # NIP-01: a used id replaces the old subscription, also when the new one is refused.
        yield from self.end(request.subscription_id)
        reason = self._query_refusal(request.filters, now)
        most = self._policy.limits.max_subscriptions
        if not reason and len(self.subscriptions) >= most:
            reason = f"rate-limited: more than {most} subscriptions"
        if reason:
            yield from self._close(request.subscription_id, reason)
            return
        subscription = Subscription(
            request.subscription_id, request.filters, self._sink, self._sees, self
        )
        reason = self._take_memory(subscription.size)
        if not reason and not self._filters.take(self.address, len(request.filters)):
            self._give_memory_back(subscription.size)
            most = self._filters.per_key
            reason = f"rate-limited: more than {most} filters in the subscriptions of this address"
        if reason:
            yield frame(Closed(request.subscription_id, reason))
            return
        self.subscriptions[request.subscription_id] = subscription
        yield Query(subscription)

    def _close(self, subscription_id: str, reason: str) -> Iterator[bytes]:
        challenge = self._challenge_before(reason)
        if challenge is not None:
            yield challenge
        yield frame(Closed(subscription_id, reason))

    def _take_memory(self, size: int) -> str:
        """Count what filters take, or return why they are refused."""
        most = self._policy.max_subscription_bytes
        if self._size + size > most:
            return f"rate-limited: the filters of this connection hold more than {most} bytes"
        if not self._memory.take(self.address, size):
            if self._memory.has_room(self.address, size):
                return "rate-limited: the relay has no memory left for filters of this size"
            most = self._memory.per_key
            return f"rate-limited: the filters of this address hold more than {most} bytes"
        self._size += size
        return ""

    def hold(self, subscription: Subscription, size: int) -> bool:
        """Grant memory to what `subscription` holds back (see `hub.Room`)."""
        if self._memory.take(self.address, size):
            return True
        self._overflowed(subscription)
        return False

    def let_go(self, size: int) -> None:
        """Take memory back (see `hub.Room`)."""
        self._memory.give_back(self.address, size)

    def _give_memory_back(self, size: int) -> None:
        self._size -= size
        self._memory.give_back(self.address, size)

    def _sees(self, event: Event, item: Filter) -> bool:
        return self._policy.visibility.sees(event, item, self.pubkeys)

    def _query_refusal(self, filters: tuple[Filter, ...], now: float) -> str:
        reason = self._policy.query_refusal(filters, self.pubkeys)
        if not reason and not self._queries.take(self.address, now):
            reason = "rate-limited: too many queries, slow down"
        return reason

    def refuse(self, error: InvalidMessage, now: float) -> Iterator[Effect]:
        """Answer what could not be read: with OK or CLOSED when it names an id, else NOTICE."""
        if error.event_id is not None:
            yield frame(Ok(error.event_id, False, error.reason))
        elif error.subscription_id is not None:
            # The client will take the subscription of this id for closed, so it has to be.
            yield from self.end(error.subscription_id)
            yield frame(Closed(error.subscription_id, error.reason))
        else:
            yield frame(Notice(error.reason))
            if self._offences is None:
                most = self._policy.limits.max_offences
                self._offences = Buckets(Rate(per_second=most / 60, burst=most))
            if not self._offences.take("", now):
                yield HangUp()

    def _authenticate(self, event: Event, now: float) -> Ok:
        if (
            event.pubkey not in self.pubkeys
            and len(self.pubkeys) >= self._policy.limits.max_auth_pubkeys
            and event.pubkey not in self._policy.signers  # one connection may serve all of them
        ):
            return Ok(event.id, False, "rate-limited: too many pubkeys on one connection")
        if not self._queries.take(self.address, now):  # each costs a check of a signature
            return Ok(event.id, False, "rate-limited: too many AUTH messages, slow down")
        try:
            check_auth(event, self._relay_urls, self._challenge, int(now))
        except InvalidAuth as error:
            return Ok(event.id, False, f"invalid: {error}")
        self.pubkeys.add(event.pubkey)
        return Ok(event.id, True, "")


def frame(message: RelayMessage) -> bytes:
    """Return the message as the bytes of one text frame."""
    return encode(message)
