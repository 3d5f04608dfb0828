"""Measure our relay next to others: python -m bench [--quick] [--relay-url NAME=URL]."""

import argparse
import asyncio
import gc
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop

from bench import report
from bench.load.traffic import Traffic, shot
from bench.machine import cores, describe, verifications_per_second
from bench.meter import Sample
from bench.relay import endurance, relays, throughput
from bench.relay.relays import Recipe, Target, running
from bench.relay.throughput import Prepared
from bench.signer import remote, signers

_HERE = Path(__file__).parent
# What comes after the rounds.
_PARTS = ("query", "idle", "isolation", "growth", "storm", "workers", "nip46", "signers")


class Bench:
    """One run of everything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.quick: bool = options.quick
        self.only: str = options.only
        self.rounds: int = options.rounds or (1 if self.quick else 5)
        self.seconds = 0.5 if self.quick else 1.0
        self.core, self.own_core = cores()
        self.samples: list[Sample] = []
        self.run = 0
        self.own = [relays.ours()] if self.quick else [relays.ours(), relays.plain()]
        self.peers: list[Recipe] = []
        if options.peers:
            self.peers.append(relays.local_relay(options.peers))
            if not self.quick:
                self.peers.append(relays.nostr_relay(options.peers))
        for item in options.relay_url:
            name, _, url = item.partition("=")
            self.peers.append(Recipe(name, url=url))
        traffic = Traffic(int(time.time()))
        events = int(30_000 * self.seconds)
        self.prepared = Prepared(traffic, events=events, rounds=int(160 * self.seconds))
        gc.freeze()  # or each collection here, and in nip46's client, would look at all that

    async def everything(self) -> None:
        """Measure 1 to 9."""
        os.sched_setaffinity(0, {self.own_core})
        for run in range(self.rounds if self.only not in _PARTS else 0):
            self.run = run
            say(f"round {self.run + 1} of {self.rounds}")
            echo = await self._echo()
            order = [*self.own, *self.peers]
            random.Random(self.run).shuffle(order)
            for recipe in order:
                await self._throughput(recipe, echo)
        for name, part in (
            ("query", self._stored),
            ("idle", self._idle),
            ("isolation growth", self._isolation_and_growth),
            ("storm", self._storm),
            ("workers", self._workers),
            ("nip46", self._remote),
            ("signers", self._signers),
        ):
            if self.only and self.only not in name:
                continue
            await part()

    async def take(
        self, name: str, target: Target, measure: Callable[[], Awaitable[Sample | list[Sample]]]
    ) -> list[Sample]:
        """Run one measure; what fails is told and left out."""
        if self.only and not name.startswith(self.only):
            return []
        try:
            found = await measure()
        except Exception as error:  # noqa: BLE001 -- one relay's failure ends no other's measure
            say(f"{name} [{target.name}] failed: {type(error).__name__}: {error}")
            return []
        taken = found if isinstance(found, list) else [found]
        for sample in taken:
            sample.run = sample.run or self.run
            say(f"  {sample.measure:22} {sample.relay:24} {report.number(sample.value):>10}")
            self.samples.append(sample)
        return taken

    async def _echo(self) -> dict[str, float]:
        """Return the latencies of an echo, by measure."""
        recipe = Recipe("echo", (sys.executable, "-m", "bench.load.echo", "{port}"))
        pair = self.prepared.make_pairs(1, 300)[0]
        async with running(recipe, self.core) as target:
            spaced = await throughput.echo(target, pair, self.seconds * 2, spaced=True)
            direct = await throughput.echo(target, pair, self.seconds, spaced=False)
        for sample in (spaced, direct):
            sample.run = self.run
            self.samples.append(sample)
        return {"pairs.latency": spaced.value, "pairs.sequential": direct.value}

    async def _throughput(self, recipe: Recipe, echo: dict[str, float]) -> None:
        prepared, seconds = self.prepared, self.seconds
        before = verifications_per_second(0.2, self.core)
        async with running(recipe, self.core) as target:
            await throughput.warm_up(target, prepared)
            ingest = [
                await self.take(
                    name, target, partial(throughput.ingest, target, frames, seconds, name)
                )
                for name, frames in (
                    ("ingest", prepared.ingest),
                    ("ingest.duplicate", prepared.duplicates),
                    ("ingest.invalid", prepared.invalid),
                )
            ]
            limit = (before + verifications_per_second(0.2, self.core)) / 2
            for sample in (*ingest[0], *ingest[2]):
                sample.limit = limit
            await self.take(
                "pairs", target, lambda: throughput.pairs(target, prepared.pairs, seconds)
            )
            for found in (
                await self.take(
                    "pairs.latency",
                    target,
                    lambda: throughput.latency(target, prepared.latency, seconds * 2),
                ),
                await self.take(
                    "pairs.sequential",
                    target,
                    lambda: throughput.sequential(target, prepared.sequential, seconds),
                ),
            ):
                for sample in found:
                    sample.limit = echo[sample.measure]
            readers = (200, 1_000) if self.run < 3 and not self.quick else (200,)
            for count in readers:
                await self.take(
                    "fan-out",
                    target,
                    partial(throughput.fan_out, target, prepared, count, seconds),
                )
            await self.take(
                "stored.ingest",
                target,
                lambda: endurance.stored_ingest(target, prepared.notes, seconds),
            )

    async def _stored(self) -> None:
        sizes = (10_000,) if self.quick else (10_000, 1_000_000)
        for size in sizes:
            archive = endurance.Archive(self.prepared.traffic, size)
            filters = endurance.typical_filters(archive.signed)
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name)
                async with running(self.own[0], self.core, folder):
                    pass  # makes the tables
                say(f"storing {size} events")
                archive.fill(folder)
                async with running(self.own[0], self.core, folder) as target:
                    await self.take(
                        "query", target, partial(endurance.queries, target, filters, size)
                    )
        if self.quick:
            return
        small = endurance.Archive(self.prepared.traffic, 1_000)
        frames = [shot(event).frame for event in small.signed]
        filters = endurance.typical_filters(small.signed)
        for recipe in [self.own[0], *self.peers]:
            async with running(recipe, self.core) as target:
                await throughput.ingest(target, frames, 60, "fill")
                await self.take("query", target, partial(endurance.queries, target, filters, 1_000))

    async def _idle(self) -> None:
        count = 500 if self.quick else 2_000
        for recipe in [*self.own, *self.peers]:
            async with running(recipe, self.core) as target:
                await self.take(
                    "idle",
                    target,
                    lambda: endurance.idle(target, self.prepared.traffic, count),
                )

    async def _isolation_and_growth(self) -> None:
        if self.quick:
            return
        counts = (10, 100, 1_000, 10_000)
        for recipe in [self.own[0], *self.peers[:1]]:
            for run in range(2):
                self.run = run
                sets = [self.prepared.make_pairs(100, 4) for _ in range(2)]
                async with running(recipe, self.core) as target:
                    await self.take(
                        "isolation",
                        target,
                        partial(endurance.isolation, target, self.prepared.traffic, *sets),
                    )
            more = [self.prepared.make_pairs(50, 100) for _ in counts]
            async with running(recipe, self.core) as target:
                await self.take(
                    "growth",
                    target,
                    partial(endurance.growth, target, more, counts, self.seconds),
                )

    async def _storm(self) -> None:
        if self.quick:
            return
        for recipe in [self.own[0], *self.peers]:
            if recipe.url:
                continue  # not ours to restart
            target = Target(recipe, "", 0)
            await self.take("storm", target, partial(endurance.storm, recipe, self.core, 2_000))

    async def _workers(self) -> None:
        """Measure 1 with a process for each core, which they share with the load generator."""
        if self.quick:
            return
        shots = self.prepared.ingest
        with self._both_cores():
            for run in range(self.rounds):
                self.run = run
                for count in (1, 2):
                    name = f"workers.{count}"
                    async with running(relays.ours("--workers", str(count)), None) as target:
                        measure = partial(
                            throughput.ingest, target, shots, self.seconds, name,
                            connections=32, unanswered=256,
                        )  # fmt: skip
                        await self.take(name, target, measure)

    async def _remote(self) -> None:
        with self._both_cores():  # for three processes
            for run in range(1 if self.quick else 3):
                self.run = run
                parts = remote.crypto_floor()
                async with running(relays.ours(), None) as target:
                    parts += await remote.journal_cost(target.url)
                    for part in parts:
                        part.relay, part.run = target.name, self.run
                    self.samples += parts
                    found = await self.take(
                        "nip46",
                        target,
                        lambda: remote.round_trips(target, 2_000, 2 * self.seconds),
                    )
                    for sample in found:
                        if sample.measure == "nip46.sequential":
                            floor = parts[0].value
                            sample.limit = floor
                            rest = replace(sample, measure="nip46.rest", values=(), limit=0.0)
                            rest.value -= floor
                            self.samples.append(rest)
            if self.quick or not remote.node_is_there():
                return
            self.run = 0
            async with running(relays.ours(), None) as target:
                await self.take("nip46", target, lambda: remote.node_round_trips(target, 50))

    async def _signers(self) -> None:
        if self.quick:
            return
        with self._both_cores():  # for three processes
            async with running(relays.ours(), None) as target:
                await self.take(
                    "signers",
                    target,
                    lambda: signers.rounds(target, self.rounds, 400, 2 * self.seconds),
                )

    @contextmanager
    def _both_cores(self) -> Iterator[None]:
        """Give both cores to what is measured and to the load generator, with what they start."""
        os.sched_setaffinity(0, {self.core, self.own_core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.own_core})


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, the main measures")
    parser.add_argument("--rounds", type=int, help="interleaved runs  [default: 5]")
    parser.add_argument("--only", default="", help="measures whose name starts so")
    parser.add_argument("--peers", help="a Python that has nostr-sdk and nostr-relay")
    parser.add_argument(
        "--relay-url",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a relay that is running already, its rate limits lifted; repeatable",
    )
    parser.add_argument("--output", type=Path, default=_HERE / "results")
    options = parser.parse_args(arguments)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))  # relays inherit it
    start = time.perf_counter()
    bench = Bench(options)
    facts = describe()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bench.everything())
    finally:
        facts["duration"] = f"{time.perf_counter() - start:.0f} s"
        report.write(options.output, facts, bench.samples)
    for key, value in facts.items():
        print(f"{key}: {value}")
    for row in report.rows(bench.samples):
        print(report.line(row))


if __name__ == "__main__":
    main()
