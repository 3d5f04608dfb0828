"""What clients may make a relay hold in memory; a real one, measured from outside."""

import asyncio
import json
import secrets
from contextlib import AsyncExitStack

from _wire import Peer, Start

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
    relay = start()
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
