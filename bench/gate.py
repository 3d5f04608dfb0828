"""The regression gate: what an event costs the relay, in figures that a busy machine hardly moves.

python -m bench.gate fails when the direct line writes more often, or takes more of a processor
for an event, than it should: counted in system calls, in signature checks, and against the plain
path in the same run. Never a rate: those say more about the machine than about the relay.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from bench import relays, throughput
from bench.machine import usage, verification_seconds
from bench.relays import Recipe, running
from bench.throughput import Ammunition, ingest
from bench.traffic import Traffic

ROUNDS: Final = 3
EVENTS: Final = 6_000
# A run on a busy machine gave 0.02, 1.97 and 0.81; the room above is for a busier one.
MAX_WRITES: Final = 0.25  # system calls for an answered event, 64 of them unanswered
MAX_COST: Final = 2.6  # signature checks' worth of processor for an event with its one check
MAX_SHARE: Final = 0.92  # of what the plain path takes


@dataclass(frozen=True, slots=True)
class Cost:
    """What one event takes."""

    writes: float  # system calls
    checks: float  # processor time, in signature checks


async def cost(recipe: Recipe, ammunition: Ammunition) -> Cost:
    """Let a fresh relay take all events."""
    async with running(recipe, None) as target:
        await throughput.warm_up(target, ammunition)
        check = verification_seconds(0.2)
        writes, cpu = _writes(target.pid), usage(target.pid).cpu
        await ingest(target, ammunition.ingest, 60)
        cpu = usage(target.pid).cpu - cpu
        check = (check + verification_seconds(0.2)) / 2
        return Cost((_writes(target.pid) - writes) / EVENTS, cpu / EVENTS / check)


def _writes(pid: int) -> int:
    """Return how often a process has called write(2) (Linux)."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("syscw:"):
            return int(line.split()[1])
    raise RuntimeError("/proc does not count system calls here")


async def main() -> int:
    """Measure both paths in turn, and judge."""
    ammunition = Ammunition(Traffic(int(time.time())), events=EVENTS, rounds=1)
    direct, plain = [], []
    for _ in range(ROUNDS):
        direct.append(await cost(relays.ours(), ammunition))
        plain.append(await cost(relays.plain(), ammunition))
    found = {
        "writes for an event": (median(item.writes for item in direct), MAX_WRITES),
        "signature checks' worth of an event": (median(item.checks for item in direct), MAX_COST),
        "share of the plain path": (
            median(one.checks / other.checks for one, other in zip(direct, plain, strict=True)),
            MAX_SHARE,
        ),
    }
    for name, (value, most) in found.items():
        print(f"{name:40}{value:8.2f}   at most {most}")
    return int(any(value > most for value, most in found.values()))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()) if sys.platform == "linux" else asyncio.run(main()))
