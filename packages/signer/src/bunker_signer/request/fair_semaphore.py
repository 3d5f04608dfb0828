"""A semaphore that is fair to clients: none of them waits for another's queue."""

import asyncio
from collections import Counter, OrderedDict, deque


class FairSemaphore:
    """`total` at a time, `each` of one client; who waits is taken client by client, in rotation.

    Hundreds of one client that wait delay another client's first by one.
    """

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._held: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def try_acquire(self, client: str) -> bool:
        """Be one of the `total` now, until `release`; False if one has to wait for that."""
        if not self._free or self._held[client] >= self._each:
            return False
        self._free -= 1
        self._held[client] += 1
        return True

    async def acquire(self, client: str) -> None:
        """Be one of the `total`, until `release`."""
        if not self.try_acquire(client):
            await self._wait(client)

    def release(self, client: str) -> None:
        """Let the next one in, if any waits."""
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        while self._free and self._queues:
            ready = (name for name in self._queues if self._held[name] < self._each)
            following = next(ready, None)
            if following is None:
                return
            self._take_next(following)

    async def _wait(self, client: str) -> None:
        queue = self._queues.setdefault(client, deque())
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(admitted)
        try:
            await admitted
        except BaseException:
            if admitted.done() and not admitted.cancelled():
                self.release(client)  # it was given just now
            elif admitted in queue:
                queue.remove(admitted)
                if not queue:
                    self._queues.pop(client, None)
            raise

    def _take_next(self, client: str) -> None:
        queue = self._queues.pop(client)
        admitted = queue.popleft()
        if queue:
            self._queues[client] = queue  # at the end: the others come first
        if not admitted.done():
            self._free -= 1
            self._held[client] += 1
            admitted.set_result(None)
