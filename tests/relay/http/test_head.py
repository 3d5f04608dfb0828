"""The head of a request, as the relay's HTTP protocol takes it."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from bunker_relay.http.accept import HEAD_BYTES, HTTPProtocol


class Wire(asyncio.Transport):
    """Keeps what is written; a transport without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.answered = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data
        self.answered.set()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def protocol_on(wire: Wire) -> HTTPProtocol:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    protocol = HTTPProtocol(config, ServerState(), {})
    protocol.connection_made(wire)
    return protocol


def head(size: int) -> bytes:
    line = b"X-Header: x\r\n"
    return b"GET / HTTP/1.1\r\nHost: x\r\n" + line * (size // len(line)) + b"\r\n"


@pytest.mark.parametrize("chunk", [1_000_000, 65_536, 1460])
async def test_a_large_head_is_refused_however_it_is_cut(chunk: int) -> None:
    """In one read, in two that just fit, or in packets: it never becomes a request."""
    wire = Wire()
    protocol = protocol_on(wire)
    data = head(2 * HEAD_BYTES - 100)
    for start in range(0, len(data), chunk):
        if not wire.closed:
            protocol.data_received(data[start : start + chunk])
    assert wire.closed
    assert wire.written == b"" or wire.written.startswith(b"HTTP/1.1 400 ")
    assert protocol.cycle is None
    protocol.connection_lost(None)


async def test_a_head_within_the_bound_is_a_request() -> None:
    """Half of the bound, in one read, is served."""
    wire = Wire()
    protocol = protocol_on(wire)
    protocol.data_received(head(HEAD_BYTES // 2))
    assert protocol.cycle is not None
    async with asyncio.timeout(10):
        await wire.answered.wait()
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    protocol.connection_lost(None)
