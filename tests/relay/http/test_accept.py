"""Connections that are no WebSocket yet: bounded by address and in all, the silent ones first."""

import asyncio
import http.client
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack, suppress
from typing import Any, Self

import pytest
import uvicorn
from uvicorn.server import ServerState

from bunker_relay.event.limits import Addresses
from bunker_relay.http.accept import HTTPProtocol, Waiting
from support.wire import PATIENCE, Peer, RelayProcess, Start

ENDLESS = 256 * 2**20  # bytes; a socket's buffers hold some megabytes of them


class Wire(asyncio.Transport):
    """A transport without a socket that shows when it was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = asyncio.Event()

    def write(self, data: Any) -> None:
        """Take nothing."""

    def close(self) -> None:
        """Stay."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.aborted.set()


class Held:
    """A connection that shows whether it was dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        """End it."""
        self.dropped = True


def test_the_oldest_silent_connection_of_an_address_makes_room() -> None:
    """Who speaks keeps its place; another address loses nothing."""
    waiting = Waiting(per_address=2, total=10)
    other, first, second, third = (Held() for _ in range(4))
    assert waiting.enter(other, "b")
    assert waiting.enter(first, "a")
    assert waiting.enter(second, "a")
    waiting.speaks(first)
    assert waiting.enter(third, "a")
    assert [item.dropped for item in (other, first, second, third)] == [False, False, True, False]
    waiting.speaks(third)
    assert not waiting.enter(Held(), "a"), "nobody is silent"
    waiting.silent(first)
    assert waiting.enter(Held(), "a")
    assert first.dropped


def test_in_all_the_oldest_silent_one_makes_room() -> None:
    """Whatever its address; and those that left are counted no more."""
    waiting = Waiting(per_address=2, total=3)
    held = [Held() for _ in range(5)]
    for number, item in enumerate(held[:4]):
        assert waiting.enter(item, str(number))
    assert held[0].dropped
    assert len(waiting) == 3
    for item in held:
        waiting.leave(item)
    assert len(waiting) == 0
    assert waiting.enter(held[4], "1")
    assert not held[4].dropped


def test_whoever_has_left_leaves_room_and_nothing_else() -> None:
    """Also who asked for something, and who leaves twice."""
    waiting = Waiting(per_address=1, total=10)
    first, second = Held(), Held()
    for _ in range(2):
        assert waiting.enter(first, "a")
        waiting.speaks(first)
        waiting.speaks(first)
        assert not waiting.enter(second, "a")
        waiting.leave(first)
        waiting.leave(first)
        waiting.silent(first)
    assert waiting.enter(second, "a")
    waiting.leave(second)
    assert (first.dropped, second.dropped, len(waiting)) == (False, False, 0)
    assert (waiting._counts, waiting._silent, waiting._all_silent) == ({}, {}, {})


def test_a_proxy_brings_many() -> None:
    """A listed proxy's address has no bound of its own, only the bound in all."""
    waiting = Waiting(per_address=1, total=3)
    assert [waiting.enter(Held(), "") for _ in range(3)] == [True] * 3
    assert len(waiting) == 3
    assert Addresses(("10.0.0.0/8",)).is_proxy("::ffff:10.1.2.3")
    assert not Addresses(("10.0.0.0/8",)).is_proxy("192.0.2.1")


class Impatient(HTTPProtocol):
    """The relay's HTTP with a deadline that is over at once."""

    request_seconds = 0.0


async def test_a_request_without_an_end_is_dropped() -> None:
    """A body that does not come, or an answer that nobody reads, ends with its deadline."""
    asked: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            asked.append(message["type"])

    wire = Wire()
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    protocol = Impatient(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    async with asyncio.timeout(10):
        await wire.aborted.wait()
    protocol.connection_lost(None)
    assert set(asked) <= {"http.request"}


async def test_requests_in_a_row_are_few(start: Start) -> None:
    """40 connections that send 14,000 at once add less than 32 MiB; 9 in a row are answered."""
    relay = start(forked=False)
    least = b"GET /healthz HTTP/1.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE) as polite:
        polite.sendall(least * 9)
        answers = b""
        while answers.count(b" 200 OK") < 9:
            answers += await asyncio.to_thread(polite.recv, 65_536)
    before = relay.rss()
    with ExitStack() as stack:
        for _ in range(40):
            rude = socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE)
            stack.enter_context(rude)
            with suppress(OSError):  # the relay may have closed it before all was sent
                await asyncio.to_thread(rude.sendall, least * 14_000)
        async with Peer(relay.url) as peer:
            await peer.unread()
        assert relay.rss() - before < 32 * 2**20


@pytest.mark.parametrize("attacker", ["127.0.0.1", "127.0.0.2"])
async def test_idle_connections_keep_nobody_out(start: Start, attacker: str) -> None:
    """With 1,300 of them, opened again as they are closed, every probe and client is served."""
    relay = start()
    address = ("127.0.0.1", relay.port)
    before = len(list((relay.proc / "fd").iterdir()))
    with ExitStack() as stack:

        def connect() -> None:
            for _ in range(650):
                stack.enter_context(socket.create_connection(address, source_address=(attacker, 0)))

        connect()
        for _ in range(3):
            connect()
            answer = await asyncio.to_thread(
                urllib.request.urlopen, f"{relay.http_url}/healthz", None, 10
            )
            with answer:
                assert answer.status == 200
            async with Peer(relay.url) as peer:
                assert await peer.ids({"kinds": [1]}) == []
        assert len(list((relay.proc / "fd").iterdir())) < before + 210


def test_a_body_without_end_is_read_no_further_than_its_answer(start: Start) -> None:
    """The answer arrives; of what is sent after it the socket's buffers alone are filled.

    Twenty connections whose bodies had no end made everybody else's request take 0.4 s.
    """
    relay = start()
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", relay.port), PATIENCE) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert client.recv(4_096).startswith(b"HTTP/1.1 405 ")
        with suppress(ConnectionError):
            while sent < ENDLESS:
                client.sendall(chunk)
                sent += len(chunk)
    assert sent < ENDLESS


def test_a_body_that_comes_late_costs_only_its_connection(start: Start) -> None:
    """Whoever is answered before their body has come reads the answer and an orderly end."""
    relay = start()
    with socket.create_connection(("127.0.0.1", relay.port), PATIENCE) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        answer = b""
        while piece := client.recv(4_096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 405 ")


ASK = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: application/nostr+json\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
FEW = "rates.requests_per_ip = {per_second = 0.001, burst = 5}"


class Asking:
    """One connection that asks by HTTP and stays open as long as it may."""

    def __init__(self, relay: RelayProcess, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", relay.port)
        self._socket = socket.create_connection(address, PATIENCE, source_address=(source, 0))
        self._answer = http.client.HTTPResponse(self._socket)

    def ask(self, head: bytes = ASK, more: bytes = b"") -> int:
        """Return the status of the answer."""
        self._socket.sendall(head + more + b"\r\n")
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()
        self.body = self._answer.read()
        return self._answer.status

    def header(self, name: str) -> str | None:
        """Return a header of the latest answer."""
        return self._answer.getheader(name)

    @property
    def over(self) -> bool:
        """Whether the relay closes after the latest answer."""
        return self._socket.recv(1) == b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._socket.close()


async def test_an_address_has_a_rate_of_requests(start: Start) -> None:
    """What is over it gets 429 and a close; others, health and WebSockets notice nothing."""
    relay = start(config=FEW)
    with Asking(relay) as greedy:
        assert [greedy.ask() for _ in range(6)] == [200] * 5 + [429]
        assert greedy.header("Retry-After") == "1"
        assert greedy.header("Access-Control-Allow-Origin") == "*", "a page can read why"
        assert greedy.body == b"too many requests\n"
        assert greedy.over
    for head in (ASK, b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"GET /x HTTP/1.1\r\n"):
        with Asking(relay) as greedy:
            assert greedy.ask(head) == 429
    with Asking(relay, "127.0.0.2") as other:
        assert other.ask() == 200
    with Asking(relay) as probe:
        assert [probe.ask(b"GET /healthz HTTP/1.1\r\n") for _ in range(6)] == [200] * 5 + [429]
    async with Peer(relay.url) as peer:
        assert await peer.ids({"limit": 0}) == []


def test_a_listed_proxy_brings_clients_with_rates_of_their_own(start: Start) -> None:
    """It is never turned away itself."""
    relay = start(config=f'trusted_proxies = ["127.0.0.1"]\n{FEW}')
    for number in range(3):
        forwarded = b"X-Forwarded-For: 198.51.100.%d\r\n" % number
        with Asking(relay) as client:
            assert [client.ask(more=forwarded) for _ in range(6)] == [200] * 5 + [429]


def test_refused_handshakes_count_as_requests(start: Start) -> None:
    """At a wrong path, or over the bound of connections: to refuse costs more than to open."""
    relay = start(config=f"rates.connections_per_ip = {{per_second = 0.001, burst = 1}}\n{FEW}")
    wrong, right = (b"GET /x HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n")
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nHost: x\r\n"
    found = []
    for head in (wrong, wrong, right, right, wrong, wrong, wrong, right):
        with Asking(relay) as client:
            found.append((client.ask(head, UPGRADE + key), client.header("Retry-After")))
    assert found[:2] == [(403, None)] * 2
    assert found[2] == (101, None)
    assert found[3] == (429, "60"), "too many connections"
    assert found[4:6] == [(403, None)] * 2
    assert found[6:] == [(429, "1")] * 2, "too many requests"


async def test_a_reload_changes_the_rate(start: Start) -> None:
    """Also for who has used it up."""
    relay = start(config=FEW)
    with Asking(relay) as greedy:
        assert [greedy.ask() for _ in range(6)] == [200] * 5 + [429]
    rate = "rates.requests_per_ip = {per_second = 1000000, burst = 50}"
    relay.data.with_suffix(".toml").write_text(rate)
    relay.process.send_signal(signal.SIGHUP)
    await relay.logged("reloaded")
    with Asking(relay) as greedy:
        assert [greedy.ask() for _ in range(20)] == [200] * 20


def test_a_flood_of_requests_is_answered_in_part(start: Start) -> None:
    """Of 1,000 on 100 connections at most 500 at once and 20 a second."""
    relay = start()
    begun = time.monotonic()
    answered = 0
    for _ in range(100):
        with Asking(relay) as client:
            for _ in range(10):
                if client.ask() != 200:
                    break
                answered += 1
    assert 500 <= answered <= 500 + 20 * (time.monotonic() - begun)
