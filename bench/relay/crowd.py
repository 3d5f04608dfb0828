"""Many connections at once, and what each of them waits for."""

import asyncio
from collections.abc import Callable, Sequence

from bench.load.traffic import subscribe
from bench.load.websocket import Socket
from bench.relay.relays import Target

_AT_ONCE = 50  # handshakes under way


async def connect(target: Target, count: int) -> list[Socket]:
    """Return `count` open connections."""
    sockets: list[Socket] = []
    while len(sockets) < count:
        batch = min(_AT_ONCE, count - len(sockets))
        sockets += await asyncio.gather(
            *(Socket.open(target.host, target.port, target.path) for _ in range(batch))
        )
    return sockets


async def subscribed(
    sockets: Sequence[Socket], filters: Sequence[dict[str, object]], timeout: float = 60
) -> None:
    """Open one subscription, `s`, on each connection and wait for every EOSE."""
    gate = Gate(len(sockets))
    for item in sockets:
        item.on_text = lambda text: gate.open() if text.startswith(b'["EOSE"') else None
    for item, wanted in zip(sockets, filters, strict=True):
        item.write(subscribe("s", wanted))
    await gate.passed(timeout)


def close(sockets: Sequence[Socket]) -> None:
    """Drop the connections."""
    for item in sockets:
        item.close()


class Gate:
    """Opens when something has happened `count` times."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """It has happened once more."""
        self._left -= 1
        if self._left == 0 and not self._future.done():
            self._future.set_result(None)

    async def passed(self, timeout: float) -> None:
        """Wait; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._future


def window(
    sockets: Sequence[Socket],
    frames: Sequence[Sequence[bytes]],
    size: int,
    answered: Callable[[bytes], None],
) -> None:
    """Send each connection its frames, `size` without an answer at a time.

    All answers that come in one read are followed by one write. `answered` is called with every
    text.
    """
    loop = asyncio.get_running_loop()
    for item, shots in zip(sockets, frames, strict=True):
        _Window(loop, item, shots, size, answered)


class _Window:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        item: Socket,
        shots: Sequence[bytes],
        size: int,
        answered: Callable[[bytes], None],
    ) -> None:
        self._loop = loop
        self._socket = item
        self._shots = shots
        self._answered = answered
        self._next = size
        self._due = 0
        item.on_text = self._on_text
        item.write(b"".join(shots[:size]))

    def _on_text(self, text: bytes) -> None:
        self._answered(text)
        if self._due == 0:
            self._loop.call_soon(self._send)
        self._due += 1

    def _send(self) -> None:
        first, self._next = self._next, self._next + self._due
        self._due = 0
        if self._socket.lost or first >= len(self._shots):
            return
        self._socket.write(b"".join(self._shots[first : self._next]))
