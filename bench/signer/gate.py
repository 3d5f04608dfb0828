"""The signer's part of the gate: what a signing request costs it, in figures as those of the relay.

A real signer with everything on, journal, audit, grants and self-check, behind a real relay. Each
round asks for some signatures, 32 at once, and then for some one after the other; the least of all
rounds counts.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from bench.machine import cores, cpu_seconds, verification_seconds
from bench.relay import relays
from bench.relay.relays import running
from bench.signer.remote import SIGNER_LIMITS
from bunker.harness import running_signer
from bunker_client import RemoteSigner

ROUNDS: Final = 12
REQUESTS: Final = 128  # of a round, AT_ONCE of them at a time
ALONE: Final = 24  # of a round, one after the other
AT_ONCE: Final = 32
_WARM: Final = 200

# In the comments: about what quiet moments gave, and the worst of an optimized Python or another on
# a machine with six times more to do than it can.
MOST: Final = {
    "signature checks' worth of a request": 26.0,  # 13, 20.5
    "signature checks' worth of a request alone": 44.0,  # 20, 34
    "calls of write(2) for a request": 16.0,  # 10, 10.4
}


async def measure() -> dict[str, float]:
    """Return what `MOST` bounds."""
    core, own_core = cores()
    check = together = alone = calls = float("inf")
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        async with running(relays.ours(), core) as relay:
            os.sched_setaffinity(0, {core})
            async with (
                running_signer(
                    Path(folder), [relay.url], allow="sign_event:1", arguments=SIGNER_LIMITS
                ) as signer,
                RemoteSigner.from_uri(signer.uri) as client,
            ):
                pid = signer.process.pid
                await _ask(client, _WARM, AT_ONCE)
                for _ in range(ROUNDS):
                    os.sched_setaffinity(0, {core})
                    check = min(check, *(verification_seconds(0.005) for _ in range(4)))
                    os.sched_setaffinity(0, {own_core})
                    before, written = cpu_seconds(pid), _writes(pid)
                    await _ask(client, REQUESTS, AT_ONCE)
                    together = min(together, (cpu_seconds(pid) - before) / REQUESTS)
                    calls = min(calls, (_writes(pid) - written) / REQUESTS)
                    before = cpu_seconds(pid)
                    await _ask(client, ALONE, 1)
                    alone = min(alone, (cpu_seconds(pid) - before) / ALONE)
    return dict(zip(MOST, (together / check, alone / check, calls), strict=True))


async def _ask(client: RemoteSigner, count: int, at_once: int) -> None:
    """Have `count` notes signed, so many at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await client.sign_event({"kind": 1, "content": f"note {number}"})

    await asyncio.gather(*(work() for _ in range(at_once)))


def _writes(pid: int) -> int:
    """Return how often a process has called write(2) and its like, the database's too (Linux)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["syscw"])
