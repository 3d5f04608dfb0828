"""Frames that are no messages: each gets its answer, and the connection goes on."""

import json
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from bunker_core.keys import SecretKey
from support.wire import Peer, RelayProcess, note

CUT_OFF = (1009, 1006)


async def _still_works(peer: Peer) -> bool:
    key = SecretKey.generate()
    return (await peer.publish(note(key, kind=20001)))[0]


@pytest.mark.parametrize(
    "text",
    [
        "not json", "", " ", "{}", "5", "null", '"x"', "true", "[", '["EVENT"',
        "[]", "[1]", "[null]", "[[]]", '["FOO"]', '["event",{}]', '["Req","s",{}]',
        '["EVENT"]', '["REQ"]', '["CLOSE"]', '["AUTH"]', '["AUTH","a string"]', '["COUNT"]',
        '["EVENT",{}]', '["EVENT",[]]', '["EVENT",null]', '["EVENT",{"id":"x"}]',
        '["REQ",5,{}]', '["REQ",null,{}]', '["REQ","",{}]', '["CLOSE",""]', '["CLOSE",5]',
        f'["REQ","{"x" * 65}",{{}}]', "[" * 100_000, '{"a":' * 50_000,
        '["EVENT",NaN]', '["EVENT",1e400]', f'["EVENT",{"9" * 400}]',
    ],
    ids=lambda text: repr(text[:24]),
)  # fmt: skip
async def test_what_names_nothing_gets_a_notice(peer: Peer, text: str) -> None:
    """What can't be read, and names no id, is answered by NOTICE `invalid:`."""
    message = await peer.answer(text)
    assert message[0] == "NOTICE"
    assert message[1].startswith("invalid:")
    assert len(message[1]) < 200
    assert await _still_works(peer)


@pytest.mark.parametrize(
    "text",
    ['["COUNT","x"]', '["REQ","x"]', '["REQ","x",[]]', '["REQ","x",null]', '["REQ","x","y"]'],
)
async def test_what_names_a_subscription_gets_closed(peer: Peer, text: str) -> None:
    """A REQ or COUNT that can't be read is answered by CLOSED with its id."""
    message = await peer.answer(text)
    assert message[:2] == ["CLOSED", "x"]
    assert message[2].startswith("invalid:")


@pytest.mark.parametrize("data", [b"\x00\xff", b'["REQ","s",{"limit":0}]', b""])
async def test_binary_frames_are_refused(peer: Peer, data: bytes) -> None:
    """A binary frame is no message, whatever is in it."""
    await peer.socket.send(data)
    with suppress(ConnectionClosed):
        assert (await peer.next())[0] == "NOTICE"
        assert await _still_works(peer)
        return
    assert peer.socket.close_code == 1003  # the other answer that RFC 6455 allows


async def test_a_message_over_the_limit_closes_with_1009(
    relay_url: str, limitation: dict[str, int]
) -> None:
    """The limit in the document is exact: a message of that size is read, one more byte is not."""
    size = limitation["max_message_length"]
    async with Peer(relay_url) as peer:
        message = await peer.answer('["FOO"]'.ljust(size))
        assert message[0] == "NOTICE"
        await peer.send_text('["FOO"]'.ljust(size + 1))
        assert await peer.close_code() in CUT_OFF


async def test_huge_messages_cost_no_memory(own: RelayProcess) -> None:
    """17 MiB in one frame is refused by its header; the relay's memory does not follow."""
    before = own.rss()
    for _ in range(5):
        async with Peer(own.url) as peer:
            with pytest.raises(ConnectionClosed):
                await peer.answer("x" * 17 * 2**20)
    assert own.rss() - before < 8 * 2**20


async def test_one_byte_fragments_are_one_message(peer: Peer) -> None:
    """A message may come in fragments of one byte; it is read when it is whole."""
    text = '["REQ","fragments",{"limit":0}]'
    await peer.socket.send(iter(text))
    assert (await peer.next())[:2] == ["EOSE", "fragments"]


async def test_endless_fragments_are_cut_off(relay_url: str, limitation: dict[str, int]) -> None:
    """Fragments that never end are closed with 1009 when they pass the limit."""
    async with Peer(relay_url) as peer:
        count = limitation["max_message_length"] // 10_000 + 2
        with suppress(ConnectionClosed):
            await peer.socket.send("x" * 10_000 for _ in range(count))
        assert await peer.close_code() in CUT_OFF


async def test_invalid_utf8_closes_with_1007(relay_url: str) -> None:
    """A text frame that is not UTF-8 is a protocol error (RFC 6455)."""
    async with Peer(relay_url) as peer:
        async with peer.socket.send_context():
            peer.socket.protocol.send_text(b'["REQ","\xff\xfe",{}]')
        assert await peer.close_code() == 1007


async def test_a_large_control_frame_closes_with_1002(relay_url: str) -> None:
    """A ping of more than 125 bytes is a protocol error (RFC 6455)."""
    async with Peer(relay_url) as peer:
        peer.socket.transport.write(b"\x89\xfe\x00\xc8" + bytes(4) + bytes(200))  # masked, 200
        assert await peer.close_code() == 1002


async def test_a_flood_of_pings_starves_nobody(peer: Peer, other: Peer) -> None:
    """5,000 pings of one client; another one is served meanwhile."""
    frame = b"\x89\x84" + bytes(4) + b"ping"
    peer.socket.transport.write(frame * 5_000)
    assert await _still_works(other)
    assert await _still_works(peer)


@pytest.mark.parametrize(
    "name", ['quote"', "back\\slash", "\n", "\x00", "\x1b[31m", "☂𝄞", "x" * 64, "', --", "{}"]
)
async def test_any_subscription_id_is_echoed_exactly(peer: Peer, name: str) -> None:
    """1 to 64 characters of any kind are an id; the echo is the same text."""
    await peer.send("REQ", name, {"limit": 0})
    assert (await peer.next())[:2] == ["EOSE", name]


async def test_a_lone_surrogate_in_a_subscription_id_is_refused(peer: Peer) -> None:
    """What has no UTF-8 can't be echoed: NOTICE."""
    message = await peer.answer('["REQ","\\ud800",{"limit":0}]')
    assert message[0] == "NOTICE"
    assert await _still_works(peer)


async def test_a_lone_surrogate_in_a_filter_is_refused(peer: Peer) -> None:
    """The id can be named, so it is CLOSED."""
    message = await peer.answer('["REQ","s",{"#t":["\\ud800"]}]')
    assert message[:2] == ["CLOSED", "s"]
    assert await _still_works(peer)


async def test_a_filter_with_numbers_out_of_range_is_closed(peer: Peer) -> None:
    """NaN and numbers beyond 64 bits are not integers of a filter."""
    for number in ("NaN", "Infinity", "1e400", "9" * 40):
        message = await peer.answer(f'["REQ","s",{{"since":{number}}}]')
        assert message[:2] == ["CLOSED", "s"]


async def test_deflate_is_not_negotiated(relay_url: str) -> None:
    """Compression is never agreed to: no deflate bombs."""
    async with Peer(relay_url, compression="deflate") as peer:
        assert peer.socket.protocol.extensions == []
        assert await _still_works(peer)


async def test_nothing_hostile_is_logged(own: RelayProcess) -> None:
    """Line breaks, escape sequences and texts of clients do not reach the log."""
    marker = "marker-of-a-hostile-client"
    async with Peer(own.url, user_agent_header=f"{marker}-agent") as peer:
        await peer.answer(f"{marker}\n\x1b[2J")
        await peer.send("REQ", f"{marker}\n", {"limit": 0})
        await peer.answer(json.dumps(["EVENT", {"id": "0" * 64, "content": marker}]))
        async with peer.socket.send_context():
            peer.socket.protocol.send_text(marker.encode() + b"\xff")
    assert marker not in own.log()
