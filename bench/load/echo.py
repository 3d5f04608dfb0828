"""The limit of latency: a frame there and back, with nothing between two sockets: echo.py PORT."""

import asyncio
import re
import sys
from typing import cast

import uvloop

from bench.load.frames import TEXT, Decoder, accept, encode_unmasked


class Echo(asyncio.Protocol):
    """Sends every text back."""

    def __init__(self) -> None:
        self._decoder: Decoder | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        if self._decoder is None:
            found = re.search(rb"(?i)sec-websocket-key: *(\S+)", data)
            if found is None:
                return
            self._decoder = Decoder()
            self._write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
                b"\r\nSec-WebSocket-Accept: " + accept(found[1]) + b"\r\n\r\n"
            )
            return
        for first, payload in self._decoder.feed(data):
            if first == TEXT:
                self._write(encode_unmasked(payload))


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
