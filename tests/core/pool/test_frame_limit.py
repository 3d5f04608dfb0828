"""pool/frame_limit.py: nothing larger than a relay takes is sent to it, and nothing twice."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bunker_core.errors import PoolError
from bunker_core.event import EventTemplate, VerifiedEvent, sign_event
from bunker_core.messages import Ok, serialize
from bunker_core.pool import RelayPool
from bunker_core.pool.document import fetch_json, fetch_max_message_length
from bunker_core.pool.frame_limit import ANYWHERE, FrameLimit
from bunker_core.pool.protocol import Answered, AskLimit, ClientProtocol, Effect, Send
from support.scripted import scripted_relay
from support.strategies import secret_key

NOW = 1_700_000_000
KIB = 1024
LONG = 10.0


def note(size: int) -> VerifiedEvent:
    """Return an event whose frame is a little larger than `size` bytes."""
    return sign_event(EventTemplate(20001, "x" * size, (), NOW), secret_key(1))


def sizes(effects: list[Effect]) -> list[int]:
    return [len(effect.text) for effect in effects if isinstance(effect, Send)]


def refusals(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Answered)]


def opened() -> ClientProtocol:
    protocol = ClientProtocol("wss://relay.example.com")
    protocol.opened()
    return protocol


def test_a_small_event_asks_nobody() -> None:
    """What every relay takes is sent at once, and no document is fetched for it."""
    assert len(sizes(opened().publish(note(ANYWHERE - 400)))) == 1


def test_a_large_event_waits_for_the_relays_word() -> None:
    """It is asked once; then what fits is sent and the rest refused with both figures."""
    protocol = opened()
    assert protocol.publish(note(100 * KIB)) == [AskLimit()]
    assert protocol.publish(note(200 * KIB)) == []
    effects = protocol.limit_told(128 * KIB)
    assert [100 * KIB < size <= 128 * KIB for size in sizes(effects)] == [True]
    (reason,) = refusals(effects)
    assert reason.startswith("invalid: too large for the relay, 205")
    assert reason.endswith(" of 131072 bytes")
    assert refusals(protocol.publish(note(200 * KIB))) == [reason]  # from now on at once


def test_the_limit_itself_still_goes() -> None:
    """A frame of exactly max_message_length is taken; one byte more is not sent."""
    event = note(64 * KIB)
    protocol = opened()
    protocol.publish(event)
    (size,) = sizes(protocol.limit_told(None))
    for limit, sent in ((size, 1), (size - 1, 0)):
        protocol = opened()
        protocol.publish(event)
        assert len(sizes(protocol.limit_told(limit))) == sent


def test_what_a_relay_closed_on_is_never_sent_again() -> None:
    """After a 1009 the largest is refused and all else is sent again."""
    protocol = opened()
    protocol.publish(note(300 * KIB))
    protocol.limit_told(None)
    small, large = note(1), note(40 * KIB)
    protocol.publish(small)
    protocol.publish(large)
    assert len(refusals(protocol.lost(too_large=True))) == 1
    assert protocol.publish(note(290 * KIB)) == [
        Answered(note(290 * KIB).id, False, refusals(protocol.publish(note(290 * KIB)))[0])
    ]
    again = protocol.opened()
    assert AskLimit() in again
    assert max(sizes([*again, *protocol.limit_told(None)])) < 64 * KIB


def test_a_forgotten_event_teaches_too() -> None:
    """Who published it has given up; that the relay closed on it is learned all the same."""
    protocol = opened()
    event = note(300 * KIB)
    protocol.publish(event)
    protocol.limit_told(None)
    protocol.forget(event.id)
    assert protocol.lost(too_large=True) == []
    assert refusals(protocol.publish(note(300 * KIB)))


def test_a_relay_that_says_nothing_is_narrowed_down_in_a_few_steps() -> None:
    """From 1 MiB down to what it takes in five lost connections, and never below what it took."""
    real, limit, lost = 50_000, FrameLimit(), 0
    limit.told(None)
    limit.took(40_000)
    for size in range(1_000_000, 30_000, -1):
        if limit.refusal(size) is None and size > real:
            lost += 1
            limit.closed_on(size)
    assert lost <= 6
    assert limit.refusal(40_000) is None


def test_a_connection_that_breaks_off_twice_counts_as_closed() -> None:
    """Once may be an accident; a relay that has named its limit is believed instead."""
    silent, told = FrameLimit(), FrameLimit()
    silent.told(None)
    told.told(512 * KIB)
    for limit in (silent, told):
        limit.lost_with(200 * KIB)
        assert limit.refusal(200 * KIB) is None
        limit.lost_with(200 * KIB)
    assert silent.refusal(200 * KIB) is not None
    assert told.refusal(200 * KIB) is None


def test_an_answered_event_is_not_blamed() -> None:
    """A relay that answered the large one closed for something else."""
    protocol = opened()
    event = note(100 * KIB)
    protocol.publish(event)
    protocol.limit_told(None)
    protocol.receive(serialize(Ok(event.id, True, "")), NOW)
    protocol.lost(too_large=True)
    protocol.opened()
    assert not refusals(protocol.publish(note(100 * KIB)))


class Limited:
    """A relay that closes by 1009, and tells its limit only if asked to."""

    def __init__(self, limit: int, document: str | None) -> None:
        self.limit, self.document = limit, document
        self.frames: list[int] = []
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> "Limited":
        self._server = await serve(
            self._serve, "127.0.0.1", 0, max_size=self.limit, process_request=self._information
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _information(self, peer: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        if self.document is None:
            return peer.respond(404, "none")
        return peer.respond(200, self.document)

    async def _serve(self, peer: ServerConnection) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionClosed):
            async for frame in peer:
                self.frames.append(len(frame))
                message: Any = json.loads(frame)
                await peer.send(json.dumps(["OK", message[1]["id"], True, ""]))


@pytest.mark.parametrize(
    ("document", "connections"),
    [('{"limitation":{"max_message_length":131072}}', 1), ("no JSON", 2), (None, 2)],
)
async def test_the_others_on_the_connection_live(document: str | None, connections: int) -> None:
    """One frame that is too large costs one connection at most, and no other event its delivery."""
    async with Limited(128 * KIB, document) as relay, RelayPool([relay.url]) as pool:
        await pool.connected(LONG)
        publications = [pool.publish(note(size)) for size in (10, 300 * KIB, 20)]
        for publication in publications:
            await publication.answered(LONG)
        receipts = [publication.receipts[relay.url] for publication in publications]
        assert [receipt.accepted for receipt in receipts] == [True, False, True]
        assert [receipt.too_large for receipt in receipts] == [False, True, False]
        again = pool.publish(note(30))
        assert (await again.answered(LONG))[relay.url].accepted
        assert relay.connections == connections
        assert max(relay.frames) < 128 * KIB


async def test_the_relay_that_can_take_it_gets_it() -> None:
    """Of two relays with different limits one is passed over and the other delivers."""
    small = '{"limitation":{"max_message_length":65536}}'
    large = '{"limitation":{"max_message_length":1048576}}'
    async with (
        Limited(64 * KIB, small) as one,
        Limited(1024 * KIB, large) as two,
        RelayPool([one.url, two.url]) as pool,
    ):
        publication = pool.publish(note(500 * KIB))
        receipt = await publication.delivered(LONG)
        assert receipt is not None
        assert receipt.relay_url == two.url
        await publication.answered(LONG)
        assert publication.receipts[one.url].too_large


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\nnot json",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 300_000,
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b'HTTP/1.1 200 OK\r\n\r\n{"limitation":{"max_message_length":-1}}',
        b'HTTP/1.1 200 OK\r\n\r\n{"limitation":[]}',
    ],
)
async def test_a_hostile_document_says_nothing(answer: bytes) -> None:
    """Whatever comes instead of a document, the relay counts as one that has none."""

    async def serve_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve_it, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await fetch_max_message_length(f"ws://127.0.0.1:{port}", LONG) is None


async def test_a_document_that_trickles_is_over_in_time() -> None:
    """The deadline is of the whole, not of a piece, and no thread is held meanwhile."""
    release = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{")
        await release.wait()
        writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PoolError, match="no answer within"):
            await fetch_json(f"http://127.0.0.1:{port}/", timeout=0.2)
        release.set()


async def test_a_scripted_relay_without_a_document_takes_what_it_takes() -> None:
    """A relay that answers the question with a refusal is sent the event."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        publication = pool.publish(note(200 * KIB))
        assert (await publication.answered(LONG))[relay.url].muted
