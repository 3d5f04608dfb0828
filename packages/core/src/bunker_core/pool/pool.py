"""Several relays as one: subscribe at all of them, publish to all of them, each event once."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from bunker_core.errors import PoolError
from bunker_core.event import Event, Sign
from bunker_core.filter import Filter
from bunker_core.nips.relay_url import parse_relay_url
from bunker_core.pool.connection import MAX_SKEW, ConnectionState, RelayConnection
from bunker_core.pool.protocol import Answered, ClientProtocol, Effect, Ended, Live, Received
from bunker_core.pool.publication import Publication, Receipt
from bunker_core.pool.subscription import Incoming, Subscription


class RelayPool:
    """A set of relays that comes and goes while subscriptions and publications stay.

    Use it as an async context manager. `auth` signs for relays that insist on NIP-42. `on_open` is
    called with a relay's URL whenever a connection to it is up, after the subscriptions were
    sent on it, and `on_lost` whenever it is not any more.
    """

    def __init__(
        self,
        relay_urls: Iterable[str],
        *,
        auth: Sequence[Sign] = (),
        on_open: Callable[[str], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = dict.fromkeys(map(parse_relay_url, relay_urls))
        self._auth = tuple(auth)
        self._on_open = on_open
        self._on_lost = on_lost
        self._clock = clock
        self._connections: dict[str, RelayConnection] = {}
        self._open_relays: tuple[str, ...] = ()  # asked for at every step of every request
        self._subscriptions: dict[str, Subscription] = {}
        self._publications: dict[str, Publication] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        for url in self._wanted:
            self._connect(url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.close()
        closing = [connection.close() for connection in self._connections.values()]
        self._connections.clear()
        await asyncio.gather(*closing)

    @property
    def relay_urls(self) -> tuple[str, ...]:
        """The relays of the pool, connected or not."""
        return tuple(self._connections)

    @property
    def open_relays(self) -> tuple[str, ...]:
        """The relays that are connected now."""
        return self._open_relays

    @property
    def clock_skew(self) -> float:
        """By how many seconds the relays' clocks are ahead of ours; of those that say, the nearest.

        A relay whose own clock is wrong shifts nothing as long as another one agrees with us.
        0 when no relay said.
        """
        nearest: float | None = None  # in a loop: it is asked for with every event
        for item in self._connections.values():
            skew = item.clock_skew
            if skew is not None and (nearest is None or abs(skew) < abs(nearest)):
                nearest = skew
        return nearest or 0.0

    def now(self) -> float:
        """Return Unix seconds: by our clock, or by the relays' when ours is more than MAX_SKEW off.

        The one clock for whatever others compare with theirs: `since`, freshness, `created_at`.
        """
        skew = self.clock_skew
        return self._clock() + (skew if abs(skew) > MAX_SKEW else 0.0)

    def hurry(self) -> None:
        """Try again at once to reach the relays that are not connected."""
        for connection in self._connections.values():
            connection.hurry()

    def check(self, relay_urls: Iterable[str]) -> None:
        """Find out whether connections that should have answered are alive; else renew them."""
        for url in relay_urls:
            if connection := self._connections.get(url):
                connection.check()

    def status(self) -> dict[str, tuple[ConnectionState, str | None]]:
        """Return each relay's state and its last error."""
        return {url: (item.state, item.last_error) for url, item in self._connections.items()}

    async def round_trips(self) -> dict[str, float | None]:
        """Ping the relays and return the seconds each took, within CHECK_TIMEOUT.

        None for one that is not connected. One that owes its pong is dropped and connected anew.
        """
        connections = dict(self._connections)
        await asyncio.gather(*(item.checked() for item in connections.values()))
        return {
            url: item.round_trip if item.state is ConnectionState.OPEN else None
            for url, item in connections.items()
        }

    def add_relay(self, relay_url: str) -> None:
        """Connect to one more relay and subscribe there to everything; raises InvalidURI."""
        url = parse_relay_url(relay_url)
        if url not in self._connections:
            self._connect(url)

    async def remove_relay(self, relay_url: str) -> None:
        """Disconnect from a relay and stop waiting for its answers."""
        connection = self._connections.pop(parse_relay_url(relay_url), None)
        if connection is None:
            return
        self._note_open_relays()
        await connection.close()
        for publication in list(self._publications.values()):
            publication.drop(connection.url)
            self._discard_if_complete(publication)

    async def connected(self, timeout: float) -> None:
        """Wait until one relay is connected; raises PoolError with every relay's last error."""
        try:
            async with asyncio.timeout(timeout):
                while not self.open_relays:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise PoolError(self.describe_errors()) from None

    def describe_errors(self) -> str:
        """Return why relays are not connected, in a line for a person."""
        return "; ".join(
            f"{url}: {error or 'no answer'}"
            for url, (state, error) in self.status().items()
            if state is not ConnectionState.OPEN
        )

    def subscribe(self, *filters: Filter) -> Subscription:
        """Subscribe at every relay, now and after each reconnect."""
        subscription = Subscription(secrets.token_hex(8), filters, self._unsubscribe)
        self._subscriptions[subscription.subscription_id] = subscription
        for connection in self._connections.values():
            connection.apply(connection.protocol.subscribe(subscription.subscription_id, filters))
        return subscription

    def publish(
        self,
        event: Event,
        relay_urls: Iterable[str] | None = None,
        on_receipt: Callable[[Receipt], None] | None = None,
    ) -> Publication:
        """Send `event` to `relay_urls` (default: all), now or when they are connected again.

        Relays that are not of the pool are passed over. `on_receipt` is called with each relay's
        answer.
        """
        urls = list(self._connections) if relay_urls is None else relay_urls
        targets = [self._connections[url] for url in urls if url in self._connections]
        publication = Publication(event, (item.url for item in targets), self._forget, on_receipt)
        self._publications[event.id] = publication
        for connection in targets:
            connection.apply(connection.protocol.publish(event))
            connection.hurry()
        self._discard_if_complete(publication)
        return publication

    def _connect(self, url: str) -> None:
        protocol = ClientProtocol(url, self._auth)
        for subscription in self._subscriptions.values():
            protocol.subscribe(subscription.subscription_id, subscription.filters)
        self._connections[url] = RelayConnection(
            protocol, self._take_effect, self._take_state, self._clock
        )

    def _take_effect(self, connection: RelayConnection, effect: Effect) -> None:
        match effect:
            case Received(subscription_id, event):
                if subscription := self._subscriptions.get(subscription_id):
                    subscription.push(Incoming(event, connection.url))
            case Live(subscription_id):
                if subscription := self._subscriptions.get(subscription_id):
                    subscription.set_live(connection.url)
            case Ended(subscription_id, reason):
                if subscription := self._subscriptions.get(subscription_id):
                    subscription.set_down(connection.url, reason)
            case Answered(event_id, accepted, reason):
                if publication := self._publications.get(event_id):
                    publication.record(Receipt(connection.url, accepted, reason))
                    self._discard_if_complete(publication)
            case _:
                pass

    def _take_state(self, connection: RelayConnection) -> None:
        self._note_open_relays()
        self._changed.set()
        if connection.state is ConnectionState.OPEN:
            self.hurry()  # the network is there: the other relays may be, too
            if self._on_open:
                self._on_open(connection.url)
            return
        for subscription in self._subscriptions.values():
            subscription.set_down(connection.url)
        if self._on_lost:
            self._on_lost(connection.url)

    def _note_open_relays(self) -> None:
        self._open_relays = tuple(
            url
            for url, connection in self._connections.items()
            if connection.state is ConnectionState.OPEN
        )

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.subscription_id, None)
        for connection in self._connections.values():
            connection.apply(connection.protocol.unsubscribe(subscription.subscription_id))

    def _forget(self, publication: Publication) -> None:
        self._publications.pop(publication.event.id, None)
        for connection in self._connections.values():
            connection.protocol.forget(publication.event.id)

    def _discard_if_complete(self, publication: Publication) -> None:
        if publication.complete:
            self._publications.pop(publication.event.id, None)
