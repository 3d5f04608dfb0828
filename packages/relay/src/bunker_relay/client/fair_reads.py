"""Whose large piece is read next: one a turn of the event loop, one address after the other.

A socket that is always full would else be read up to thirty times before the loop looks at any
other (libuv, uv__read), each time the quarter of a megabyte that one read brings: a tenth of a
second for everybody else, times the connections of whoever sends so much. And whoever has many
connections would have all of them ready in one turn, with as many frames as each may have.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final, Protocol

LARGE_READ: Final = 65_536  # bytes in one read from which on a connection waits for its next turn
MANY: Final = 16  # frames in one read from which on they are counted for their address
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
