"""What a WebSocket costs before any message is whole, and after the last: measured from outside."""

import asyncio
import base64
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from bunker_core.keys import SecretKey
from bunker_relay.client.bounded import FRAGMENTS
from support.wire import PATIENCE, Peer, RelayProcess, note, running_relay

_MIB = 2**20
_MASK = bytes(4)
_ALONE = 3  # the sockets of a relay without clients: it listens, and wakes its own loop
_REFUSED = 20
# The relay gives who closes a fifth of a second, instead of ten, to take what is left.
_HURRIED = "import bunker_relay.client.bounded as bounded\nbounded.CLOSING_SECONDS = 0.2\n"


@pytest.fixture(scope="module", params=["fast", "plain"])
def relay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    """A relay, in both of its ways."""
    folder = tmp_path_factory.mktemp("bounded")
    (folder / "sitecustomize.py").write_text(_HURRIED)
    config = f"""
    plain = {"true" if request.param == "plain" else "false"}
    rates.events_per_ip = {{per_second = 9999, burst = 9999}}
    rates.events_per_pubkey = {{per_second = 9999, burst = 9999}}
    """
    with running_relay(
        folder / "data", config=config, environ={"PYTHONPATH": str(folder)}
    ) as process:
        yield process


def _open(relay: RelayProcess) -> socket.socket:
    """Return a WebSocket of which the kernel keeps little, and nobody reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", relay.port))
    key = base64.b64encode(os.urandom(16))
    client.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return client


def _until(client: socket.socket, wanted: bytes) -> None:
    """Read on until `wanted` comes."""
    tail = b""
    while wanted not in tail:
        data = client.recv(_MIB)
        assert data, "it was closed"
        tail = tail[-len(wanted) :] + data


def _sockets(relay: RelayProcess) -> int:
    """Return how many sockets the relay has open."""
    count = 0
    for file in (relay.proc / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            count += str(file.readlink()).startswith("socket:")
    return count


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: 3\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 400),
        ("Sec-WebSocket-Protocol: a\r\nCookie: " + "x" * 9_000 + "\r\n", 431),
        ("Sec-WebSocket-Protocol: a\r\n" + "X: y\r\n" * 200, 431),
    ],
    ids=["body", "chunks", "long", "many"],
)
async def test_a_handshake_that_opens_nothing_is_answered_and_ended(
    relay: RelayProcess, headers: str, status: int
) -> None:
    """None of them leaves a connection behind: uvicorn would keep each for ever, without a word."""
    request = (
        f"GET / HTTP/1.1\r\nHost: x\r\n{headers}Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    body = "abc" if "Length" in headers else "0\r\n\r\n" if "chunked" in headers else ""
    with ExitStack() as stack:
        for _ in range(_REFUSED):
            client = socket.create_connection(("127.0.0.1", relay.port), PATIENCE)
            stack.enter_context(closing(client))
            client.sendall((request + body).encode())
            answer = b""
            while piece := client.recv(4_096):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 %d " % status)
        async with Peer(relay.url) as other, asyncio.timeout(PATIENCE):
            while _sockets(relay) > _ALONE + 1:
                await other.unread()


async def test_pongs_that_nobody_reads_do_not_pile_up(relay: RelayProcess) -> None:
    """16 MB of pings add less than 8 MiB; who reads again has the answer to the latest."""
    with closing(_open(relay)) as client:
        before = relay.rss()
        ping = b"\x89\xfd" + _MASK + bytes(125)
        for _ in range(125):
            await asyncio.to_thread(client.sendall, ping * 1_000)
        await asyncio.to_thread(client.sendall, b"\x89\x84" + _MASK + b"last")
        async with Peer(relay.url) as other:
            await other.unread()
            assert relay.rss() - before < 8 * _MIB
        await asyncio.to_thread(_until, client, b"\x8a\x04last")


@pytest.mark.parametrize("piece", [b"\x00\x80" + _MASK, b"\x00\x81" + _MASK + b"x"])
async def test_a_message_has_so_many_fragments_and_no_more(
    relay: RelayProcess, piece: bytes
) -> None:
    """As many as FRAGMENTS are one message; one more is closed with 1008, empty or not."""
    with closing(_open(relay)) as client:
        client.sendall(b"\x01\x81" + _MASK + b"x" + piece * (FRAGMENTS - 2))
        client.sendall(b"\x80\x81" + _MASK + b"x")
        await asyncio.to_thread(_until, client, b"NOTICE")
        client.sendall(b"\x01\x81" + _MASK + b"x" + piece * FRAGMENTS)
        await asyncio.to_thread(_until, client, (1008).to_bytes(2) + b"too many fragments")
    async with Peer(relay.url) as other:
        await other.unread()


_WAYS = ["close", "half", "fault"]


@pytest.mark.parametrize(
    ("relay", "way"),
    [*(("fast", way) for way in (*_WAYS, "offences")), *(("plain", way) for way in _WAYS)],
    indirect=["relay"],
)
async def test_whoever_closes_and_reads_nothing_is_gone_in_time(
    relay: RelayProcess, way: str
) -> None:
    """With megabytes still to be sent to each: their descriptors are free again."""
    subscribe = b'["REQ","s",{"kinds":[20001],"limit":0}]'
    key = SecretKey.generate()
    async with Peer(relay.url) as other:
        async with asyncio.timeout(PATIENCE):
            while (alone := _sockets(relay)) > _ALONE + 1:  # those of the test before
                await other.unread()
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(_open(relay))) for _ in range(10)]
            for client in clients:
                client.sendall(b"\x81" + bytes([0x80 | len(subscribe)]) + _MASK + subscribe)
            for number in range(60):
                event = note(key, f"{number:06}" * 10_000, kind=20_001)
                assert await other.publish(event) == (True, "")
            assert _sockets(relay) == alone + 10
            for client in clients:
                match way:
                    case "close":
                        client.sendall(b"\x88\x82" + _MASK + (1000).to_bytes(2))
                    case "half":
                        client.shutdown(socket.SHUT_WR)
                    case "fault":
                        client.sendall(b"\x83\x80" + _MASK)  # an opcode that is none
                    case "offences":
                        client.sendall((b"\x81\x81" + _MASK + b"x") * 30)
            async with asyncio.timeout(PATIENCE):
                while _sockets(relay) > alone:
                    await other.unread()
