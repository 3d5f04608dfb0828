"""The regression gate: what an event costs the relay, in figures that a busy machine hardly moves.

python -m bench.gate fails when the fast path reads and writes more often, or takes more of a
processor for an event, than it should: counted in system calls, in signature checks, and against
the plain path in the same run. Never a rate: those say more about the machine than about the relay.
What a request costs the signer is `signer/gate.py`'s part.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench.load.traffic import Traffic, addressed_to
from bench.load.websocket import Socket
from bench.machine import cores, cpu_seconds, verification_seconds
from bench.relay import relays
from bench.relay.crowd import Gate, connect, subscribed, window
from bench.relay.relays import Recipe, Target, running
from bench.signer import gate as signer_gate

ROUNDS: Final = 10
EVENTS: Final = 512  # of a round, that nobody listens to: checked and answered
PUBLICATIONS: Final = 32  # of a round, that READERS get
READERS: Final = 50
_CONNECTIONS: Final = 4
_WINDOW: Final = 64  # unanswered on each
_PATIENCE: Final = 30.0  # seconds

# In the comments: on a quiet machine, and the worst on one with six times more to do than it can.
MOST: Final = {
    "system calls for an event": 0.25,  # 0.03, 0.04
    "signature checks' worth of an event": 1.9,  # 1.42, 1.70 of checks of a single signature
    "its share of the plain path": 0.95,  # 0.77, 0.85
    "system calls for a delivery": 0.25,  # 0.13, 0.13
    "its share of the plain path, delivered": 0.55,  # 0.23, 0.34
}


@dataclass(slots=True)
class Cost:
    """The least that one message took in any round.

    Cold caches and a neighbour on the same core only ever add to processor time: the smallest of
    many short rounds is what the relay itself takes.
    """

    calls: float = float("inf")  # read(2) and write(2)
    cpu: float = float("inf")  # seconds


@dataclass(slots=True)
class Subject:
    """A relay under measurement, and who talks to it."""

    target: Target
    senders: list[Socket]
    readers: list[Socket]
    event: Cost = field(default_factory=Cost)
    delivery: Cost = field(default_factory=Cost)

    async def take_in(self, frames: Sequence[bytes]) -> None:
        """Publish what nobody listens to, and wait for every OK."""
        gate = Gate(len(frames))
        calls, cpu = _calls(self.target.pid), cpu_seconds(self.target.pid)
        shares = [frames[index::_CONNECTIONS] for index in range(_CONNECTIONS)]
        window(self.senders, shares, _WINDOW, lambda text: _count(gate, text, b'["OK"'))
        await gate.passed(_PATIENCE)
        self._note(self.event, len(frames), calls, cpu)

    async def hand_out(self, frames: Sequence[bytes]) -> None:
        """Publish to all readers, 8 unanswered at a time, and wait for every delivery."""
        count = len(frames) * len(self.readers)
        gate = Gate(count)
        for item in self.readers:
            item.on_text = lambda text: _count(gate, text, b'["EVENT"')
        calls, cpu = _calls(self.target.pid), cpu_seconds(self.target.pid)
        window(self.senders[:1], [frames], 8, lambda _text: None)
        await gate.passed(_PATIENCE)
        self._note(self.delivery, count, calls, cpu)

    def _note(self, cost: Cost, count: int, calls: int, cpu: float) -> None:
        pid = self.target.pid
        cost.calls = min(cost.calls, (_calls(pid) - calls) / count)
        cost.cpu = min(cost.cpu, (cpu_seconds(pid) - cpu) / count)


def _count(gate: Gate, text: bytes, wanted: bytes) -> None:
    if text.startswith(wanted):
        gate.open()


def _calls(pid: int) -> int:
    """Return how often a process has called read(2) and write(2) (Linux)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["syscr"]) + int(counts["syscw"])


async def measure() -> dict[str, float]:
    """Measure both paths in turn, on one core, and return what `MOST` bounds."""
    relay_core, own_core = cores()
    traffic = Traffic(int(time.time()))
    *authors, nobody, reader = traffic.keys(18)

    def requests(count: int, recipient: str) -> list[bytes]:
        return [traffic.request(authors[n % 16], recipient).frame for n in range(count)]

    events = [requests(EVENTS, nobody.pubkey) for _ in range(ROUNDS)]
    publications = [requests(PUBLICATIONS, reader.pubkey) for _ in range(ROUNDS)]
    check = float("inf")

    async def subject(stack: AsyncExitStack, recipe: Recipe) -> Subject:
        target = await stack.enter_async_context(running(recipe, relay_core))
        senders = await connect(target, _CONNECTIONS)
        readers = await connect(target, READERS)
        await subscribed(readers, [addressed_to([reader.pubkey])] * READERS)
        return Subject(target, senders, readers)

    async with AsyncExitStack() as stack:
        fast = await subject(stack, relays.ours())
        plain = await subject(stack, relays.plain())
        for arriving, leaving in zip(events, publications, strict=True):
            for one in (fast, plain):
                os.sched_setaffinity(0, {relay_core})
                check = min(check, *(verification_seconds(0.005) for _ in range(4)))
                os.sched_setaffinity(0, {own_core})
                await one.take_in(arriving)
                await one.hand_out(leaving)
    values = (
        fast.event.calls,
        fast.event.cpu / check,
        fast.event.cpu / plain.event.cpu,
        fast.delivery.calls,
        fast.delivery.cpu / plain.delivery.cpu,
    )
    return dict(zip(MOST, values, strict=True))


async def main() -> int:
    """Measure, and judge."""
    bounds = MOST | signer_gate.MOST
    found = await measure() | await signer_gate.measure()
    for name, value in found.items():
        print(f"{name:44}{value:6.2f}   at most {bounds[name]}")
    return int(any(value > bounds[name] for name, value in found.items()))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()) if sys.platform == "linux" else asyncio.run(main()))
