"""Deletion requests with thousands of targets, over the wire: what they cost the others."""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psycopg

from bunker_core.keys import SecretKey
from bunker_relay.store.database.engine import Database
from support.wire import Peer, Start, note

_ROUNDS, _EVENTS, _TAGS = 5, 3, 3_300
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def _used(pid: int) -> float:
    """Return the processor time that a process has used, all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _servers(database: Database) -> set[int]:
    """Return the processes of PostgreSQL that work for a relay."""
    if isinstance(database, Path):
        return set()
    named = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bunker-relay'"
    with psycopg.connect(database) as connection:
        return {pid for (pid,) in connection.execute(named)}


async def _cost(
    peer: Peer, other: Peer, kind: int, name: str, first: int, clock: Callable[[], float]
) -> float:
    """Return what some events of `kind` with thousands of tags cost, in seconds of processor."""
    large = []
    for number in range(first, first + _EVENTS):
        tags = tuple((name, f"{number * 10_000 + tag:064x}") for tag in range(_TAGS))
        large.append(note(SecretKey.generate(), kind=kind, tags=tags))
    before = clock()
    for event in large:
        await peer.send("EVENT", event)
    assert await other.publish(note(SecretKey.generate())) == (True, "")
    for event in large:
        assert await peer.ok(event.id) == (True, "")
    return clock() - before


async def test_a_deletion_costs_little_more_than_a_contact_list(
    start: Start, database: Database, stored: str
) -> None:
    """At most 5 times one of as many tags, for relay and database together; it was 75 times."""
    rates = "{per_second = 9999, burst = 9999}"
    others = _servers(database)  # of relays that end just now
    relay = start(config=f"{stored}rates.events_per_ip = {rates}")
    async with Peer(relay.url) as peer, Peer(relay.url) as other:
        assert await peer.publish(note(SecretKey.generate())) == (True, "")
        processes = {relay.process.pid, *_servers(database)} - others

        def clock() -> float:
            return sum(map(_used, processes))

        contacts, deletions = [], []
        for number in range(0, 2 * _ROUNDS * _EVENTS, 2 * _EVENTS):
            contacts.append(await _cost(peer, other, 3, "p", number, clock))
            deletions.append(await _cost(peer, other, 5, "e", number + _EVENTS, clock))
    print(f"contact lists {median(contacts):.3f} s, deletions {median(deletions):.3f} s")
    assert median(deletions) <= 5 * median(contacts)
