"""Whose large piece is read next: one a turn of the event loop, one address after the other.

A socket that is always full would else be read up to thirty times before the loop looks at any
other (libuv, uv__read), each time the quarter of a megabyte that one read brings: a tenth of a
second for everybody else, times the connections of whoever sends so much. And whoever has many
connections would have all of them ready in one turn, with as many frames as each may have.
"""

import asyncio
import time
from collections import OrderedDict, deque
from typing import Any, Final, Protocol

from bunker_relay.client.keepalive import PatientProtocol

TURNS: Final = "bunker.turns"  # in the scope's `extensions`, without the fast path
LARGE_READ: Final = 65_536  # bytes in one read from which on a connection waits for its next turn
MANY: Final = 16  # frames in one read from which on they are counted for their address
# Without the fast path:
_PIECE: Final = 512  # bytes that are parsed before we look whether the turn is over
_TURN: Final = 0.001  # seconds
_BYTES: Final = 8  # that count as a frame, of which a turn has not more than
_MOST: Final = 64
_SHARE: Final = 1_024  # such frames of an address in one turn; then its connections wait in a row


class Reader(Protocol):
    """A connection that reads no further until it is called."""

    def read_on(self) -> None:
        """Read the next piece."""


class FairReads:
    """The connections that wait to read on, by address; made on the loop's thread."""

    __slots__ = ("_call_soon", "_waiting", "taken")

    def __init__(self) -> None:
        self._call_soon: Final = asyncio.get_running_loop().call_soon
        self._waiting: OrderedDict[str, deque[Reader]] = OrderedDict()
        self.taken: Final[dict[str, int]] = {}  # frames in this turn, by address

    def take(self, address: str, frames: int) -> None:
        """Count what one read has brought."""
        if not self.taken:
            self._call_soon(self.taken.clear)
        self.taken[address] = self.taken.get(address, 0) + frames

    def has_had_its_share(self, address: str) -> bool:
        """Tell whether `address` is to wait for the next turn."""
        return self.taken.get(address, 0) >= _SHARE

    def wait(self, address: str, reader: Reader) -> None:
        """Call `reader.read_on` when it is its turn."""
        if not self._waiting:
            self._call_soon(self._next)
        readers = self._waiting.get(address)
        if readers is None:
            self._waiting[address] = readers = deque()
        readers.append(reader)

    def _next(self) -> None:
        address, readers = next(iter(self._waiting.items()))
        reader = readers.popleft()
        if readers:
            self._waiting.move_to_end(address)
        else:
            del self._waiting[address]
        if self._waiting:
            self._call_soon(self._next)
        reader.read_on()


class FairProtocol(PatientProtocol):
    """uvicorn's WebSocket, of which what was read may wait for its turn, or for its application."""

    _fair_reads: FairReads | None = None  # these two from `take_turns` on
    _address = ""
    _queued = False  # waits for its turn to read on
    _rest: tuple[bytes, int] | None = None  # what was read, and from where on it is still to take

    def take_turns(self, fair_reads: FairReads, address: str) -> None:
        """Read on when it is the turn of `address`, whose limits the client shares."""
        self._fair_reads = fair_reads
        self._address = address

    def read_on(self) -> None:
        """It is its turn (see `Reader`): read, unless the application has paused."""
        self._queued = False
        if self._is_held() or self.transport.is_closing():
            return
        if self._rest is not None:
            (data, at), self._rest = self._rest, None
            self._read_from(data, at)
        if not (self._queued or self._is_held() or self.transport.is_closing()):
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read no more."""
        self._rest = None
        super().connection_lost(exc)

    def _is_held(self) -> bool:
        """Tell whether the application reads no further for now."""
        return self.read_paused

    def _read_from(self, data: bytes, at: int) -> None:
        """Take what is in `data` from `at` on, or some of it and `_leave` the rest."""
        raise NotImplementedError

    def _leave(self, data: bytes, at: int) -> None:
        """Leave what was read for another turn."""
        self._rest = data, at
        self._queue()

    def _append(self, data: bytes) -> None:
        """Put what was still read behind what waits."""
        rest, at = self._rest or (b"", 0)
        self._rest = rest[at:] + data, 0

    def _queue(self) -> None:
        """Read no further until it is its turn."""
        if not self._queued and self._fair_reads is not None:
            self._queued = True
            self.transport.pause_reading()
            self._fair_reads.wait(self._address, self)


class InTurns(FairProtocol):
    """Parses a little of what was read, as websockets does it, and waits for its next turn.

    The fast path (`fast_path`) has turns of its own.
    """

    def take_turns(self, fair_reads: FairReads, address: str) -> None:
        """Read on when it is the turn of `address`; until here nothing was parsed."""
        super().take_turns(fair_reads, address)
        if self._rest is not None:
            self._queue()

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if not self.handshake_initiated:
            super().data_received(data)
        elif self._rest is not None or self._fair_reads is None:
            self._append(data)
            self.transport.pause_reading()
        elif self._fair_reads.has_had_its_share(self._address):
            self._leave(data, 0)
        else:
            self._read_from(data, 0)

    async def receive(self) -> Any:
        """Return the next message; uvicorn reads on when it was the last that is parsed."""
        message = await super().receive()
        if self._rest is not None:
            self.transport.pause_reading()
            self._queue()
        return message

    def _read_from(self, data: bytes, at: int) -> None:
        """Parse some of `data` from `at` on: a piece at least, and then until the turn is over."""
        size, begun = _PIECE, at
        until = time.perf_counter() + _TURN
        while at < len(data) and not self.transport.is_closing():
            piece = data[at : at + size]
            at += len(piece)
            super().data_received(piece)
            if len(self.conn.reader.buffer) > size // 2:
                size *= 2  # in the middle of a large frame, which costs the same in fewer pieces
                continue
            size = _PIECE
            if self.queue.qsize() >= MANY or time.perf_counter() > until:
                break
        if self._fair_reads is not None and (frames := min((at - begun) // _BYTES, _MOST)) >= MANY:
            self._fair_reads.take(self._address, frames)
        if at < len(data) and not self.transport.is_closing():
            self._leave(data, at)

    def _queue(self) -> None:
        if not self.read_paused:  # else when the application has taken what is parsed
            super()._queue()
