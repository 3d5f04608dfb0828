"""Write coalescing: all frames for one client in one turn of the event loop leave in one write.

A write to a socket costs more than everything else that a delivery takes. Frames are put
together until the loop has handed out what it read, then each client's go out at once.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from bunker_relay.client.outbox import WINDOW, Draining, Unread


@lru_cache(maxsize=4096)
def header(length: int) -> bytes:
    """Return the header of a text frame of `length` bytes (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2)
    return b"\x81\x7f" + length.to_bytes(8)


class Corks:
    """The corks that hold something in this turn of the loop; made on the loop's thread."""

    __slots__ = ("_call_soon", "_corks")

    def __init__(self) -> None:
        self._call_soon: Final = asyncio.get_running_loop().call_soon
        self._corks: list[Cork] = []

    def add(self, cork: "Cork") -> None:
        """Flush `cork` when the turn ends."""
        if not self._corks:
            self._call_soon(self._end)
        self._corks.append(cork)

    def _end(self) -> None:
        corks, self._corks = self._corks, []
        for cork in corks:
            cork.flush()


class Cork(Draining):
    """An outbox (see `outbox.Outbox`) that writes to its transport without a task.

    What the kernel does not take waits in the transport; together with what is corked and what
    subscriptions hold back it may be `max_bytes`, then everything is dropped and `overflow` is
    called once.
    """

    __slots__ = (
        "_corked",
        "_corks",
        "_frames",
        "_half",
        "_overflow",
        "_reserved",
        "_room",
        "_transport",
        "_unread",
        "_waiting",
        "_window",
        "closed",
        "crowded",
        "max_bytes",
    )

    def __init__(
        self,
        corks: Corks,
        transport: asyncio.Transport,
        max_bytes: int,
        overflow: Callable[[], None],
        unread: Unread,
    ) -> None:
        super().__init__()
        self.closed = False
        self.crowded = False  # more than half of the room is taken, as far as was known last
        self.max_bytes = max_bytes
        self._half = max_bytes // 2
        self._corks = corks
        self._transport = transport
        self._unread = unread
        self._overflow = overflow
        self._frames: list[bytes] = []
        self._corked = 0  # bytes
        self._waiting = 0  # bytes in the transport at the last look; they only become fewer
        self._reserved = 0
        self._room = self._half  # bytes that may be corked before there is a reason to look
        self._window = min(self._half, WINDOW)
        # The protocol's resume_writing wakes `drained` and `taken`.
        transport.set_write_buffer_limits(high=self._window, low=self._window // 4)

    @property
    def size(self) -> int:
        """Bytes that are still to be sent."""
        self._waiting = 0 if self.closed else self._transport.get_write_buffer_size()
        return self._corked + self._waiting

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        frames = self._frames
        if not frames:
            if self.closed:  # nothing is ever corked then
                return
            self._corks.add(self)
        length = len(frame)
        frames.append(header(length))
        frames.append(frame)
        self._corked += length
        if self._corked > self._room:
            self._look()

    def reserve(self, size: int) -> None:
        """Count bytes that a subscription holds back (see `hub.Sink`)."""
        self._reserved += size
        if not self.closed:
            self._look()

    def flush(self) -> None:
        """Hand what is corked to the transport."""
        frames = self._frames
        if not frames:
            return
        transport = self._transport
        transport.write(b"".join(frames))
        frames.clear()
        self._corked = 0
        self._waiting = waiting = transport.get_write_buffer_size()
        self._room = self._half - waiting - self._reserved
        self.crowded = False
        unread = self._unread
        if (waiting > self._window or unread.counted) and not unread.count(waiting):
            self._overrun()
            return
        if self._room < 0:
            self._look()
        if self._drained is not None and not self.crowded:
            self.wake()

    async def drained(self) -> None:
        """Wait until half of the room is free, or the cork is closed."""
        while not self.closed and self.size > self._half:
            await self._changed()
        self.crowded = False

    async def taken(self) -> None:
        """Wait until the client has taken nearly all, or the cork is closed."""
        while not self.closed and self.size > self._window:
            await self._changed()

    async def flushed(self) -> None:
        """Hand what is corked to the transport."""
        self.flush()

    def close(self) -> None:
        """Drop what is corked and take nothing more."""
        self.closed = True
        self._unread.count(0)
        self._frames.clear()
        self._corked = 0
        self.wake()

    def wake(self) -> None:
        """Let whoever waits in `drained` or `taken` look again."""
        if self._unread.counted and not self.closed:
            self._unread.count(self._transport.get_write_buffer_size())
        self._wake()

    def _look(self) -> None:
        """Ask the transport what waits, and whether that is too much."""
        size = self.size
        if size + self._reserved > self.max_bytes:
            self._overrun()
            return
        self.crowded = size > self._half
        most = self.max_bytes if self.crowded else self._half
        self._room = most - self._waiting - self._reserved

    def _overrun(self) -> None:
        self.close()
        self._overflow()
