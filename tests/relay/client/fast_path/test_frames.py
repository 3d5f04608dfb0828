"""The fast path: every message of a socket once, whole and in order, however it is cut."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from bunker_relay.client.cork import Corks
from bunker_relay.client.fair_reads import LARGE_READ, MANY, FairReads
from bunker_relay.client.fast_path import EXTENSION, LARGE, FastPathProtocol
from bunker_relay.client.fast_path.frames import FRAMES, Text
from bunker_relay.client.outbox import Unread
from bunker_relay.config import Log
from bunker_relay.event.limits import Budget
from bunker_relay.logs import log
from relay.support.socket import ADDRESS, Socket, configured, frame

MOST = 1_048_576  # bytes of a message
BINARY, PING = 2, 9
PONG = b"\x8a\x00"


class Attached:
    """A connection whose handshake is done, and what it hands over."""

    def __init__(self, fair_reads: FairReads | None = None, room: int = 2 * MOST) -> None:
        """`room` is the bytes that large messages may take."""
        self.taken: list[Text | None] = []
        self.on_message: Callable[[Text | None], None] = self.taken.append
        self.ends = 0
        self.room = room
        self.socket = Socket()
        self.fair_reads = fair_reads or FairReads()
        config = configured(_no_app, ws_max_size=MOST)
        self.protocol = FastPathProtocol(config, ServerState(), {})
        self.protocol.adopt(self.socket, None, (ADDRESS, 5))
        unread = Unread(Budget(MOST, MOST), ADDRESS)
        self.cork = self.protocol.open_cork(Corks(), MOST, self.protocol.abort, unread)

    def attach(self) -> "Attached":
        self.protocol.attach(self._take, self._end, self._large, self.fair_reads, ADDRESS)
        return self

    def reads(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.protocol.data_received(piece)

    def _take(self, text: Text | None) -> None:
        self.on_message(text)

    def _end(self) -> None:
        self.ends += 1

    def _large(self, size: int) -> bool:
        if size > self.room:
            return False
        self.room -= size
        return True


async def _no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("nothing is left to the application")


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """Return `data` in pieces."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Return what the log says."""
    log.configure(Log())
    yield lambda: capsys.readouterr().err
    log.configure(Log())  # its logger has the standard error of this test


async def turn() -> None:
    """Let the loop come to all that waits for its turn."""
    for _ in range(200):
        await asyncio.sleep(0)


SIZES = (0, 1, 125, 126, 127, 300, 65_535, 65_536)
MESSAGES = [bytes([97 + at]) * size for at, size in enumerate(SIZES)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4_096, 10**6])
async def test_messages_arrive_as_they_were_sent(size: int) -> None:
    """Of every length that a header writes in its own way, however the network cuts them."""
    one = Attached().attach()
    for piece in cut(b"".join(map(frame, MESSAGES)), size):
        one.reads(piece)
    await turn()
    assert one.taken == MESSAGES
    assert (one.socket.reads, one.socket.ended, one.room) == (True, "", 2 * MOST)


@pytest.mark.parametrize("size", [1, 2, 5, 11, 10**6])
async def test_what_is_no_whole_text_keeps_its_place(size: int) -> None:
    """Fragments, pings between them and binary messages go by the stock parser, in order."""
    one = Attached().attach()
    stream = [
        frame(b"first"),
        frame(b"in ", whole=False),
        frame(b"", PING),
        frame(b"three ", 0, whole=False),
        frame(b"pieces", 0),
        frame(b"second"),
        frame(b"\x00", BINARY),
        frame(b"", PING),
        frame(b"last"),
    ]
    for piece in cut(b"".join(stream), size):
        one.reads(piece)
    await turn()
    assert one.taken == [b"first", b"in three pieces", b"second", None, b"last"]
    assert one.socket.written == PONG * 2
    assert one.socket.reads
    assert one.protocol.frames == []


async def test_an_answer_leaves_before_the_pong_to_a_later_ping() -> None:
    """What is corked goes out first."""
    one = Attached().attach()
    one.on_message = lambda _: one.cork.put(b"answer")
    one.reads(frame(b"question") + frame(b"", PING))
    assert one.socket.written == b"\x81\x06answer" + PONG


@pytest.mark.parametrize(
    ("before", "taken"),
    [
        (frame(b"x") * (FRAMES - 1), FRAMES),
        (frame(b"x") * FRAMES, FRAMES),
        (frame(b"", PING) * 7, 1),
        (frame(b"", PING) * 8, 0),
    ],
)
async def test_a_turn_has_so_many_frames(before: bytes, taken: int) -> None:
    """Of a read that brings more the rest waits; a ping counts for nine."""
    one = Attached().attach()
    one.reads(before + frame(b"last"))
    assert len(one.taken) == taken
    waits = b"last" not in one.taken
    assert one.socket.reads is not waits
    one.reads(frame(b"later"))  # what the kernel had read already
    assert (b"later" in one.taken) is not waits
    await turn()
    assert one.taken[-2:] == [b"last", b"later"]
    assert one.socket.reads
    assert one.socket.written.count(PONG) == before.count(frame(b"", PING))


@pytest.mark.parametrize(("size", "waits"), [(LARGE_READ - 1, False), (LARGE_READ, True)])
async def test_after_a_large_read_it_is_another_ones_turn(size: int, waits: bool) -> None:
    """What it brought is taken; the next read has to wait."""
    one = Attached().attach()
    one.reads(frame(b"x" * (size - 8 if size < 65_536 else size - 14)).ljust(size, b"\x81"))
    assert len(one.taken) == 1
    assert one.socket.reads is not waits
    await turn()
    assert one.socket.reads


@pytest.mark.parametrize(("frames", "counted"), [(MANY - 1, {}), (MANY, {ADDRESS: MANY})])
async def test_many_frames_count_for_their_address(frames: int, counted: dict[str, int]) -> None:
    """Few are nobody's concern."""
    one = Attached().attach()
    one.reads(frame(b"x") * frames)
    assert one.fair_reads.taken == counted


async def test_an_address_that_has_had_its_share_waits() -> None:
    """Whichever of its connections took it; nothing is lost."""
    fair_reads = FairReads()
    one = Attached(fair_reads).attach()
    fair_reads.take(ADDRESS, 1_024)
    one.reads(frame(b"a") + frame(b"b")[:3], frame(b"b")[3:])
    assert one.taken == []
    assert not one.socket.reads
    await turn()
    assert one.taken == [b"a", b"b"]
    assert one.socket.reads


async def test_nothing_is_handed_over_while_the_relay_pauses() -> None:
    """Whatever came already waits in order, and a pause in the middle holds the rest."""
    one = Attached().attach()
    one.protocol.pause_reading()
    assert not one.socket.reads
    one.reads(frame(b"a") + frame(b"\x00", BINARY) + frame(b"b"), frame(b"c"))
    assert one.taken == []
    assert one.protocol.waiting

    def take(text: Text | None) -> None:
        one.taken.append(text)
        if text == b"b":
            one.protocol.pause_reading()

    one.on_message = take
    one.protocol.resume_reading()
    assert one.taken == [b"a", None, b"b"]
    assert one.protocol.waiting
    assert not one.socket.reads
    one.protocol.resume_reading()
    assert one.taken == [b"a", None, b"b", b"c"]
    assert not one.protocol.waiting
    assert one.socket.reads


async def test_a_pause_outlives_a_turn() -> None:
    """Its turn to read on does not end a pause, and the end of a pause is no turn."""
    one = Attached().attach()
    one.reads(frame(b"x") * (FRAMES + 1))
    one.protocol.pause_reading()
    await turn()
    assert (len(one.taken), one.socket.reads) == (FRAMES, False)
    one.protocol.resume_reading()
    assert (len(one.taken), one.socket.reads) == (FRAMES + 1, True)
    one.reads(frame(b"x") * (FRAMES + 1))
    one.protocol.pause_reading()
    one.protocol.resume_reading()
    assert (len(one.taken), one.socket.reads) == (2 * FRAMES + 1, False)
    await turn()
    assert (len(one.taken), one.socket.reads) == (2 * FRAMES + 2, True)


async def test_a_pause_in_its_turn_is_a_pause() -> None:
    """What comes after it waits, and nothing more is read."""
    one = Attached().attach()

    def take(text: Text | None) -> None:
        one.taken.append(text)
        if text == b"last":
            one.protocol.pause_reading()

    one.on_message = take
    one.reads(frame(b"x") * FRAMES + frame(b"last") + frame(b"late"))
    await turn()
    assert (one.taken[FRAMES:], one.socket.reads) == ([b"last"], False)
    one.protocol.resume_reading()
    assert (one.taken[FRAMES:], one.socket.reads) == ([b"last", b"late"], True)


async def test_a_read_of_many_turns_is_read_in_many() -> None:
    """The socket is not read before the last of them."""
    one = Attached().attach()
    one.reads(frame(b"x") * (2 * FRAMES + 1))
    await asyncio.sleep(0)
    assert (len(one.taken), one.socket.reads) == (2 * FRAMES, False)
    await turn()
    assert (len(one.taken), one.socket.reads) == (2 * FRAMES + 1, True)


@pytest.mark.parametrize("end", ["abort", "close"])
async def test_after_the_end_nothing_is_handed_over(end: str) -> None:
    """Not even what the same read brought, nor what waited for its turn."""
    one = Attached().attach()

    def take(text: Text | None) -> None:
        one.taken.append(text)
        if len(one.taken) == 2 and end == "abort":
            one.protocol.abort()

    one.on_message = take
    if end == "abort":
        one.reads(frame(b"x") * 3)
        assert len(one.taken) == 2
    else:
        one.reads(frame(b"x") * (FRAMES + 1))
        one.protocol.leave()
    taken = len(one.taken)
    await turn()
    one.protocol.connection_lost(None)
    await turn()
    assert len(one.taken) == taken
    assert one.ends > 0
    assert one.cork.closed
    assert not one.socket.reads or end == "abort"


@pytest.mark.parametrize("pieces", [1, 2])
async def test_what_is_not_utf_8_ends_with_1007(pieces: int) -> None:
    """In one frame or several; what was answered before is sent, and nothing after it is taken."""
    one = Attached().attach()

    def take(text: Text | None) -> None:
        assert isinstance(text, bytes)
        one.taken.append(text.decode())
        one.cork.put(b"ok")

    one.on_message = take
    bad = frame(b"\xff") if pieces == 1 else frame(b"\xff", whole=False) + frame(b"", 0)
    one.reads(frame(b"good") + bad + frame(b"late"))
    assert one.taken == ["good"]
    assert one.socket.written == b"\x81\x02ok\x88\x02" + (1007).to_bytes(2)
    assert one.socket.ended == "closed"
    assert one.ends == 1
    one.reads(frame(b"later"))
    assert one.taken == ["good"]
    one.protocol.connection_lost(None)


async def test_what_waits_behind_what_is_not_utf_8_is_not_taken() -> None:
    """The connection has ended by then."""
    one = Attached().attach()
    one.protocol.pause_reading()
    one.reads(frame(b"\xff") + frame(b"late"))

    def take(text: Text | None) -> None:
        assert isinstance(text, bytes)
        one.taken.append(text.decode())

    one.on_message = take
    one.protocol.resume_reading()
    assert one.taken == []
    assert one.socket.ended == "closed"
    one.protocol.connection_lost(None)


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_defect_ends_its_own_connection(pieces: int, said: Callable[[], str]) -> None:
    """It is logged with its place, and not with what it was about."""
    one = Attached().attach()

    def take(_: Text | None) -> None:
        raise KeyError("what it was about")

    one.on_message = take
    one.reads(frame(b"x") if pieces == 1 else frame(b"x", whole=False) + frame(b"", 0))
    assert one.socket.ended == "aborted"
    told = said()
    assert "a message could not be handled" in told
    assert "KeyError" in told
    assert "what it was about" not in told


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x" * (MOST + 1)), 1009),
        (b"\x81\xff" + (2**56 + 1).to_bytes(8) + bytes(4) + b"x", 1009),
        (b"\x81\x01x", 1002),  # without a mask
        (b"\x81\x7e\x01\x00" + b"x" * 256, 1002),
        (frame(b"", 3), 1002),
        (frame(b"a", whole=False) + frame(b"b"), 1002),  # a text between fragments
    ],
    ids=["large", "larger", "no mask", "no mask, longer", "opcode", "text between fragments"],
)
async def test_what_breaks_the_protocol_is_closed(data: bytes, code: int) -> None:
    """With the code that the stock parser has for it; nothing of it is handed over."""
    one = Attached().attach()
    one.reads(data)
    assert one.taken == []
    assert one.socket.written[:1] == b"\x88"
    assert one.socket.written[2:4] == code.to_bytes(2)
    assert one.socket.ended == "closed"
    one.protocol.connection_lost(None)


async def test_the_largest_message_is_taken() -> None:
    """Its bound is a bound, and not one less."""
    one = Attached().attach()
    one.reads(*cut(frame(b"x" * MOST), LARGE))
    await turn()
    assert one.taken == [b"x" * MOST]


def _beginning(size: int, *, fragments: bool) -> bytes:
    """Return a message of `size` bytes without its last one."""
    if not fragments:
        return frame(b"x" * size)[:-1]
    return frame(b"x" * 1_000, whole=False) + frame(b"x" * (size - 1_000), 0)[:-1]


@pytest.mark.parametrize("fragments", [False, True])
async def test_half_a_large_message_takes_from_the_room(fragments: bool) -> None:
    """As much as the largest could be, until it is whole, or its connection has gone."""
    large = LARGE + 1
    one = Attached().attach()
    one.reads(_beginning(LARGE if not fragments else LARGE - 100, fragments=fragments))
    assert one.room == 2 * MOST
    one.reads(frame(b"x")[-1:])
    assert (len(one.taken), one.room) == (1, 2 * MOST)
    await turn()
    one.reads(_beginning(large, fragments=fragments))
    await turn()
    assert one.room == MOST
    one.reads(frame(b"x")[-1:] + frame(b"next"))
    await turn()
    assert (len(one.taken), one.taken[-1], one.room) == (3, b"next", 2 * MOST)
    one.reads(_beginning(large, fragments=fragments))
    await turn()
    assert one.room == MOST
    one.protocol.connection_lost(None)
    assert one.room == 2 * MOST


@pytest.mark.parametrize("fragments", [False, True])
async def test_without_room_a_large_message_ends_with_1013(fragments: bool) -> None:
    """Try again later; and nothing is kept of it."""
    one = Attached(room=MOST - 1).attach()
    one.reads(frame(b"good") + _beginning(LARGE + 1, fragments=fragments))
    await turn()
    assert one.taken == [b"good"]
    assert one.socket.written == b"\x88\x02" + (1013).to_bytes(2)
    assert one.socket.ended == "closed"
    assert one.room == MOST - 1
    assert one.protocol._ours is None
    one.protocol.connection_lost(None)
    assert one.room == MOST - 1


@pytest.mark.parametrize("begun", [0, 1, 2, 5, 6, 9])
async def test_what_came_before_the_application_attached(begun: int) -> None:
    """It is handed over first; a frame that had begun comes whole, whatever it looks like."""
    one, inner = Attached(), frame(b"inner")
    second = frame(frame(inner)[6:])  # its payload, masked, is a frame
    assert inner in second
    one.reads(frame(b"first") + frame(b"\x00", BINARY) + second[:begun])
    one.attach()
    assert one.taken == ["first", None]
    one.reads(second[begun:] + frame(b"third"))
    await turn()
    assert one.taken[2:] == [frame(inner)[6:], b"third"]
    assert (one.socket.reads, one.ends) == (True, 0)


async def test_a_fragment_that_came_before_keeps_its_others() -> None:
    """The message is whole when they have come."""
    one = Attached()
    one.reads(frame(b"first ", whole=False))
    one.attach()
    one.reads(frame(b"and last", 0) + frame(b"next"))
    await turn()
    assert one.taken == [b"first and last", b"next"]


async def test_who_has_gone_before_the_application_attached() -> None:
    """What they sent is handed over, and then their end."""
    one = Attached()
    one.reads(frame(b"first") + frame((1000).to_bytes(2), 8))
    one.attach()
    assert one.taken == ["first"]
    assert one.ends == 1


async def test_a_close_ends_it() -> None:
    """The close is answered, and what comes after it is nobody's concern."""
    one = Attached().attach()
    one.reads(frame(b"a") + frame((1000).to_bytes(2), 8) + frame(b"b"))
    assert one.taken == [b"a"]
    assert one.socket.written == b"\x88\x02" + (1000).to_bytes(2)
    assert (one.socket.ended, one.ends) == ("closed", 1)
    one.protocol.connection_lost(None)


async def test_after_our_close_only_the_clients_is_of_interest() -> None:
    """Nothing that comes before it is taken, and it ends the connection at once."""
    one = Attached().attach()
    await one.protocol.send({"type": "websocket.close", "code": 1008, "reason": "enough"})
    assert one.ends == 1
    one.reads(frame(b"late") + frame(b"la", whole=False), frame(b"te", 0))
    await turn()
    assert (one.taken, one.socket.ended) == ([], "")
    one.reads(frame((1008).to_bytes(2), 8))
    await turn()
    assert one.socket.ended == "closed"
    one.protocol.connection_lost(None)


@pytest.mark.parametrize("way", ["leave", "shutdown"])
async def test_what_is_corked_is_sent_before_the_end(way: str) -> None:
    """Whether the relay leaves without a word, or the server shuts down."""
    one = Attached().attach()
    one.cork.put(b"last")
    getattr(one.protocol, way)()
    assert one.socket.written.startswith(b"\x81\x04last")
    assert one.socket.ended == "closed"
    one.protocol.connection_lost(None)


async def test_a_client_that_reads_again_wakes_what_waits_for_it() -> None:
    """The cork looks again when the transport has room."""
    one = Attached().attach()
    looks = 0

    def wake() -> None:
        nonlocal looks
        looks += 1

    one.protocol._cork = type("Woken", (), {"wake": staticmethod(wake)})()
    one.protocol.pause_writing()
    one.protocol.resume_writing()
    assert looks == 1
    assert one.protocol.writable.is_set()


async def test_a_client_that_is_taken_over_is_pinged() -> None:
    """As after any other handshake, and until it has gone."""
    config = uvicorn.Config(_no_app, interface="asgi3", ws_ping_interval=20, log_config=None)
    state = ServerState()
    protocol = FastPathProtocol(config, state, {})
    protocol.adopt(Socket(), None, (ADDRESS, 5))
    assert protocol.ping_timer is not None
    assert state.connections == {protocol}
    protocol.attach(lambda _: None, lambda: None, lambda _: True, FairReads(), ADDRESS)
    protocol.connection_lost(None)
    assert protocol.ping_timer is None
    assert not state.connections


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("does", ["attaches", "serves", "refuses", "fails", "fails late"])
async def test_what_an_application_does_with_a_handshake(
    does: str, said: Callable[[], str]
) -> None:
    """Who attaches may return, and the connection stays; else it ends with the application."""
    taken: list[Text | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if does == "fails":
            raise KeyError("what it was about")
        if does == "refuses":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        if does in ("attaches", "fails late"):
            fast_path = scope["extensions"][EXTENSION]
            fast_path.attach(taken.append, lambda: None, lambda _: True, FairReads(), ADDRESS)
        else:
            taken.append((await receive())["text"])
        if does == "fails late":
            raise KeyError("what it was about")

    config = configured(app)
    state = ServerState()
    protocol, socket = FastPathProtocol(config, state, {}), Socket()
    protocol.connection_made(socket)
    protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0)
    if does in ("attaches", "serves"):
        protocol.data_received(frame(b"x"))
    await asyncio.gather(*state.tasks)
    status = {"refuses": b"403", "fails": b"500"}.get(does, b"101")
    assert socket.written.startswith(b"HTTP/1.1 " + status)
    assert taken == {"attaches": [b"x"], "serves": ["x"]}.get(does, [])
    assert socket.ended == ("" if does == "attaches" else "closed")
    assert (protocol.scope is None) is (does == "attaches")
    told = said()
    assert ("a connection could not be served" in told) is does.startswith("fails")
    assert "what it was about" not in told
    protocol.connection_lost(None)
