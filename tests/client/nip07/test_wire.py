"""Native messaging's frames."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_client.nip07.wire import MAX_BYTES, Decoder, encode
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


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=I", MAX_BYTES + 1),
        struct.pack("=I", 0xFFFFFFFF) + b"{}",
        struct.pack("=I", 3) + b"{]}",
        struct.pack("=I", 0),
        struct.pack("=I", 2) + b'"\xff'[:2],
    ],
)
def test_what_is_no_message_is_refused_before_it_is_read(data: bytes) -> None:
    """A length over the limit, and a body that is not JSON, are errors and cost nothing."""
    with pytest.raises(InvalidInput):
        list(Decoder().feed(data))


def test_a_result_that_a_browser_would_drop_is_not_sent() -> None:
    """Over a mebibyte a browser would end the host; encode says so instead."""
    assert len(encode("x" * (MAX_BYTES - 2))) == MAX_BYTES + 4
    with pytest.raises(InvalidInput):
        encode("x" * (MAX_BYTES - 1))
