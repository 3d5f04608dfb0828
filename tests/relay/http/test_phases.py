"""What a connection that is no WebSocket may take, phase by phase."""

from collections.abc import Callable
from typing import Any

import pytest

from bunker_relay.http.accept import HEAD_BYTES
from relay.http._by_hand import Server, statuses

HEAD_SECONDS, REQUEST_SECONDS, LINGER = 10, 20, 1
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
HANDSHAKE = (
    b"GET /path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("said", [b"", GET[:-2]])
async def test_a_head_has_ten_seconds(said: bytes) -> None:
    """Whether nothing of it has come or nearly all, from when the connection was made."""
    server = Server()
    protocol, socket = server.connect()
    server.loop.passes(HEAD_SECONDS - 1)
    protocol.data_received(said)
    assert socket.ended == ""
    server.loop.passes(1)
    assert socket.ended == "closed"
    protocol.connection_lost(None)
    assert (server.loop.pending, len(server.kind.waiting)) == (0, 0)


async def test_the_next_head_has_ten_seconds_of_its_own() -> None:
    """And as many bytes again."""
    server = Server()
    protocol, socket = server.connect()
    long = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (HEAD_BYTES // 3)
    for _ in range(4):
        protocol.data_received(long)
        server.loop.passes(HEAD_SECONDS - 1)
        protocol.data_received(b"\r\n\r\n")
        await server.answer()
        server.loop.passes(1)  # of the time in which another may begin
    assert (statuses(socket), socket.ended) == ([200] * 4, "")
    protocol.data_received(long)
    server.loop.passes(HEAD_SECONDS)
    assert socket.ended == "closed"
    protocol.connection_lost(None)
    assert server.loop.pending == 0


async def test_a_head_that_has_no_end_is_not_read_to_it() -> None:
    """One line, which the parser would keep on gathering."""
    protocol, socket = Server().connect()
    head = b"GET / HTTP/1.1\r\nX: ".ljust(HEAD_BYTES, b"x")
    for at in range(0, HEAD_BYTES, 4_096):
        protocol.data_received(head[at : at + 4_096])
    assert socket.ended == ""
    protocol.data_received(b"x")
    assert socket.ended == "closed"
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x" * HEAD_BYTES + b": x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X:\r\n" * (HEAD_BYTES // 4) + b"\r\n",
        b"GET /".ljust(HEAD_BYTES * 2 // 3, b"x")
        + b" HTTP/1.1\r\nHost: x\r\nX: ".ljust(HEAD_BYTES * 2 // 3, b"x")
        + b"\r\n\r\n",
    ],
    ids=["path", "value", "name", "many", "all of it"],
)
async def test_a_large_head_in_one_read_is_refused(head: bytes) -> None:
    """Whatever of it is large; the application never hears of it."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(head)
    assert (statuses(socket), socket.ended) == ([400], "closed")
    assert protocol.cycle is None
    protocol.connection_lost(None)


async def test_a_request_has_twenty_seconds() -> None:
    """From the end of its head, whether its body or its answer does not come."""
    server = Server()
    for request in (POST, GET):
        protocol, socket = server.connect()
        server.loop.passes(HEAD_SECONDS - 1)
        protocol.data_received(request)
        server.loop.passes(REQUEST_SECONDS - 1)
        assert socket.ended == ""
        server.loop.passes(1)
        assert socket.ended == "aborted"
        protocol.connection_lost(None)
    assert server.loop.pending == 0
    await server.answer(2)


async def test_after_its_answer_nothing_is_due() -> None:
    """But uvicorn's own time, in which another request may come."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(GET)
    assert server.loop.pending == 1
    await server.answer()
    assert (statuses(socket), server.loop.pending) == ([200], 1)
    server.loop.passes(server.config.timeout_keep_alive)
    assert socket.ended == "closed"
    protocol.connection_lost(None)
    assert server.loop.pending == 0


async def test_each_of_several_requests_in_a_row_has_its_time() -> None:
    """The next one's begins when the one before it is answered."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(GET * 2)
    server.loop.passes(REQUEST_SECONDS - 1)
    await server.answer()
    assert statuses(socket) == [200]
    server.loop.passes(REQUEST_SECONDS - 1)
    assert socket.ended == ""
    server.loop.passes(1)
    assert socket.ended == "aborted"
    protocol.connection_lost(None)
    await server.answer()


@pytest.mark.parametrize(("number", "ended"), [(9, ""), (10, "closed")])
async def test_so_many_requests_wait_for_the_one_before_them(number: int, ended: str) -> None:
    """Eight behind the one that is being answered; one more ends the connection."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(GET * number)
    assert socket.ended == ended
    await server.answer(number)
    assert statuses(socket) == ([400, 200] if ended else [200] * 9)
    protocol.connection_lost(None)
    await server.answer(number)


async def test_a_body_arrives_whole() -> None:
    """In pieces, and the application is told of its end."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(POST.replace(b"/", b"/body", 1) + b"bo")
    await server.answer()
    assert server.bodies == []
    protocol.data_received(b"dy")
    await server.answer()
    assert (server.bodies, statuses(socket), socket.ended) == ([b"body"], [200], "")
    assert socket.reads
    protocol.connection_lost(None)


async def test_after_the_answer_a_body_is_read_no_further() -> None:
    """Whoever still sends it has a second to read the answer."""
    server = Server()
    protocol, socket = server.connect()
    protocol.data_received(POST + b"bo")
    await server.answer()
    assert (statuses(socket), socket.reads, socket.ended) == ([200], False, "")
    server.loop.passes(LINGER / 2)
    assert socket.ended == ""
    server.loop.passes(LINGER / 2)
    assert socket.ended == "closed"
    protocol.connection_lost(None)
    assert server.loop.pending == 0


async def test_whoever_is_silent_makes_room_and_whoever_asks_does_not() -> None:
    """A request keeps its place until it is answered; a newcomer is turned away until then."""
    server = Server(per_address=1)
    first, kept = server.connect()
    first.data_received(GET)
    _, refused = server.connect()
    assert (kept.ended, refused.ended) == ("", "aborted")
    assert server.loop.pending == 1
    await server.answer()
    second, taken = server.connect()
    assert (kept.ended, taken.ended) == ("aborted", "")
    first.connection_lost(None)
    third, also = server.connect()
    assert (taken.ended, also.ended) == ("aborted", "")
    other, elsewhere = server.connect("192.0.2.2")
    assert (also.ended, elsewhere.ended) == ("", "")
    for protocol in (second, third, other):
        protocol.connection_lost(None)
    assert (len(server.kind.waiting), server.loop.pending) == (0, 0)


async def test_a_dropped_connection_leaves_nothing_due() -> None:
    """Neither in its head nor in its request."""
    server = Server()
    for said in (b"", GET):
        protocol, socket = server.connect()
        protocol.data_received(said)
        protocol.drop()
        assert (socket.ended, server.loop.pending) == ("aborted", 0)
        protocol.connection_lost(None)
    await server.answer()


async def test_what_is_no_request_is_answered_with_400() -> None:
    """And closed."""
    protocol, socket = Server().connect()
    protocol.data_received(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert (statuses(socket), socket.ended) == ([400], "closed")
    protocol.connection_lost(None)


@pytest.mark.parametrize("more", [b"", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"])
async def test_one_request_too_many_is_turned_away(more: bytes) -> None:
    """Also one that would upgrade to something else; who reads no answer is dropped in time."""
    server = Server(burst=2)
    request = GET[:-2] + more + b"\r\n"
    for expected in ([200], [200], [429]):
        protocol, socket = server.connect()
        protocol.data_received(request)
        await server.answer(expected == [200])
        assert statuses(socket) == expected
    assert socket.ended == "closed"
    server.loop.passes(REQUEST_SECONDS - 1)
    assert socket.ended == "closed"
    server.loop.passes(1)
    assert socket.ended == "aborted"
    protocol.data_received(request)
    protocol.connection_lost(None)
    _, other = server.connect("192.0.2.2")
    assert other.ended == ""


async def test_the_health_of_a_relay_can_be_asked_by_whoever_asks_too_much() -> None:
    """Both have their rates, which fill up again with time."""
    server = Server(burst=1)

    async def ask(path: bytes) -> list[int]:
        protocol, socket = server.connect()
        protocol.data_received(GET.replace(b"/", path, 1))
        await server.answer()
        protocol.connection_lost(None)
        return statuses(socket)

    assert [await ask(b"/"), await ask(b"/")] == [[200], [429]]
    for path in (b"/healthz", b"/readyz"):
        assert await ask(path) == ([200] if path == b"/healthz" else [429])
    server.loop.passes(1)
    assert [await ask(b"/readyz?x"), await ask(b"/x")] == [[200], [200]]


async def test_a_websocket_after_a_request_is_opened() -> None:
    """It is looked at anew whether a head upgrades; it counts as no request, and waits no more."""
    server = Server(burst=1)
    opened: list[Any] = []

    def opens(scope: Any) -> Callable[[Any], None]:
        assert scope["path"] == "/path"
        return opened.append

    server.kind.opens = staticmethod(opens)
    protocol, socket = server.connect()
    protocol.data_received(HANDSHAKE)
    assert (statuses(socket), opened) == ([101], [socket.protocol])
    assert (len(server.kind.waiting), server.loop.pending) == (0, 0)
    assert server.state.connections == {socket.protocol}

    protocol, socket = server.connect()
    protocol.data_received(GET[:-2] + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    await server.answer()
    server.loop.passes(1)
    protocol.data_received(HANDSHAKE)  # here uvicorn opens it, for the connection has served
    assert isinstance(socket.protocol, server.config.ws_protocol_class)  # type: ignore[arg-type]
    assert len(opened) == 1
    assert (len(server.kind.waiting), server.loop.pending) == (0, 0)


@pytest.mark.parametrize("fast", [True, False])
async def test_a_refused_handshake_counts_as_a_request(fast: bool) -> None:
    """Where the fast path is closed it is for the application to refuse it."""
    server = Server(burst=1)
    if fast:
        server.kind.opens = staticmethod(lambda _: None)
    ended = []
    for _ in range(2):
        protocol, socket = server.connect()
        protocol.data_received(HANDSHAKE)
        ended.append((statuses(socket), socket.ended, socket.protocol is not None))
        if socket.protocol is None:
            assert len(server.kind.waiting) == 1
            protocol.connection_lost(None)
    refused = ([429], "closed", False) if fast else ([], "", True)
    assert ended == [([], "", True), refused]
    assert (len(server.kind.waiting), server.loop.pending) == (0, 0)
