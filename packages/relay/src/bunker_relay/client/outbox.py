"""The outbox: frames on their way to one client, bounded in bytes."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from bunker_relay.event.limits import Budget

WINDOW: Final = 65_536  # bytes still to be sent, at which a client has taken nearly all


class Unread:
    """What one client has still to take, counted for its address and in all once it is much."""

    __slots__ = ("_address", "_budget", "counted")

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget = budget
        self._address = address
        self.counted = 0  # bytes

    def count(self, size: int) -> bool:
        """Count `size` bytes from now on; False when all clients together leave too much."""
        if size <= WINDOW:
            size = 0
        if size > self.counted:
            if not self._budget.take(self._address, size - self.counted):
                return False
        elif size < self.counted:
            self._budget.give_back(self._address, self.counted - size)
        self.counted = size
        return True


class Draining:
    """Lets those wait who have more for a client than there is room for."""

    __slots__ = ("_drained",)

    def __init__(self) -> None:
        self._drained: asyncio.Event | None = None  # while somebody waits

    async def _changed(self) -> None:
        """Wait until `_wake`: there may be room."""
        if self._drained is None:
            self._drained = asyncio.Event()
        await self._drained.wait()

    def _wake(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None


class Outbox(Draining):
    """Frames wait here while the client reads more slowly than they come.

    `put` never waits. When more than `max_bytes` are queued or reserved, everything is dropped
    and `overflow` is called once: a client that does not read costs no other client anything.
    """

    __slots__ = (
        "_frames",
        "_overflow",
        "_reserved",
        "_send",
        "_task",
        "_unread",
        "_window",
        "closed",
        "max_bytes",
        "size",
    )

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        max_bytes: int,
        overflow: Callable[[], None],
        unread: Unread,
    ) -> None:
        super().__init__()
        self._unread = unread
        self.size = 0  # bytes queued
        self.closed = False
        self._reserved = 0
        self._send = send
        self.max_bytes = max_bytes
        self._window = min(max_bytes // 2, WINDOW)
        self._overflow = overflow
        self._frames: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def crowded(self) -> bool:
        """Whether more than half of the room is taken."""
        return self.size > self.max_bytes // 2

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        if self.closed:
            return
        self.size += len(frame)
        self._frames.append(frame)
        if self._is_over():
            return
        if self._task is None:
            # A task for as long as there is something to send: an idle client has none.
            self._task = asyncio.get_running_loop().create_task(self._write())

    def reserve(self, size: int) -> None:
        """Count bytes that a subscription holds back (see `hub.Sink`)."""
        self._reserved += size
        if not self.closed:
            self._is_over()

    async def drained(self) -> None:
        """Wait until half of the room is free, or the outbox is closed."""
        while not self.closed and self.crowded:
            await self._changed()

    async def taken(self) -> None:
        """Wait until the client has taken nearly all, or the outbox is closed."""
        while not self.closed and self.size > self._window:
            await self._changed()

    async def flushed(self) -> None:
        """Wait until everything queued was handed to the transport, or the outbox is closed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Drop what waits and take nothing more."""
        self.closed = True
        self._frames.clear()
        self._unread.count(0)
        if self._task is not None:
            self._task.cancel()
        self._wake()

    def _is_over(self) -> bool:
        if self.size + self._reserved <= self.max_bytes and self._unread.count(self.size):
            return False
        self.close()
        self._overflow()
        return True

    async def _write(self) -> None:
        try:
            while self._frames:
                frame = self._frames.popleft()
                await self._send(frame)
                self.size -= len(frame)
                if self._unread.counted:
                    self._unread.count(self.size)
                if not self.crowded:
                    self._wake()
        except OSError:  # the client has gone; whoever reads from it learns that too
            self.close()
        finally:
            self._task = None
