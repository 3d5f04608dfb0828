"""What begins a subscription: what is stored, read in pages as the client takes it, then EOSE."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from bunker_core.filter import Filter
from bunker_core.kinds import is_ephemeral
from bunker_core.messages import Closed, CountReply, Eose
from bunker_relay.client.protocol import CountQuery, RelayProtocol, frame
from bunker_relay.event.hub import Subscription
from bunker_relay.store.outcome import PAGE_BYTES, StoreError

if TYPE_CHECKING:
    from bunker_relay.client.answers import Answer
    from bunker_relay.client.cork import Cork
    from bunker_relay.client.outbox import Outbox
    from bunker_relay.client.parts import Parts
    from bunker_relay.store.outcome import Found
    from bunker_relay.store.store import Store

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Queries:
    """Those of one client, one at a time: a scrape waits behind its own queries."""

    __slots__ = (
        "_address",
        "_lock",
        "_open",
        "_outbox",
        "_protocol",
        "_relay",
        "_spawn",
        "_stalled",
    )

    def __init__(
        self,
        relay: "Parts",
        protocol: RelayProtocol,
        outbox: "Outbox | Cork",
        spawn: Spawn,
        stalled: Callable[[], None],
    ) -> None:
        """`spawn` starts a task that ends with the connection.

        `stalled` is called when the client does not take its answer while others wait for the room.
        """
        self._relay = relay
        self._protocol = protocol
        self._outbox = outbox
        self._spawn = spawn
        self._stalled = stalled
        self._address = protocol.address
        self._open: dict[Subscription, asyncio.Task[None]] = {}  # that are not answered yet
        self._lock: asyncio.Lock | None = None

    def subscribe(self, subscription: Subscription, now: float) -> None:
        """Answer a REQ; `now` is in Unix seconds."""
        relay = self._relay
        relay.counters.queries += 1
        relay.hub.add(subscription)
        relay.ingest.subscribed(subscription, now)
        if relay.store is None or not needs_store(subscription.filters):
            if relay.bus.settled:
                self._outbox.put(frame(Eose(subscription.id)))
            else:
                self._answer(subscription, self._settle(subscription))
            subscription.release(())
        else:
            self._answer(subscription, self._send_stored(relay.store, subscription))

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription, which the protocol has ended."""
        self._relay.hub.remove(subscription)
        self._cancel(subscription)

    def count(self, query: CountQuery) -> None:
        """Answer a COUNT (NIP-45)."""
        task = self._spawn(self._send_count(query))
        task.add_done_callback(lambda _: self._protocol.counted(query))

    def missed(self, subscription: Subscription) -> None:
        """End a subscription for which more happened during its query than can be held back."""
        self._cancel(subscription)
        self._refuse(subscription, "error: too much happened during this query, ask again")

    def _answer(self, subscription: Subscription, answering: Coroutine[Any, Any, None]) -> None:
        """Send what begins a subscription; at its end that is cancelled, and says nothing more."""
        task = self._open[subscription] = self._spawn(answering)
        task.add_done_callback(lambda _: self._open.pop(subscription, None))

    async def _settle(self, subscription: Subscription) -> None:
        """Say EOSE when the other nodes know of the subscription, and nothing is missed."""
        await self._relay.bus.settle()
        self._outbox.put(frame(Eose(subscription.id)))

    async def _send_stored(self, store: "Store", subscription: Subscription) -> None:
        bus = self._relay.bus
        async with self._one_at_a_time:
            if not bus.settled:
                await bus.settle()  # what others store from now on comes live
            with self._relay.answers.open(self._address, self._stalled) as answer:
                try:
                    found = await self._send_pages(store, subscription, answer)
                except StoreError as error:
                    self._relay.counters.queries_failed += 1
                    self._relay.ingest.cant_read(error)
                    self._refuse(subscription, f"error: {error}")
                    return
                await bus.settle()  # what others stored and we found is held here by now
                # NIP-67: where no limit has cut anything off.
                hints = () if found.more else ("finish",)
                self._outbox.put(frame(Eose(subscription.id, hints)))
                subscription.release(found.ids)
                await self._outbox.taken()

    async def _send_pages(
        self, store: "Store", subscription: Subscription, answer: "Answer"
    ) -> "Found":
        """Send what is stored, page by page as the client takes it; raises StoreError."""
        limits, address = self._relay.policy.limits, self._address
        await answer.make_room(PAGE_BYTES, store.query_timeout)
        found, stored = await store.find(
            subscription.filters,
            int(time.time()),
            default=limits.default_limit,
            most=limits.max_limit,
            readers=self._protocol.readers,
            key=address,
        )
        at = len(stored) and found.page(0)[0].stop
        while True:
            for item in stored:
                subscription.send_stored(item.json)
            if at >= len(found):
                return found
            del stored[:]
            await self._outbox.taken()
            answer.progressed()
            indices, size = found.page(at)
            await answer.make_room(size, store.query_timeout)
            stored = await store.read(found, indices, key=address)
            at = indices.stop

    async def _send_count(self, query: CountQuery) -> None:
        self._relay.counters.queries += 1
        count = 0
        async with self._one_at_a_time:
            if self._relay.store is not None:
                try:
                    count = await self._relay.store.count(
                        query.filters,
                        int(time.time()),
                        readers=self._protocol.readers,
                        key=self._address,
                    )
                except StoreError as error:
                    self._relay.counters.queries_failed += 1
                    self._relay.ingest.cant_read(error)
                    self._outbox.put(frame(Closed(query.subscription_id, f"error: {error}")))
                    return
        self._outbox.put(frame(CountReply(query.subscription_id, count)))

    def _refuse(self, subscription: Subscription, reason: str) -> None:
        if not subscription.closed:
            self._relay.hub.remove(subscription)
            self._protocol.forget(subscription)
            self._outbox.put(frame(Closed(subscription.id, reason)))

    def _cancel(self, subscription: Subscription) -> None:
        """Ask no further for what nobody waits for; its filters, too, are let go."""
        task = self._open.pop(subscription, None)
        if task is not None:
            task.cancel()

    @property
    def _one_at_a_time(self) -> asyncio.Lock:
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock


def needs_store(filters: tuple[Filter, ...]) -> bool:
    """Tell whether a stored event could match; what remote signing asks for never does."""
    return any(
        not item.never
        and item.limit != 0
        and (item.kinds is None or not all(map(is_ephemeral, item.kinds)))
        for item in filters
    )
