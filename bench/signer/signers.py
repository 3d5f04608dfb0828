"""sign_event through one relay, by one client, with one signer after another.

Each round takes every signer in a new order, so that a machine that slows down slows all. `instant`
does no more than open, sign and seal: the rest is what client and relay take.
"""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.meter import Sample
from bench.relay.relays import OURS, Target, stop
from bench.signer.remote import SIGNER_LIMITS, told
from bench.stats import percentile
from bunker.harness import running_signer
from bunker_client import RemoteSigner

INSTANT: Final = "instant"
_INTEROP: Final = Path(__file__).parents[2] / "tests" / "interop"  # where the peers' sources are
_BUILT: Final = Path(__file__).parents[1] / "results" / "built"
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Signer:
    """A signer's name and, unless it is ours, the command that takes a relay's URL."""

    name: str
    command: tuple[str, ...] = ()


def signers() -> Iterator[Signer]:
    """Yield those that this machine can run."""
    yield Signer(OURS)
    yield Signer(INSTANT, (sys.executable, "-m", "bench.peers.instant_signer"))
    if shutil.which("go"):
        yield Signer("go-nostr", (str(_BUILT / "go_signer"), "-once"))
    if shutil.which("cargo"):
        yield Signer("rust nostr-connect", (str(_BUILT / "rust" / "release" / "signer"),))


async def build() -> None:
    """Build what Go and Rust are there for; raises RuntimeError with the compiler's words."""
    _BUILT.mkdir(parents=True, exist_ok=True)
    if shutil.which("go"):
        await _run("go", "build", "-o", str(_BUILT / "go_signer"), "./signer", folder="go")
    if shutil.which("cargo"):
        await _run(
            *("cargo", "build", "--release", "--quiet", "--bin", "signer"),
            *("--target-dir", str(_BUILT / "rust")),
            folder="rust",
        )


async def rounds(target: Target, count: int, requests: int, seconds: float) -> list[Sample]:
    """Ask each signer for `requests` signatures one by one, then for `seconds` 32 at once."""
    await build()
    samples = []
    for run in range(count):
        order = list(signers())
        random.Random(run).shuffle(order)
        for signer in order:
            for sample in await _measure(signer, target, requests, seconds):
                sample.run = run
                samples.append(sample)
    return samples


async def _measure(signer: Signer, target: Target, requests: int, seconds: float) -> list[Sample]:
    async with _running(signer, target.url) as uri, RemoteSigner.from_uri(uri) as client:
        for number in range(50):  # sockets, caches and branch predictors
            await client.request_signature({"kind": 1, "content": f"warm {number}"})
        taken = []
        for number in range(requests):
            begun = time.perf_counter()
            await client.request_signature({"kind": 1, "content": f"note {number}"})
            taken.append((time.perf_counter() - begun) * 1e3)
        done = 0
        start = time.perf_counter()
        end = start + seconds

        async def work(worker: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                await client.request_signature({"kind": 1, "content": f"note {worker} {done}"})
                done += 1

        await asyncio.gather(*(work(number) for number in range(_AT_ONCE)))
        rate = done / (time.perf_counter() - start)
    measure = "signers.floor" if signer.name == INSTANT else "signers"
    return [
        Sample(f"{measure}.p50", signer.name, percentile(taken, 50), "ms"),
        Sample(f"{measure}.p99", signer.name, percentile(taken, 99), "ms"),
        Sample(f"{measure}.at_once", signer.name, rate, "requests/s"),
    ]


@asynccontextmanager
async def _running(signer: Signer, relay: str) -> AsyncIterator[str]:
    """Run a signer and yield its bunker:// URI."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if not signer.command:
            async with running_signer(
                Path(folder), [relay], allow="sign_event:1", arguments=SIGNER_LIMITS
            ) as ours:
                yield ours.uri
            return
        process = await asyncio.create_subprocess_exec(
            *signer.command,
            relay,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=(Path(folder) / "stderr").open("wb"),
        )
        try:
            yield await told(process, "uri")
        finally:
            await stop(process)


async def _run(*command: str, folder: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_INTEROP / folder, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{folder} can't be built: {said.decode(errors='replace')[-2000:]}")
