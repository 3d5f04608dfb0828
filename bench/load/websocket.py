"""One WebSocket of the load generator."""

import asyncio
import os
from typing import TYPE_CHECKING, Final, Self, cast

from bench.load.frames import CLOSE, PING, PONG, TEXT, Decoder, check_response, encode, request

if TYPE_CHECKING:
    from collections.abc import Callable

_MASK: Final = b"\x37\xfa\x21\x3d"
OPEN_TIMEOUT: Final = 20.0  # seconds


class Socket(asyncio.Protocol):
    """Connects, then hands every text message to `on_text`, called on the event loop.

    `frames_received` and `bytes_received` count, for measures that need no more than that.
    """

    def __init__(self) -> None:
        self.on_text: Callable[[bytes], None] = _ignore
        self.on_lost: Callable[[], None] = _nothing
        self.frames_received = 0
        self.lost = False
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # once connected
        self._decoder = Decoder()
        self._key = os.urandom(16)
        self._head: bytearray | None = bytearray()
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, host: str, port: int, path: str = "/") -> Self:
        """Connect; raises OSError, HandshakeFailed or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(OPEN_TIMEOUT):
            transport, self = await loop.create_connection(cls, host, port)
            transport.write(request(host, port, path, self._key))
            try:
                await self._open
            except BaseException:
                transport.abort()
                raise
        return self

    def send(self, text: bytes) -> None:
        """Mask and send a message."""
        self.transport.write(encode(text, _MASK))

    def write(self, frames: bytes) -> None:
        """Send frames that are masked already."""
        self.transport.write(frames)

    def close(self) -> None:
        """Drop the connection."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._shake_hands(data)
        on_text = self.on_text
        for first, payload in self._decoder.feed(data):
            if first == TEXT:
                self.frames_received += 1
                on_text(payload)
            elif first == PING:
                self.transport.write(encode(payload, _MASK, PONG))
            elif first == CLOSE:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self._open.done():
            self._open.set_exception(exc or ConnectionResetError("closed in the handshake"))
        self.on_lost()

    def _shake_hands(self, data: bytes) -> bytes:
        head = self._head = (self._head or bytearray()) + data
        end = head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        self._head = None
        try:
            check_response(bytes(head[:end]), self._key)
        except Exception as error:  # noqa: BLE001 -- for whoever waits in open()
            self._open.set_exception(error)
        else:
            self._open.set_result(None)
        return bytes(head[end + 4 :])


def masked(text: bytes) -> bytes:
    """Return a message as the frame that `Socket.write` takes."""
    return encode(text, _MASK)


def _ignore(_text: bytes) -> None:
    return


def _nothing() -> None:
    return
