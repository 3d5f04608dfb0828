"""Deletion requests with thousands of targets, over the wire: what they cost the others."""

import time

from _wire import Peer, Start, note
from bunker_core.keys import SecretKey


async def _beside(peer: Peer, other: Peer, kind: int, name: str) -> float:
    """Return how long a note takes, in seconds, beside 20 events of `kind` with 3,300 tags."""
    large = []
    for number in range(20):
        tags = tuple((name, f"{number * 10_000 + tag:064x}") for tag in range(3_300))
        large.append(note(SecretKey.generate(), kind=kind, tags=tags))
    for event in large:
        await peer.send("EVENT", event)
    began = time.monotonic()
    assert await other.publish(note(SecretKey.generate())) == (True, "")
    waited = time.monotonic() - began
    for event in large:
        assert await peer.ok(event.id) == (True, "")
    return waited


async def test_deletions_of_thousands_hold_up_nobody(start: Start) -> None:
    """A note waits no longer beside such requests than beside as many contact lists."""
    url = start().url
    async with Peer(url) as peer, Peer(url) as other:
        contacts = await _beside(peer, other, 3, "p")
        deletions = await _beside(peer, other, 5, "e")
    print(f"beside contact lists {contacts:.2f} s, beside deletions {deletions:.2f} s")
    assert deletions < 10 * contacts + 5.0, "a statement for each target took 46 s"
