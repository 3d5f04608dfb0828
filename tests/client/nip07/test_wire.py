"""Native messaging's frames."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_client.nip07.wire import MAX_BYTES, Decoder, Unreadable, encode
from bunker_core.errors import InvalidInput

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4), st.integers(1, 9))
def test_messages_come_whole_however_they_are_cut(messages: list[object], size: int) -> None:
    """What is encoded comes back, in order, whatever pieces it arrives in."""
    data = b"".join(map(encode, messages))
    decoder = Decoder()
    found = [
        message
        for start in range(0, len(data), size)
        for message in decoder.feed(data[start : start + size])
    ]
    assert found == messages


def frame(body: bytes) -> bytes:
    return struct.pack("=I", len(body)) + body


GOOD = frame(b'{"type":"request","id":8}')


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (frame(b"{]}"), None),
        (frame(b""), None),
        (frame(b'"\xff'), None),
        (frame(b'{"type":"request","id":7,"params":["\\ud83d"]}'), 7),  # half an emoji
        (frame(b'{"type":"request","id":7,"params":["\xed\xa0\xbd"]}'), 7),  # in bytes
        (frame(b'{"type":"request","id":7,"params":["' + b"x" * MAX_BYTES + b'"]}'), 7),
        (frame(b'{"params":["' + b"x" * MAX_BYTES + b'"],"type":"request","id":7}'), None),
        (frame(b"x" * (MAX_BYTES + 1)), None),
    ],
)
def test_what_can_not_be_read_is_skipped(data: bytes, number: int | None) -> None:
    """One page's call; the next message is read, in whatever pieces both arrive."""
    for size in (len(data) + len(GOOD), 65_536):
        decoder, whole = Decoder(), data + GOOD
        found = [
            message
            for start in range(0, len(whole), size)
            for message in decoder.feed(whole[start : start + size])
        ]
        assert [type(item) for item in found] == [Unreadable, dict]
        assert found[0].id == number
        assert found[0].reason
        assert found[1]["id"] == 8


def test_a_message_without_end_is_not_gathered() -> None:
    """Of one that is too large only its beginning is held."""
    decoder = Decoder()
    found = list(decoder.feed(struct.pack("=I", 0xFFFFFFFF) + b"x" * 4096))
    for _ in range(100):
        found += decoder.feed(b"x" * 65_536)
    assert [type(item) for item in found] == [Unreadable]
    assert len(decoder._buffer) == 0


def test_a_result_that_a_browser_would_drop_is_not_sent() -> None:
    """Over a mebibyte a browser would end the host; encode says so instead."""
    assert len(encode("x" * (MAX_BYTES - 2))) == MAX_BYTES + 4
    with pytest.raises(InvalidInput):
        encode("x" * (MAX_BYTES - 1))
