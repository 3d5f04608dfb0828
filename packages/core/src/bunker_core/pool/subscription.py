"""Events from several relays as one stream, each once."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from bunker_core.bounds.generations import Generations
from bunker_core.errors import PoolError
from bunker_core.event import VerifiedEvent
from bunker_core.filter import Filter

REMEMBERED_IDS: Final = 16384
# Events that may wait for a reader. Beyond it the newest is dropped and counted: a flood must not
# grow the memory of the process that holds a key.
MAX_WAITING: Final = 16384


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event, verified, and the relay that was first to bring it."""

    event: VerifiedEvent
    relay_url: str


class Subscription:
    """An async iterator of `Incoming`, unless `serve` hands them out, until `close` is called."""

    def __init__(
        self,
        subscription_id: str,
        filters: tuple[Filter, ...],
        close: Callable[["Subscription"], None],
    ) -> None:
        self.subscription_id = subscription_id
        self.filters = filters
        self.dropped = 0
        self.live_relays: set[str] = set()
        self.refusals: dict[str, str] = {}
        self._seen: Generations[bool] = Generations(REMEMBERED_IDS)
        self._take: Callable[[Incoming], None] | None = None
        self._waiting: deque[Incoming] = deque()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._close = close
        self._closed = False

    def push(self, incoming: Incoming) -> None:
        """Take an event from a relay; doubles are dropped."""
        if incoming.event.id in self._seen:
            return
        self._seen.put(incoming.event.id, True)
        if self._take is not None:
            self._take(incoming)
        elif len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(incoming)
            self._arrived.set()

    def set_live(self, relay_url: str) -> None:
        """Note that the relay serves the subscription."""
        self.refusals.pop(relay_url, None)
        self.live_relays.add(relay_url)
        self._changed.set()

    def set_down(self, relay_url: str, reason: str | None = None) -> None:
        """Note that the relay does not serve it any more, and why if it refused."""
        self.live_relays.discard(relay_url)
        if reason is not None:
            self.refusals[relay_url] = reason
        self._changed.set()

    async def live(self, timeout: float, relay_urls: Collection[str] | None = None) -> None:
        """Wait until one relay (of `relay_urls`, if given) serves the subscription.

        What is published before that can be missed: subscribe, wait, then publish. Raises
        PoolError after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while not (
                    self.live_relays
                    if relay_urls is None
                    else self.live_relays.intersection(relay_urls)
                ):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            refused = "; ".join(f"{url}: {why}" for url, why in self.refusals.items())
            raise PoolError(refused or f"no relay answered within {timeout:g} s") from None

    def close(self) -> None:
        """End the subscription at every relay, and the iteration."""
        if not self._closed:
            self._closed = True
            self._close(self)
            self._arrived.set()

    async def serve(self, take: Callable[[Incoming], None]) -> None:
        """Hand every event to `take`, which must not raise, as it comes, until `close`.

        Instead of iterating: a task that is woken for each event costs as much as the event.
        """
        while self._waiting:
            take(self._waiting.popleft())
        self._take = take
        try:
            while not self._closed:
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._take = None

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Incoming:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()
