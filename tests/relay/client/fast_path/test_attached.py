"""A client by the fast path: the same service, and the same bounds, as any other."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uvicorn.server import ServerState

from bunker_relay.client.connection import Connection
from bunker_relay.client.fast_path import LARGE, FastPathProtocol
from bunker_relay.config import Config, Limits
from bunker_relay.event.limits import Budget
from bunker_relay.relay import Relay
from relay.support.clients import Disk, written
from relay.support.socket import ADDRESS, Socket, configured, frame
from support.wire import PATIENCE

MIB = 1_048_576


class Attached:
    """A client by the fast path, whose socket is read and written by hand."""

    def __init__(self, relay: Relay, **parts: Any) -> None:
        self.socket, self.gone = Socket(), 0
        self.protocol = FastPathProtocol(configured(_no_app, ws_max_size=MIB), ServerState(), {})
        self.protocol.adopt(self.socket, None, (ADDRESS, 5))
        receive: Any = self.protocol.receive
        send: Any = self.protocol.send
        self.connection = Connection(
            replace(relay.parts, **parts),
            ADDRESS,
            frozenset(),
            {},
            receive,
            send,
            self.protocol,
        )
        self.connection.attach(self.protocol, self._leave)

    def send(self, *messages: Any) -> None:
        """Have the relay read messages at once."""
        self.protocol.data_received(
            b"".join(frame(json.dumps(message).encode()) for message in messages)
        )

    async def said(self) -> list[Any]:
        """Return what the relay has said since."""
        for _ in range(20):
            await asyncio.sleep(0)
        data, self.socket.written = self.socket.written, b""
        said = []
        while data.startswith(b"\x81"):
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4]), 4
            said.append(json.loads(data[start : start + size]))
            data = data[start + size :]
        return [*said, data] if data else said

    def reads_again(self) -> None:
        """Take all that waits."""
        self.socket.waiting = 0
        self.protocol.resume_writing()

    def lose(self) -> None:
        """The socket is gone."""
        self.protocol.connection_lost(None)

    def _leave(self) -> None:
        self.gone += 1


async def _no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("nothing is left to the application")


async def test_a_client_by_the_fast_path(tmp_path: Path) -> None:
    """It is served as any other, and leaves nothing behind; that it has gone is said once."""
    relay = Relay(Config(data=tmp_path))
    one, event = Attached(relay), written(kind=20_000)
    assert relay.connections == {one.connection}
    one.send(["REQ", "s", {"kinds": [20_000]}], event)
    assert await one.said() == [
        ["EOSE", "s"],
        ["EVENT", "s", event[1]],
        ["OK", event[1]["id"], True, ""],
    ]
    assert relay.hub.subscriptions == 1
    one.protocol.data_received(frame((1000).to_bytes(2), 8))
    assert one.gone == 1
    one.lose()
    assert (one.gone, len(relay.connections), relay.hub.subscriptions) == (1, 0, 0)
    await relay.close()


async def test_the_fast_path_reads_no_further_than_its_client(tmp_path: Path) -> None:
    """Once half of what may wait is not taken; the rest of a read waits, too."""
    limits = Limits(max_message_bytes=1_024, max_signing_bytes=1_024, max_outbox_bytes=4_096)
    relay = Relay(Config(data=tmp_path, limits=limits))
    one = Attached(relay)
    one.socket.waiting = 2_049
    one.send(["REQ", "a", {"kinds": [20_000]}])
    assert await one.said() == [["EOSE", "a"]]
    assert one.socket.reads
    one.send(["CLOSE", "a"], ["REQ", "b", {"kinds": [20_000]}])
    assert await one.said() == []
    assert (one.socket.reads, relay.counters.messages) == (False, 2)
    one.reads_again()
    assert await one.said() == [["EOSE", "b"]]
    assert (one.socket.reads, relay.counters.slow_clients_closed) == (True, 0)
    one.lose()
    await relay.close()


@pytest.mark.parametrize("ends", [False, True])
async def test_the_fast_path_reads_no_more_than_may_wait_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """What was sent before the end of the connection is stored all the same."""
    relay = Relay(Config(data=tmp_path, limits=Limits(max_pending_saves=2)))
    disk, one = Disk(relay, monkeypatch), Attached(relay)
    events = [written() for _ in range(5)]
    one.send(*events)
    assert (len(disk.waiting), one.socket.reads) == (2, False)
    if ends:
        one.lose()
        assert (one.gone, len(relay.connections)) == (0, 1)
    said: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            said += await one.said()
            assert len(disk.waiting) == 2
            disk.commit()
            await disk.came(2)
    while disk.waiting:
        disk.commit()
    said += await one.said()
    assert said == ([] if ends else [["OK", event[1]["id"], True, ""] for event in events])
    assert relay.counters.messages == 5
    if not ends:
        assert one.socket.reads
        one.lose()
    assert (one.gone, len(relay.connections)) == (1, 0)
    await relay.close()


async def test_a_client_that_is_dropped_while_others_wait_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had sent and was not taken is nobody's concern any more."""
    relay = Relay(Config(data=tmp_path, limits=Limits(max_pending_saves=2)))
    disk, one = Disk(relay, monkeypatch), Attached(relay)
    one.send(*(written() for _ in range(4)))
    one.connection.drop()
    assert (one.socket.ended, one.gone, len(relay.connections)) == ("aborted", 1, 0)
    one.lose()
    for _ in range(2):
        disk.commit()
    assert await one.said() == []
    assert (relay.counters.messages, one.gone) == (2, 1)
    await relay.close()


async def test_large_messages_take_from_the_room_of_their_address(tmp_path: Path) -> None:
    """While they are not whole; without room the connection ends, and others go on."""
    relay = Relay(Config(data=tmp_path))
    room = Budget(2 * MIB, 9 * MIB)
    half = frame(b"x" * (LARGE + 1))[:-1]
    clients = [Attached(relay, large=room) for _ in range(3)]
    for one in clients:
        one.protocol.data_received(half)
        for _ in range(9):
            await asyncio.sleep(0)
    assert [one.socket.ended for one in clients] == ["", "", "closed"]
    assert room.used == 2 * MIB
    clients[0].protocol.data_received(b"x")
    assert room.used == MIB
    for one in clients:
        one.lose()
    assert (room.used, len(relay.connections)) == (0, 0)
    await relay.close()


async def test_what_is_not_utf_8_is_not_parsed(tmp_path: Path) -> None:
    """The connection is closed as RFC 6455 has it, and nobody is told more."""
    relay = Relay(Config(data=tmp_path))
    one = Attached(relay)
    one.protocol.data_received(frame(b'["\xff"]'))
    assert await one.said() == [b"\x88\x02" + (1007).to_bytes(2)]
    one.lose()
    assert relay.connections == set()
    await relay.close()


@pytest.mark.parametrize("how", ["leave", "offences", "overflow"])
async def test_how_the_relay_ends_a_client_of_the_fast_path(tmp_path: Path, how: str) -> None:
    """Without a word when it shuts down; with one for who breaks rules; at once when too slow."""
    limits = Limits(
        max_message_bytes=1_024, max_signing_bytes=1_024, max_outbox_bytes=4_096, max_offences=1
    )
    relay = Relay(Config(data=tmp_path, limits=limits))
    one, other = Attached(relay), Attached(relay)
    one.send(["REQ", "s", {"kinds": [20_000]}])
    assert await one.said() == [["EOSE", "s"]]
    match how:
        case "leave":
            ending = asyncio.create_task(one.connection.shut_down())
            assert await one.said() == []
            assert (one.socket.ended, ending.done()) == ("closed", False)
            one.lose()
            await ending
        case "offences":
            one.send(["NOTHING"], ["NOTHING"])
            first, second, closed = await one.said()
            assert (first[0], second[0]) == ("NOTICE", "NOTICE")
            assert closed == b"\x88\x1b" + (1008).to_bytes(2) + b"too many invalid messages"
            one.lose()
        case "overflow":
            one.socket.waiting = 4_097
            other.send(written(kind=20_000))
            assert [said[0] for said in await other.said()] == ["OK"]
            assert one.socket.ended == "aborted"
            assert relay.counters.slow_clients_closed == 1
            one.lose()
    assert (one.gone, relay.connections) == (1, {other.connection})
    other.lose()
    await relay.close()
