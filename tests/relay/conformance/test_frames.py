"""RFC 6455 below the messages: the cases of the Autobahn suite that apply to text and control.

Raw bytes over a socket, on the fast path and on the ordinary way alike.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Sequence
from typing import Final, Self
from urllib.parse import urlsplit

import pytest

from support import wire

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN: Final = 0x80
MASK: Final = b"\x12\x9a\xfe\x01"

CLOSE_UNKNOWN: Final = '["CLOSE",""]'  # is answered with a NOTICE at once


def frame(payload: bytes, first: int = FIN | TEXT, mask: bytes | None = MASK) -> bytes:
    """Return one frame, masked unless told otherwise."""
    bit = 0x80 if mask is not None else 0
    if len(payload) < 126:
        head = bytes((first, bit | len(payload)))
    elif len(payload) < 65_536:
        head = bytes((first, bit | 126)) + len(payload).to_bytes(2)
    else:
        head = bytes((first, bit | 127)) + len(payload).to_bytes(8)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def _upgraded(
    url: str, fields: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Open a WebSocket with more `fields` in its request; return it and the head of the answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n{fields}\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer, head


class Raw:
    """A connection whose bytes the test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        reader, writer, _ = await _upgraded(url)
        return cls(reader, writer)

    async def send(self, *frames: bytes, chop: int = 0) -> None:
        """Send bytes, `chop` at a time if it is not 0."""
        data = b"".join(frames)
        for at in range(0, len(data), chop or len(data)):
            self.writer.write(data[at : at + (chop or len(data))])
            await self.writer.drain()
            if chop:
                await asyncio.sleep(0)

    async def read(self) -> tuple[int, bytes]:
        """Return the first byte and the payload of the next frame, the challenge of AUTH aside."""
        while True:
            first, payload = await self._read()
            if not payload.startswith(b'["AUTH",'):
                return first, payload

    async def _read(self) -> tuple[int, bytes]:
        async with asyncio.timeout(wire.PATIENCE):
            first, length = await self.reader.readexactly(2)
            assert length < 128, "a server does not mask"
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2))
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8))
            return first, await self.reader.readexactly(length)

    async def notice(self) -> bytes:
        """Return the text of the next frame, which has to be a NOTICE."""
        first, payload = await self.read()
        assert first == FIN | TEXT
        assert payload.startswith(b'["NOTICE",'), payload
        return payload

    async def closed(self) -> int:
        """Return the code that the relay closes with, and see that it hangs up then."""
        while True:
            first, payload = await self.read()
            if first == FIN | CLOSE:
                break
        async with asyncio.timeout(wire.PATIENCE):
            assert await self.reader.read() == b""
        return int.from_bytes(payload[:2]) if payload else 1005


@pytest.fixture
async def raw(relay_url: str) -> AsyncIterator[Raw]:
    raw = await Raw.open(relay_url)
    yield raw
    raw.writer.close()


def rubbish(length: int) -> bytes:
    """Return a text of `length` bytes that is answered with a NOTICE."""
    return b"x" * length


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 65_535, 65_536, 131_072])
@pytest.mark.parametrize("chop", [0, 997])
async def test_a_text_of_any_length_is_read(raw: Raw, length: int, chop: int) -> None:
    """Autobahn 1.1: every form of the length is understood, in one piece or in many."""
    await raw.send(frame(rubbish(length)), chop=chop)
    await raw.notice()


@pytest.mark.parametrize("chop", [1, 2, 3, 5, 7])
async def test_frames_may_come_in_any_pieces(raw: Raw, chop: int) -> None:
    """Frames are found wherever the network cuts them, with control frames in between."""
    await raw.send(
        frame(b"one"), frame(b"!", FIN | PING), frame(rubbish(130)), frame(b"three"), chop=chop
    )
    got = [await raw.read() for _ in range(4)]
    assert [first for first, _ in got].count(FIN | TEXT) == 3
    assert (FIN | PONG, b"!") in got


async def test_many_messages_in_one_read_are_answered_in_order(raw: Raw) -> None:
    """Every message of one segment is answered, first come first served."""
    ids = [f"{number:064x}" for number in range(50)]
    await raw.send(*(frame(f'["EVENT",{{"id":"{name}"}}]'.encode()) for name in ids))
    for name in ids:
        _, payload = await raw.read()
        assert payload.startswith(f'["OK","{name}",false'.encode())


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
async def test_a_ping_is_answered_with_its_payload(raw: Raw, payload: bytes) -> None:
    """Autobahn 2.1 to 2.4."""
    await raw.send(frame(payload, FIN | PING))
    assert await raw.read() == (FIN | PONG, payload)


async def test_a_ping_with_more_than_125_bytes_fails(raw: Raw) -> None:
    """Autobahn 2.5."""
    await raw.send(frame(bytes(126), FIN | PING))
    assert await raw.closed() == 1002


async def test_a_ping_may_come_in_pieces(raw: Raw) -> None:
    """Autobahn 2.6 and 2.11."""
    await raw.send(frame(bytes(125), FIN | PING), frame(b"x", FIN | PING), chop=1)
    assert await raw.read() == (FIN | PONG, bytes(125))
    assert await raw.read() == (FIN | PONG, b"x")


async def test_pings_in_a_row_are_answered_in_order(raw: Raw) -> None:
    """Autobahn 2.10."""
    await raw.send(*(frame(b"%d" % number, FIN | PING) for number in range(10)))
    assert [await raw.read() for _ in range(10)] == [(FIN | PONG, b"%d" % n) for n in range(10)]


async def test_an_unasked_pong_is_ignored(raw: Raw) -> None:
    """Autobahn 2.7 to 2.9."""
    await raw.send(frame(b"unasked", FIN | PONG), frame(b"x", FIN | PING))
    assert await raw.read() == (FIN | PONG, b"x")


@pytest.mark.parametrize("reserved", [0x40, 0x20, 0x10, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
async def test_a_reserved_bit_fails(raw: Raw, reserved: int, opcode: int) -> None:
    """Autobahn 3: no extension was agreed on."""
    await raw.send(frame(b"fine"))
    await raw.notice()
    await raw.send(frame(b"", FIN | reserved | opcode))
    assert await raw.closed() == 1002


@pytest.mark.parametrize("opcode", [0x3, 0x5, 0x7, 0xB, 0xD, 0xF])
async def test_a_reserved_opcode_fails(raw: Raw, opcode: int) -> None:
    """Autobahn 4."""
    await raw.send(frame(b"x", FIN | opcode))
    assert await raw.closed() == 1002


async def test_a_frame_without_a_mask_fails(raw: Raw) -> None:
    """RFC 6455, section 5.1: a server must close on an unmasked frame."""
    await raw.send(frame(b"x", mask=None))
    assert await raw.closed() == 1002


async def test_an_all_zero_mask_is_a_mask(raw: Raw) -> None:
    """Any four bytes will do."""
    await raw.send(frame(b"x", mask=bytes(4)))
    await raw.notice()


@pytest.mark.parametrize("cuts", [(5,), (1, 2, 3), (0, 0, 9)])
@pytest.mark.parametrize("chop", [0, 1])
async def test_a_fragmented_message_is_put_together(
    raw: Raw, cuts: Sequence[int], chop: int
) -> None:
    """Autobahn 5.3 to 5.8: also with a ping between fragments, and whole messages after it."""
    name = "a" * 64
    text = f'["EVENT",{{"id":"{name}"}}]'.encode()
    pieces = [text[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    frames = [frame(pieces[0], TEXT)]
    for piece in pieces[1:-1]:
        frames += [frame(b"?", FIN | PING), frame(piece, CONTINUATION)]
    frames += [frame(b"!", FIN | PING), frame(pieces[-1], FIN | CONTINUATION), frame(b"next")]
    await raw.send(*frames, chop=chop)
    seen: list[bytes] = []
    while len(seen) < 2:
        first, payload = await raw.read()
        if first == FIN | TEXT:
            seen.append(payload)
    assert seen[0].startswith(f'["OK","{name}",false'.encode())
    assert seen[1].startswith(b'["NOTICE"')


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_of_very_many_fragments_is_put_together(raw: Raw, opcode: int) -> None:
    """Autobahn 5.6, 9.3 to 9.6 and 10.1: one byte each, then a whole message as ever."""
    middle = frame(b"x", CONTINUATION) * 2_000
    await raw.send(frame(b"x", opcode), middle, frame(b"x", FIN | CONTINUATION))
    assert (b"binary" in await raw.notice()) == (opcode == BINARY)
    await raw.send(frame(b"x"))
    await raw.notice()


@pytest.mark.parametrize("length", [0, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("chop", [0, 997])
async def test_a_binary_of_any_length_is_refused(raw: Raw, length: int, chop: int) -> None:
    """Autobahn 1.2: found in the stream by its length, whatever is in it."""
    await raw.send(frame(b"\x81\xff" * (length // 2), FIN | BINARY), frame(b"x"), chop=chop)
    assert b"binary" in await raw.notice()
    assert b"binary" not in await raw.notice()


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY])
async def test_a_length_of_64_bits_that_is_negative_fails(raw: Raw, first: int) -> None:
    """RFC 6455, section 5.2: the most significant bit must be 0; nobody waits for the payload."""
    await raw.send(bytes((first, 0xFF)) + b"\x80" + bytes(7) + MASK)
    assert await raw.closed() in {1002, 1009}


@pytest.mark.parametrize("frames", [[frame(b"cut off")[:-1]], [frame(b"x", TEXT)], [b"\x81"]])
async def test_an_end_within_a_message_harms_nobody(
    raw: Raw, relay_url: str, frames: list[bytes]
) -> None:
    """The client goes in the middle of a frame or of a message: the relay serves the next one."""
    await raw.send(*frames)
    raw.writer.close()
    other = await Raw.open(relay_url)
    await other.send(frame(b"x"))
    await other.notice()
    other.writer.close()


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(b"x", FIN | CONTINUATION)], id="5.9 continues nothing"),
        pytest.param([frame(b"x", CONTINUATION)], id="5.12 continues nothing, unfinished"),
        pytest.param([frame(b"x", TEXT), frame(b"y")], id="5.18 a text within a message"),
        pytest.param([frame(b"x", TEXT), frame(b"y", FIN | BINARY)], id="binary within a message"),
        pytest.param([frame(b"x", PING)], id="5.1 a fragmented ping"),
        pytest.param([frame(b"x", PONG)], id="5.2 a fragmented pong"),
        pytest.param([frame(b"x", CLOSE)], id="a fragmented close"),
    ],
)
async def test_fragments_out_of_order_fail(raw: Raw, frames: list[bytes]) -> None:
    """Autobahn 5: a protocol error, also when the frame alone would be read the fast way."""
    await raw.send(*frames)
    assert await raw.closed() == 1002


@pytest.mark.parametrize(
    "text",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # 6.3, a surrogate
        b"\xf4\x90\x80\x80",  # 6.4, beyond U+10FFFF
        b"\xc0\xaf",  # an overlong form
        b"\xfe",
        b'["EVENT",{"content":"\xff"}]',
        b'["CLOSE","x"]\xff',  # after what is valid
        b'["CLOSE","x",{"\xff":0}]',  # in what nobody looks at
        b'["CLOSE","\xed\xa0\x80"]',
        b'["CLOSE","\xf0\x9f\x92"]',  # cut off
    ],
)
@pytest.mark.parametrize("cut", [False, True])
async def test_invalid_utf_8_fails(raw: Raw, text: bytes, cut: bool) -> None:
    """Autobahn 6: 1007, in one frame or in two."""
    frames = [frame(text[:1], TEXT), frame(text[1:], FIN | CONTINUATION)] if cut else [frame(text)]
    await raw.send(frame(b"fine"))
    await raw.notice()
    await raw.send(*frames)
    assert await raw.closed() == 1007


@pytest.mark.parametrize(
    "code",
    [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFE, 0x10FFFF],
)
async def test_the_edges_of_utf_8_are_read(raw: Raw, code: int) -> None:
    """Autobahn 6.5 to 6.23: the first and last of each length, and what is no character at all."""
    await raw.send(frame(f'["{chr(code)}"]'.encode()))
    assert b"unknown message type" in await raw.notice()


async def test_a_character_may_be_cut_between_fragments(raw: Raw) -> None:
    """Autobahn 6.2: only the whole message has to be UTF-8."""
    text = '["κόσμε"]'.encode()
    for at in range(1, len(text)):
        await raw.send(frame(text[:at], TEXT), frame(text[at:], FIN | CONTINUATION))
        await raw.notice()


async def test_close_is_answered_with_its_code(raw: Raw) -> None:
    """Autobahn 7.1: the closing handshake."""
    await raw.send(frame((1000).to_bytes(2) + b"bye", FIN | CLOSE))
    assert await raw.closed() == 1000


@pytest.mark.parametrize("reason", [b"", b"x", b"x" * 123])
async def test_close_may_give_a_reason_or_nothing_at_all(raw: Raw, reason: bytes) -> None:
    """Autobahn 7.3.1 to 7.3.5, and 7.1.6: after a large message, which is answered first."""
    await raw.send(frame(rubbish(70_000)))
    await raw.notice()
    await raw.send(frame((1000).to_bytes(2) + reason if reason else b"", FIN | CLOSE))
    assert await raw.closed() == (1000 if reason else 1005)


async def test_close_with_a_reason_that_is_too_long_fails(raw: Raw) -> None:
    """Autobahn 7.3.6: a control frame has 125 bytes at most."""
    await raw.send(frame((1000).to_bytes(2) + b"x" * 124, FIN | CLOSE))
    assert await raw.closed() == 1002


async def test_a_second_close_is_not_answered(raw: Raw) -> None:
    """Autobahn 7.1.2."""
    await raw.send(frame((1000).to_bytes(2), FIN | CLOSE), frame((1001).to_bytes(2), FIN | CLOSE))
    assert await raw.closed() == 1000


async def test_no_extension_is_agreed_on(relay_url: str) -> None:
    """Autobahn 12 and 13: compression that a client offers is not accepted."""
    offered = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    _, writer, head = await _upgraded(relay_url, offered)
    assert b"extensions" not in head.lower()
    writer.close()


async def test_nothing_is_read_after_a_close(raw: Raw) -> None:
    """Autobahn 7.1.3 to 7.1.5: a text or a ping after it is not answered."""
    await raw.send(
        frame((1000).to_bytes(2), FIN | CLOSE), frame(b"text"), frame(b"ping", FIN | PING)
    )
    first, payload = await raw.read()
    assert (first, payload) == (FIN | CLOSE, (1000).to_bytes(2))
    async with asyncio.timeout(wire.PATIENCE):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await raw.read()


@pytest.mark.parametrize(
    "payload",
    [b"\x03", *(code.to_bytes(2) for code in (0, 999, 1004, 1005, 1006, 1016, 2999, 5000))],
)
async def test_a_wrong_close_code_fails(raw: Raw, payload: bytes) -> None:
    """Autobahn 7.3.2 and 7.9."""
    await raw.send(frame(payload, FIN | CLOSE))
    assert await raw.closed() == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
async def test_a_right_close_code_is_echoed(raw: Raw, code: int) -> None:
    """Autobahn 7.7."""
    await raw.send(frame(code.to_bytes(2), FIN | CLOSE))
    assert await raw.closed() == code


async def test_a_close_with_a_reason_that_is_no_utf_8_fails(raw: Raw) -> None:
    """Autobahn 7.5.1."""
    await raw.send(frame((1000).to_bytes(2) + b"\xff\xfe", FIN | CLOSE))
    assert await raw.closed() == 1007


async def test_a_message_over_the_limit_fails_at_its_header(
    raw: Raw, limitation: dict[str, int]
) -> None:
    """1009 before the payload is read, so that nobody can make the relay hold it."""
    most = limitation["max_message_length"]
    await raw.send(frame(bytes(most + 1))[:14])
    assert await raw.closed() == 1009


async def test_a_fragmented_message_over_the_limit_fails(
    raw: Raw, limitation: dict[str, int]
) -> None:
    """1009 also for pieces that are small each."""
    half = rubbish(limitation["max_message_length"] // 2)
    await raw.send(frame(half, TEXT), frame(half, CONTINUATION), frame(b"xyz", CONTINUATION))
    assert await raw.closed() == 1009


async def test_a_message_of_the_limit_is_read(raw: Raw, limitation: dict[str, int]) -> None:
    """The limit itself is allowed."""
    await raw.send(frame(rubbish(limitation["max_message_length"])))
    await raw.notice()


async def test_binary_is_refused_and_the_connection_lives(raw: Raw) -> None:
    """Nostr has no binary messages: NOTICE, and on."""
    await raw.send(frame(b"\x00\xff", FIN | BINARY), frame(CLOSE_UNKNOWN.encode()))
    assert b"binary" in await raw.notice()
    await raw.notice()
