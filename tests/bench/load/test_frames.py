"""The load generator's own codec is RFC 6455's."""

import pytest
from bench.load.frames import (
    PING,
    TEXT,
    Decoder,
    HandshakeFailed,
    accept,
    check_response,
    encode,
    encode_unmasked,
    unmask,
)
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536)


def read(data: bytes, *, mask: bool) -> Frame:
    """Parse a frame with another implementation."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=mask)
    try:
        while True:
            next(parser)
    except StopIteration as end:
        frame: Frame = end.value
        return frame


@pytest.mark.parametrize("length", LENGTHS)
def test_what_a_client_sends_is_understood_by_websockets(length: int) -> None:
    """A masked frame of any length carries its payload."""
    payload = bytes(index % 251 for index in range(length))
    frame = read(encode(payload, b"\x01\x80\xff\x00"), mask=True)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, payload, True)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_a_server_sends_is_understood_by_websockets(length: int) -> None:
    """So does one without a mask."""
    frame = read(encode_unmasked(b"x" * length, PING if length < 126 else TEXT), mask=False)
    assert bytes(frame.data) == b"x" * length


@pytest.mark.parametrize("chop", [1, 2, 3, 100, 10**6])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_are_found_in_any_pieces(chop: int, masked: bool) -> None:
    """However the stream is cut, the same frames come out, in order."""
    sent = [(TEXT, b"a" * length) for length in (0, 5, 126, 70_000)] + [(PING, b"x")]
    stream = b"".join(
        encode(payload, b"abcd", first) if masked else encode_unmasked(payload, first)
        for first, payload in sent
    )
    decoder = Decoder()
    got = [
        frame
        for at in range(0, len(stream), chop)
        for frame in decoder.feed(stream[at : at + chop])
    ]
    assert got == sent


def test_unmasking_is_its_own_inverse() -> None:
    """Twice the same mask is none."""
    assert unmask(unmask(b"payload", b"\x9a\x00\xff\x10"), b"\x9a\x00\xff\x10") == b"payload"


def test_the_accept_header_is_the_one_of_the_rfc() -> None:
    """RFC 6455, section 1.3, has this example."""
    assert accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 429 Too Many Requests", b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: no"]
)
def test_a_server_that_does_not_agree_is_not_measured(head: bytes) -> None:
    """A refused handshake is an error, never a result."""
    with pytest.raises(HandshakeFailed):
        check_response(head, bytes(16))
