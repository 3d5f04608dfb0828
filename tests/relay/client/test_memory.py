"""What clients may make a relay hold in memory; a real one, measured from outside."""

import asyncio
import json
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from bunker_core.event import Event
from bunker_core.keys import SecretKey
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import open_engine
from bunker_relay.store.store import FILE
from bunker_relay.store.write import save_all
from support.wire import Peer, Start, narrow_socket, note

_MIB = 1024 * 1024


async def _wide_queries(peer: Peer, queries: int) -> list[str]:
    """Ask for 3,800 pubkeys again and again, and return the words of the answers."""
    recipients = [secrets.token_hex(32) for _ in range(3_800)]
    filters = [
        {"kinds": [24133], "#p": half, "limit": 0}
        for half in (recipients[:1900], recipients[1900:])
    ]
    text = ",".join(map(json.dumps, filters))
    answers = []
    for number in range(queries):
        await peer.send_text(f'["REQ","{number}",{text}]')
        answers.append((await peer.next())[0])
    return answers


async def test_filters_take_a_bounded_share_of_memory(start: Start) -> None:
    """Four connections that ask for 912,000 pubkeys add less than 64 MiB, and give it back."""
    relay = start(forked=False)
    async with Peer(relay.url) as first:
        await _wide_queries(first, 2)  # what every relay loads once
    before = relay.rss()
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(Peer(relay.url)) for _ in range(4)]
        answers = await asyncio.gather(*(_wide_queries(peer, 60) for peer in peers))
        added = relay.rss() - before
        for words in answers:
            assert words[0] == "EOSE"
            assert words[-1] == "CLOSED"
        async with Peer(relay.url) as other:
            await other.send("REQ", "s", {"kinds": [24133], "#p": ["ab" * 32], "limit": 0})
            assert (await other.next())[0] == "EOSE", "a small filter still fits"
    assert added < 64 * _MIB
    async with Peer(relay.url) as last:
        assert await last.ids({"ids": ["ab" * 32]}) == []
    assert relay.rss() - before < 32 * _MIB


def _fill(data: Path, events: int, size: int) -> None:
    """Store notes of `size` bytes."""
    data.mkdir()
    engine = open_engine(data / FILE, writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
        for number in range(events):
            event = Event(f"{number:064x}", "a" * 64, number, 1, (), "x" * size, "d" * 128)
            save_all(connection, [event])
    engine.dispose()


async def test_clients_that_do_not_read_their_answers_cost_little(
    start: Start, tmp_path: Path
) -> None:
    """15 that ask for 60 MB and leave it add less than 128 MiB; who reads gets all of it."""
    _fill(tmp_path / "data", 300, 200_000)
    relay = start(forked=False, data=tmp_path / "data")
    async with Peer(relay.url) as first:
        assert len(await first.ids({"limit": 1})) == 1
    before = relay.rss()
    async with AsyncExitStack() as stack:
        for _ in range(15):
            peer = await stack.enter_async_context(Peer(relay.url, max_queue=1, close_timeout=0))
            await peer.send("REQ", "s", {"kinds": [1], "limit": 5000})
        async with Peer(relay.url) as reader:
            ids = await reader.ids({"kinds": [1], "limit": 5000})
        assert ids == [f"{number:064x}" for number in reversed(range(300))]
        assert relay.rss() - before < 128 * _MIB


async def test_subscribers_that_read_nothing_cost_little_together(start: Start) -> None:
    """60 of one address, past which 8 MB flow, add less than 128 MiB; it was 4 MiB for each."""
    relay = start(forked=False, config="rates.events_per_ip = {per_second = 9999, burst = 9999}")
    key = SecretKey.generate()
    async with AsyncExitStack() as stack:
        for _ in range(60):
            narrow = narrow_socket(relay.port)
            peer = await stack.enter_async_context(
                Peer(relay.url, sock=narrow, max_queue=1, close_timeout=0)
            )
            await peer.subscribe("s", {"kinds": [20_001], "limit": 0})
            peer.socket.transport.pause_reading()
        before = relay.rss()
        most = 0
        async with Peer(relay.url) as sender:
            for number in range(40):
                assert (await sender.publish(note(key, f"{number:05}" * 40_000, kind=20_001)))[0]
                most = max(most, relay.rss() - before)
        assert most < 128 * _MIB
