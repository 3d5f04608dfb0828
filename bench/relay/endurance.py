"""Measures 5 to 9: idle clients, the store, a restart, clients that do not read, growth."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from bench.load.traffic import Traffic, addressed_to, subscribe
from bench.load.websocket import Socket
from bench.machine import usage
from bench.meter import Sample, metered
from bench.relay import relays
from bench.relay.crowd import Gate, close, connect, subscribed
from bench.relay.relays import Recipe, Target, running
from bench.relay.throughput import Pair, ingest, latency, pairs
from bench.stats import percentile
from bunker_core.event import Event

_WARM_UP: Final = 50  # connections
_QUERIES: Final = 15  # of each filter
_BULK: Final = 30_000  # characters


async def idle(target: Target, traffic: Traffic, count: int) -> list[Sample]:
    """Connect and subscribe clients that then do nothing: KiB for each, connections a second."""
    names = [f"{number:064x}" for number in range(count + _WARM_UP)]
    first = await connect(target, _WARM_UP)
    await subscribed(first, [addressed_to([name]) for name in names[:_WARM_UP]])
    await asyncio.sleep(0.3)
    before = usage(target.pid).rss
    with metered(target) as reading:
        start = time.perf_counter()
        rest = await connect(target, count)
        seconds = time.perf_counter() - start
    await subscribed(rest, [addressed_to([name]) for name in names[_WARM_UP:]])
    await asyncio.sleep(0.5)
    each = (usage(target.pid).rss - before) / count / 1024
    close([*first, *rest])
    await asyncio.sleep(0.5)
    return [
        reading.sample("idle.memory", target, each, "KiB/connection"),
        reading.sample("idle.connect", target, count / seconds, "connections/s"),
    ]


async def storm(recipe: Recipe, core: int, count: int) -> Sample:
    """Restart the relay under its clients: seconds from its first handshake until all are back."""
    port = relays.free_port()
    async with running(recipe, core, port=port) as target:
        sockets = await connect(target, count)
        await subscribed(sockets, [addressed_to([f"{n:064x}"]) for n in range(count)])
    gate = Gate(count)

    async def come_back(number: int) -> None:
        while True:
            try:
                item = await Socket.open("127.0.0.1", port)
            except (OSError, TimeoutError):
                await asyncio.sleep(0.1)
            else:
                break
        back.append(item)
        item.on_text = lambda text: gate.open() if text.startswith(b'["EOSE"') else None
        item.write(subscribe("s", addressed_to([f"{number:064x}"])))

    back: list[Socket] = []
    tasks = [asyncio.create_task(come_back(number)) for number in range(count)]
    async with running(recipe, core, port=port) as target:
        with metered(target) as reading:
            await gate.passed(60)
        await asyncio.gather(*tasks)
        close(back)
    return reading.sample("storm", target, reading.seconds, "s")


async def isolation(
    target: Target, traffic: Traffic, healthy: Sequence[Pair], stuck: Sequence[Pair]
) -> list[Sample]:
    """Measure latency while two more clients get 12 MB: once they read it, once they do not.

    That is more than kernel and relay hold for one client, so that the second ones are what no
    relay may let others wait for: full, and in the end dropped. 2 of 200 readers are 1 %.
    """
    samples = []
    for name, some, reads in (
        ("isolation.without", healthy, True),
        ("isolation.with", stuck, False),
    ):
        author, reader = traffic.keys(2)
        bulk = [traffic.bulk(author, reader.pubkey, _BULK).frame for _ in range(400)]
        (publisher,) = await connect(target, 1)
        others = await connect(target, 2)
        await subscribed(others, [addressed_to([reader.pubkey])] * len(others))
        if not reads:
            for item in others:
                item.transport.pause_reading()
        flood = asyncio.create_task(_publish(publisher, bulk))
        sample = await latency(target, some, 2.0, name=name)
        await flood
        close([publisher, *others])
        await asyncio.sleep(0.1)
        sample.value = percentile(sample.values, 99)
        samples.append(sample)
    return samples


async def _publish(publisher: Socket, frames: Sequence[bytes]) -> None:
    """Publish 200 a second, whatever comes back."""
    for frame in frames:
        publisher.write(frame)
        await asyncio.sleep(0.005)


async def growth(
    target: Target, sets: Sequence[Sequence[Pair]], counts: Sequence[int], seconds: float
) -> list[Sample]:
    """Measure pairs next to ever more subscriptions of others."""
    others = await connect(target, 100)
    samples = []
    there = 0
    for count, some in zip(counts, sets, strict=True):
        gate = Gate(count - there)
        for item in others:
            item.on_text = lambda text, gate=gate: (  # type: ignore[misc]
                gate.open() if text.startswith(b'["EOSE"') else None
            )
        for number in range(there, count):
            others[number % 100].write(subscribe(f"n{number}", addressed_to([f"{number:064x}"])))
        await gate.passed(60)
        there = count
        sample = await pairs(target, some, seconds)
        sample.measure = f"growth.{count}"
        samples.append(sample)
    close(others)
    return samples


async def stored_ingest(target: Target, notes: Sequence[bytes], seconds: float) -> Sample:
    """Publish events that are kept: OK after the commit."""
    return await ingest(target, notes, seconds, "stored.ingest")


def typical_filters(events: Sequence[Event]) -> dict[str, dict[str, object]]:
    """Return five filters that clients send, about events that are there."""
    middle = events[len(events) // 2]
    authors = sorted({event.pubkey for event in events[:200]})[:10]
    return {
        "by-id": {"ids": [middle.id]},
        "author": {"authors": [middle.pubkey], "kinds": [1], "limit": 20},
        "feed": {"authors": authors, "kinds": [1], "limit": 50},
        "mentions": {"#p": [middle.tags[0][1]], "kinds": [1], "limit": 20},
        "latest": {"kinds": [1], "limit": 100},
    }


async def queries(target: Target, filters: dict[str, dict[str, object]], size: int) -> list[Sample]:
    """Ask one after another: milliseconds from REQ to EOSE."""
    (item,) = await connect(target, 1)
    samples = []
    for name, wanted in filters.items():
        taken = []
        found = 0
        for number in range(_QUERIES):
            gate = Gate(1)

            def on_text(text: bytes, gate: Gate = gate) -> None:
                nonlocal found
                found += text.startswith(b'["EVENT"')
                if text.startswith((b'["EOSE"', b'["CLOSED"')):
                    gate.open()

            item.on_text = on_text
            begun = time.perf_counter()
            item.write(subscribe(f"{name}{number}", wanted))
            await gate.passed(30)
            taken.append((time.perf_counter() - begun) * 1e3)
        if not found:
            raise RuntimeError(f"{target.name}: {name} found nothing")
        sample = Sample(f"query.{name}.{size}", target.name, percentile(taken, 50), "ms")
        sample.values = tuple(taken)
        samples.append(sample)
    close([item])
    return samples


class Archive:
    """Events for the store, few of them signed: a database is filled without being asked to."""

    def __init__(self, traffic: Traffic, size: int) -> None:
        authors = traffic.keys(200)
        self.size = size
        self.signed = [
            traffic.event(authors[index % 200], 1, (("p", authors[index % 190].pubkey),))
            for index in range(1_000)
        ]

    def fill(self, folder: Path) -> None:
        """Write `size` events into the database of a relay of ours that has been opened once.

        All but a thousand are copies with an id of their own and an earlier date; whether their
        signatures hold, a query does not ask.
        """
        from bunker_relay.store.database.schema import tag_key

        database = sqlite3.connect(folder / "relay.sqlite3")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -400000")
        columns = [row[1] for row in database.execute("PRAGMA table_info(events)")]
        names = ("seq", "id", "pubkey", "created_at", "kind", "address", "expires_at", "json")
        if not set(columns) <= set(names):
            raise RuntimeError(f"the store has columns that the benchmark does not fill: {columns}")

        def rows(at: int) -> list[tuple[object, ...]]:
            block: list[tuple[object, ...]] = []
            for seq in range(at, min(at + 20_000, self.size)):
                event = self.signed[seq % 1_000]
                created_at = event.created_at - self.size + seq
                identifier = event.id if seq < 1_000 else f"{seq:064x}"
                fields = event.to_dict() | {"id": identifier, "created_at": created_at}
                block.append(
                    (
                        seq + 1, bytes.fromhex(identifier), bytes.fromhex(event.pubkey),
                        created_at, event.kind, None, None, orjson.dumps(fields),
                    )
                )  # fmt: skip
            return block

        tags = [tag_key("p", event.tags[0][1]) for event in self.signed]
        with database:
            for at in range(0, self.size, 20_000):
                block = rows(at)
                database.executemany(
                    f"INSERT INTO events ({','.join(names)}) VALUES (?,?,?,?,?,?,?,?)", block
                )
            database.execute("CREATE TEMP TABLE t (n INTEGER PRIMARY KEY, tag BLOB)")
            database.executemany("INSERT INTO t VALUES (?, ?)", enumerate(tags))
            database.execute(
                "INSERT INTO tags (tag, created_at, kind, event)"
                " SELECT t.tag, created_at, kind, seq FROM t JOIN events"
                " ON (seq - 1) % 1000 = t.n ORDER BY 1, 2, 3, 4"
            )
        database.close()
