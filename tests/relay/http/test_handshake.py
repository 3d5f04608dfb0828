"""The handshake that is answered without a second parser says what websockets would have said."""

import socket
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bunker_relay.http.handshake import accept, response
from support.wire import Peer, Start

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ORDINARY = (
    (b"host", b"relay.example"),
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
)


def _answer(*headers: tuple[bytes, bytes]) -> tuple[int, str | None]:
    """Return status and Sec-WebSocket-Accept as websockets gives them."""
    protocol = ServerProtocol()
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    protocol.receive_data(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
    for event in protocol.events_received():
        if isinstance(event, Request):
            answer = protocol.accept(event)
            return answer.status_code, answer.headers.get("Sec-WebSocket-Accept")
    return 400, None


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 1.3."""
    assert accept("GET", "1.1", ORDINARY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    written = response(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", [(b"date", b"now")])
    assert written.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert written.endswith(b"Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\ndate: now\r\n\r\n")


_NAMES = [name for name, _ in ORDINARY] + [b"origin", b"content-length", b"x-forwarded-for"]
_VALUES = [value for _, value in ORDINARY] + [b"keep-alive, Upgrade", b"close", b"", b"8", KEY * 2]
_HEADERS = st.lists(
    st.one_of(
        st.sampled_from(ORDINARY), st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES))
    ),
    max_size=3,
)


@settings(deadline=None)
@given(
    more=_HEADERS,
    without=st.sets(st.sampled_from(_NAMES), max_size=1),
    key=st.binary(min_size=15, max_size=17),
)
def test_what_is_accepted_websockets_accepts(
    more: list[tuple[bytes, bytes]], without: set[bytes], key: bytes
) -> None:
    """With the same answer, whatever else stands in the head; all else is left to it."""
    headers = [header for header in ORDINARY if header[0] not in without] + more
    headers = [(name, b64encode(key) if value == KEY else value) for name, value in headers]
    accepted = accept("GET", "1.1", headers)
    if accepted is not None:
        assert _answer(*headers) == (101, accepted.decode())


@pytest.mark.parametrize(
    "header",
    [
        (b"sec-websocket-key", KEY),
        (b"upgrade", b"websocket"),
        (b"origin", b"https://a.example"),
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"expect", b"100-continue"),
        (b"sec-websocket-protocol", b"nostr"),
    ],
)
def test_what_is_unusual_is_left_to_others(header: tuple[bytes, bytes]) -> None:
    """What stands twice, a body, a choice: None, for another to answer."""
    origin = (b"origin", b"https://b.example")
    assert accept("GET", "1.1", (*ORDINARY, origin)) is not None
    assert accept("GET", "1.1", (*ORDINARY, origin, header)) is None
    assert accept("POST", "1.1", ORDINARY) is None
    assert accept("GET", "1.0", ORDINARY) is None


@pytest.mark.parametrize("plain", ["", "plain = true"])
async def test_both_ways_answer_alike(start: Start, plain: str) -> None:
    """With and without a subprotocol, on the path and off it; then the connection serves."""
    relay = start(config=plain)
    heads = {
        "GET / HTTP/1.1": "HTTP/1.1 101 ",
        "GET /?a=b HTTP/1.1": "HTTP/1.1 101 ",
        "GET /more HTTP/1.1": "HTTP/1.1 403 ",
        "POST / HTTP/1.1": "HTTP/1.1 405 ",
    }
    for line, status in heads.items():
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            lines = b"".join(b"%b: %b\r\n" % header for header in ORDINARY)
            client.sendall(line.encode() + b"\r\n" + lines + b"\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4_096)
            assert head.startswith(status.encode()), (line, head)
            if status.endswith("101 "):
                names = {part.split(b":")[0].lower() for part in head.split(b"\r\n")[1:-2]}
                assert names == {b"upgrade", b"connection", b"sec-websocket-accept", b"date"}
    options: list[dict[str, Any]] = [
        {},
        {"subprotocols": ["nostr"]},
        {"origin": "https://a.example"},
    ]
    for option in options:
        async with Peer(relay.url, **option) as peer:
            assert await peer.ids({"limit": 0}) == []


async def test_the_limits_hold(start: Start) -> None:
    """An address has so many connections at once, and is told when that is too many."""
    relay = start(config="limits.max_connections_per_ip = 2")
    async with Peer(relay.url) as first, Peer(relay.url):
        with pytest.raises(Exception, match="429"):
            async with Peer(relay.url):
                pass
        await first.socket.close()
        async with Peer(relay.url) as third:
            assert await third.ids({"limit": 0}) == []
