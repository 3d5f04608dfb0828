"""Who comes in: idle connections keep nobody out, and every phase has an end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bunker_signer.service import listener as module
from bunker_signer.service.listener import BoundedServer, Connection, Connections, Listener

HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SLOW_BODY = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab"


def ends() -> tuple[list[int], Callable[[int], Callable[[], object]]]:
    gone: list[int] = []
    return gone, lambda number: lambda: gone.append(number)


def test_who_waits_longest_goes() -> None:
    """A new connection finds room when one waits; one that is being answered stays."""
    gone, end = ends()
    connections = Connections(most=3, most_each=3)
    opened = [connections.enter(f"a{number}", end(number)) for number in range(3)]
    assert all(opened)
    connections.wait(opened[0], waiting=False)  # type: ignore[arg-type]
    assert connections.enter("b", end(3)) is not None
    assert gone == [1]
    assert len(connections) == 3


def test_one_address_pushes_out_its_own() -> None:
    """However many come from one address, another's stay."""
    gone, end = ends()
    connections = Connections(most=10, most_each=2)
    connections.enter("owner", end(-1))
    for number in range(50):
        connections.enter("stranger", end(number))
    assert gone == list(range(48))
    assert len(connections) == 3


def test_no_room_is_made_where_all_are_answered() -> None:
    """Then a new one is not let in, and nobody is cut off."""
    gone, end = ends()
    connections = Connections(most=1, most_each=1)
    opened = connections.enter("a", end(0))
    assert isinstance(opened, Connection)
    connections.wait(opened, waiting=False)
    assert connections.enter("b", end(1)) is None
    connections.leave(opened)
    connections.leave(opened)
    assert connections.enter("b", end(1)) is not None
    assert gone == []


def test_proxies_stand_for_many() -> None:
    """A proxy has no limit of its own but that of all."""
    gone, end = ends()
    connections = Connections(most=10, most_each=2)
    for number in range(10):
        connections.enter("", end(number))
    assert gone == []


@pytest.mark.parametrize(
    ("peer", "is_proxy"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", False), ("192.0.2.1", False)],
)
def test_a_proxy_is_known_on_a_socket_for_both(peer: str, is_proxy: bool) -> None:
    """Over IPv6 an address of IPv4 comes in another form (RFC 4291, 2.5.5.2)."""
    with socket.socket() as listening:
        server = Listener(listening, [ip_network("127.0.0.0/8")], None, lambda *_: None)  # type: ignore[arg-type]
        assert server._is_proxy(peer) is is_proxy


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> AsyncIterator[int]:
    """Serve an app; yields the port. `seconds` shorten the deadlines."""
    for name, value in seconds.items():
        monkeypatch.setattr(module, name.upper(), value)

    async def index(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("hello")

    async def stream(_: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "data: 1\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(events())

    app = Starlette(routes=[Route("/", index, methods=["GET", "POST"]), Route("/events", stream)])
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_config=None, loop="none", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = BoundedServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield port
        finally:
            server.should_exit = True
            await task


async def call(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


@pytest.mark.parametrize("said", [b"", b"GET / HT", HEAD[:-2], SLOW_BODY])
async def test_every_phase_has_an_end(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """No head, half a head, half a body: the connection is closed, whatever trickles in."""
    async with serving(monkeypatch, head_seconds=0.2, body_seconds=0.2) as port:
        reader, writer = await call(port, said)
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                while await reader.read(1024):
                    pass
        writer.close()


async def test_a_trickle_does_not_prolong_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline runs from the start of the phase, not from the last byte."""
    async with serving(monkeypatch, head_seconds=0.3) as port:
        reader, writer = await call(port, b"GET / HTTP/1.1\r\n")
        ended = asyncio.ensure_future(reader.read(1))
        sent = 0
        async with asyncio.timeout(5):
            while not ended.done():
                writer.write(b"x")
                sent += 1
                await asyncio.wait([ended], timeout=0.02)
        assert sent > 3
        with suppress(ConnectionError):
            assert ended.result() == b""
        writer.close()


async def test_what_is_whole_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests on one connection, and a stream that goes on past every deadline."""
    seconds = {"head_seconds": 0.2, "body_seconds": 0.2, "answer_seconds": 0.2}
    async with serving(monkeypatch, **seconds) as port:
        reader, writer = await call(port, HEAD)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.write(SLOW_BODY + b"cde")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        stream, other = await call(port, b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.readuntil(b"data: 1")
        ended = asyncio.ensure_future(stream.readuntil(b"0\r\n\r\n"))
        done, _ = await asyncio.wait([ended], timeout=0.5)  # longer than every deadline
        assert not done
        ended.cancel()
        for end in (writer, other):
            end.close()


async def test_idle_connections_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 of them from the owner's own address, and each of their requests is answered."""
    async with serving(monkeypatch) as port:
        idle = []
        for number in range(600):
            idle.append(await call(port, b"" if number % 2 else SLOW_BODY))
            if number % 100 == 99:
                reader, writer = await call(port, HEAD)
                assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
                writer.close()
        for _, writer in idle:
            writer.close()
