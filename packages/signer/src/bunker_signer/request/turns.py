"""Turns at something that is scarce, shared out by client: nobody waits for another's queue."""

import asyncio
from collections import Counter, OrderedDict, deque


class Turns:
    """`total` at a time, `each` of one client; who waits is taken client by client, in rotation.

    Hundreds of one client that wait delay another client's first by one turn.
    """

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._held: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, client: str) -> None:
        """Have a turn, until `give_back`."""
        if self._free and self._held[client] < self._each:
            self._free -= 1
            self._held[client] += 1
        else:
            await self._wait(client)

    def give_back(self, client: str) -> None:
        """End a turn; whoever waits is next."""
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
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back(client)  # it was given just now
            elif turn in queue:
                queue.remove(turn)
                if not queue:
                    self._queues.pop(client, None)
            raise

    def _take_next(self, client: str) -> None:
        queue = self._queues.pop(client)
        turn = queue.popleft()
        if queue:
            self._queues[client] = queue  # at the end: the others come first
        if not turn.done():
            self._free -= 1
            self._held[client] += 1
            turn.set_result(None)
