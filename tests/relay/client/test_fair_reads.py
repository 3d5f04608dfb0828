"""Who sends much is read in turns with everybody else."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uvicorn.server import ServerState

from bunker_core.keys import SecretKey
from bunker_relay.client.admission import Admission
from bunker_relay.client.fair_reads import FairReads
from bunker_relay.client.fair_reads import Reader as AnyReader
from bunker_relay.config import Config
from bunker_relay.http.server import _protocol
from bunker_relay.relay import Relay
from relay.support.socket import ADDRESS, Socket, configured, frame
from support.wire import PATIENCE, Peer, RelayProcess, Start, note

KEY = SecretKey.generate()


class Reader:
    """Reads a number of large pieces, one a turn."""

    def __init__(self, fair_reads: FairReads, address: str, pieces: int, read: list[str]) -> None:
        self.fair_reads, self.address, self.left, self.read = fair_reads, address, pieces, read
        self.done = asyncio.Event()
        fair_reads.wait(address, self)

    def read_on(self) -> None:
        """Read one piece, of which there are more."""
        self.read.append(self.address)
        self.left -= 1
        if self.left:
            self.fair_reads.wait(self.address, self)
        else:
            self.done.set()


async def test_addresses_take_turns() -> None:
    """However many connections one has, the other reads every second piece."""
    fair_reads, read = FairReads(), list[str]()
    readers = [Reader(fair_reads, address, 3, read) for address in "aaaab"]
    for reader in readers:
        await reader.done.wait()
    assert "".join(read) == "abababaaaaaaaaa"


async def test_one_piece_is_read_in_a_turn_of_the_loop() -> None:
    """What else the loop has to do comes in between."""
    fair_reads, read = FairReads(), list[str]()
    readers = [Reader(fair_reads, "a", 2, read) for _ in range(3)]
    for seen in range(1, 7):
        await asyncio.sleep(0)
        assert len(read) == seen
    assert all(reader.done.is_set() for reader in readers)


async def test_a_full_socket_holds_nobody_up(start: Start) -> None:
    """Of 30 events of 200 KB that wait in a socket three are read before another client's REQ."""
    relay = start(config="rates.events_per_ip = {per_second = 9999, burst = 9999}")
    texts = [_event(str(number) * 200_000, 20_002) for number in range(2)]
    small = [_event(str(number), 20_001) for number in range(60)]
    patient = {"max_queue": None}
    async with Peer(relay.url, **patient) as sender, Peer(relay.url, **patient) as other:
        await other.subscribe("s", {"kinds": [20_001], "limit": 0})
        for text in small[:30]:  # the kernel learns how much this connection brings
            await sender.send_text(texts[0])
            await sender.send_text(text)
            assert (await other.next())[0] == "EVENT"
        _stop(relay)
        try:
            sending = asyncio.gather(
                *(sender.send_text(item) for text in small[30:] for item in (texts[1], text))
            )
            await asyncio.sleep(0)  # as much is written as the kernel takes
            await other.send("REQ", "t", {"kinds": [20_003], "limit": 0})
        finally:
            os.kill(relay.process.pid, signal.SIGCONT)
        before = 0
        while (await other.next())[0] != "EOSE":
            before += 1
        await sending
        assert before <= 3


def _stop(relay: RelayProcess) -> None:
    """Stop the relay; what is sent from now on it finds ready at one moment."""
    os.kill(relay.process.pid, signal.SIGSTOP)
    while (relay.proc / "stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()


def _event(content: str, kind: int) -> str:
    return f'["EVENT",{note(KEY, content, kind=kind).to_json().decode()}]'


def _masked(opcode: int, payload: bytes) -> bytes:
    """Return a frame, masked with nothing."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


async def test_an_address_has_its_share_of_a_turn() -> None:
    """Of frames that come in numbers, whatever its connections; the next turn begins anew."""
    fair_reads = FairReads()
    for _ in range(16):
        assert not fair_reads.has_had_its_share("a")
        fair_reads.take("a", 64)
    assert fair_reads.has_had_its_share("a")
    assert not fair_reads.has_had_its_share("b")
    await asyncio.sleep(0)
    assert not fair_reads.taken


async def _heard_after(
    relay: RelayProcess, senders: Sequence[Peer], flood: bytes, other: Peer
) -> list[str]:
    """Return what `other` is told, by its first words, when all is there at one moment.

    Each of `senders` has sent `flood` and then an event; `other` has sent a REQ.
    """
    await other.subscribe("s", {"kinds": [20_001], "limit": 0})
    _stop(relay)
    try:
        for number, sender in enumerate(senders):
            sender.socket.transport.write(flood)
            await sender.send_text(_event(str(number), 20_001))
        await other.send("REQ", "t", {"kinds": [20_003], "limit": 0})
    finally:
        os.kill(relay.process.pid, signal.SIGCONT)
    return [(await other.next())[0] for _ in range(len(senders) + 1)]


def _from(address: str) -> dict[str, Any]:
    """Return how a client of `address` comes through a proxy."""
    return {"max_queue": None, "additional_headers": {"X-Forwarded-For": address}}


@pytest.mark.parametrize("config", ["", "plain = true"], ids=["", "plain"])
async def test_many_connections_of_one_address_are_not_all_read_in_one_turn(
    start: Start, config: str
) -> None:
    """Of 40 with 63 frames each less than half are read before another address's REQ.

    190, as many as one address may have, made everybody else wait for 12,000 frames. The address is
    the client's, also where a proxy brings both.
    """
    relay = start(config=f'trusted_proxies = ["127.0.0.1"]\n{config}')
    async with AsyncExitStack() as stack:
        many = _from("198.51.100.1")
        senders = [await stack.enter_async_context(Peer(relay.url, **many)) for _ in range(40)]
        other = await stack.enter_async_context(Peer(relay.url, **_from("198.51.100.2")))
        flood = _masked(1, b'["CLOSE","x"]') * 62
        words = await _heard_after(relay, senders, flood, other)
    assert words.count("EVENT") == 40
    assert words.index("EOSE") < 20


FLOODS = {
    "pings": [_masked(9, b"")] * 6_000,
    "CLOSE": [_masked(1, b'["CLOSE","x"]')] * 2_000,
    "NEG-CLOSE": [_masked(1, b'["NEG-CLOSE","x"]')] * 2_000,
    "REQ": [_masked(1, b'["REQ","x",{"search":"x"}]')] * 1_000,
}


@pytest.mark.parametrize(
    ("frames", "config"),
    [
        pytest.param([_masked(9, b"")] * 30, "", id="few pings"),
        *(pytest.param(frames, "", id=name) for name, frames in FLOODS.items()),
        *(
            pytest.param(frames, "plain = true", id=f"plain {name}")
            for name, frames in FLOODS.items()
        ),
    ],
)
async def test_many_small_frames_hold_nobody_up(
    start: Start, frames: list[bytes], config: str
) -> None:
    """Five clients with 36 KB of the smallest each: another's REQ is answered before any is done.

    Ten connections that sent nothing but pings made a request take 9.5 s. And 190 with 63 pings
    each had all of them answered in one turn.
    """
    relay = start(config=config)
    async with AsyncExitStack() as stack:
        senders = [
            await stack.enter_async_context(Peer(relay.url, max_queue=None)) for _ in range(5)
        ]
        other = await stack.enter_async_context(Peer(relay.url, max_queue=None))
        words = await _heard_after(relay, senders, b"".join(frames), other)
    assert words == ["EOSE"] + ["EVENT"] * 5


CLIENT = "198.51.100.1"
HANDSHAKE = (  # as uvicorn's HTTP protocol hands it over
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"x-forwarded-for: " + CLIENT.encode() + b"\r\n\r\n"
)


class Noting(FairReads):
    """Notes for whom frames are counted, and who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def take(self, address: str, frames: int) -> None:
        """Count them."""
        self.noted.append(f"{address} takes {frames}")
        super().take(address, frames)

    def wait(self, address: str, reader: AnyReader) -> None:
        """Have it wait."""
        self.noted.append(f"{address} waits")
        super().wait(address, reader)


async def test_without_the_fast_path_a_turn_is_the_clients_not_the_proxys(tmp_path: Path) -> None:
    """What is read before the relay knows whose it is waits for that, whole and in order."""
    relay, fair_reads, socket = Relay(Config(data=tmp_path, plain=True)), Noting(), Socket()
    parts = replace(relay.parts, fair_reads=fair_reads)
    trusting = replace(relay.config, trusted_proxies=(ADDRESS,))
    admission = Admission(trusting, parts, relay.lists, relay.troubles)
    protocol = _protocol(relay.config)(configured(admission), ServerState(), {})
    protocol.connection_made(socket)
    protocol.data_received(HANDSHAKE)
    protocol.data_received(frame(b'["CLOSE","x"]') * 15)
    protocol.data_received(frame(b'["COUNT"]'))
    assert (protocol.queue.qsize(), socket.reads) == (1, False), "it has connected, and no more"
    for _ in range(50):
        await asyncio.sleep(0)
    assert fair_reads.noted == [f"{CLIENT} waits", f"{CLIENT} takes 37"]
    assert b"NOTICE" in socket.written
    assert socket.reads
    protocol.connection_lost(None)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*protocol.tasks)
