"""Measure 4: sign_event from end to end, real client, relay and signer, each a process.

Beside it what it is made of: the cryptography alone (`floor`), the rest of the latency (`rest`),
the processor time of each of the three processes at 32 at once, and of the signer's the part that
writes requests down (`journal`).
"""

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from bench.machine import usage
from bench.meter import Sample, metered
from bench.relay.relays import Target, stop
from bench.stats import percentile
from bunker.harness import running_signer
from bunker_client import RemoteSigner
from bunker_core.event import EventTemplate, sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip44
from bunker_core.nips.nip46 import ClientMetadata, Method
from bunker_signer.policy import Grant
from bunker_signer.store import Database, Writer, audit_log, clients, grants, journal
from bunker_signer.store.database.engine import FILE_NAME
from bunker_signer.store.journal import Entry, State

_NODE: Final = Path(__file__).parents[2] / "tests" / "interop" / "node"
_PROGRAMS: Final = Path(__file__).parents[1] / "peers"
NOSTR_TOOLS: Final = "nostr-tools with NDK"
_TIMEOUT: Final = 120.0
_PAUSE: Final = 0.0005  # seconds; in a round trip each process waits about so long for the others
_CORE: Final = "ms of its core"
SIGNER_LIMITS: Final = ("--client-rate", "1000000")


def crypto_floor() -> list[Sample]:
    """Return what the cryptography of one round trip takes, all keys derived before.

    Five verifications (the relay two, the signer one, the client two: the response and the
    event in it), three signatures, two encryptions, two decryptions: one after the other in a
    loop, and `spaced` in the five turns in which three processes do them, a pause before each.
    """
    key = SecretKey.generate()
    shared = nip44.conversation_key(key.shared_x(key.pubkey))
    note = sign_event(EventTemplate(1, "Signed from afar", (), 1_700_000_000), key)
    text = json.dumps({"id": "0" * 32, "result": note.to_json().decode()})
    payload = nip44.encrypt(text, shared)
    event = EventTemplate(NOSTR_CONNECT, payload, (("p", key.pubkey),), 1_700_000_000)
    sealed = sign_event(event, key)

    def ask() -> None:
        nip44.encrypt(text, shared)
        sign_event(event, key)

    def carry() -> None:
        verify(sealed)

    def answer() -> None:
        verify(sealed)
        nip44.decrypt(payload, shared)
        sign_event(event, key)
        ask()

    def take() -> None:
        verify(sealed)
        nip44.decrypt(payload, shared)
        verify(note)

    turns = (ask, carry, answer, carry, take)
    samples = []
    for name, pause in (("nip46.floor", 0.0), ("nip46.floor.spaced", _PAUSE)):
        taken = []
        for _ in range(200):
            elapsed = 0.0
            for turn in turns:
                if pause:
                    time.sleep(pause)
                start = time.perf_counter()
                turn()
                elapsed += time.perf_counter() - start
            taken.append(elapsed * 1e3)
        samples.append(Sample(name, "", percentile(taken, 50), "ms"))
    return samples


async def journal_cost(relay: str) -> list[Sample]:
    """Return what writing a granted request down takes of the signer's core.

    That is its three steps (admitted, answered, delivered), alone and with 31 others.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        database = Database(Path(folder) / FILE_NAME)
        client, now = "c" * 64, 1_700_000_000
        with database.write() as connection:
            granted = [Grant(Method.SIGN_EVENT.value, "1")]
            clients.add(connection, "k", client, ClientMetadata(), [relay], "", granted, now)
        writer = Writer(database)
        number = 0

        async def request() -> None:
            nonlocal number
            number += 1
            digest = f"{number:064x}"
            entry = Entry(digest, "k", client, "e" * 900, relay, State.APPROVED, now, "", "")

            def admit(to: Connection) -> None:
                journal.mark_handled(to, digest, now)
                journal.find(to, digest)
                grants.of(to, "k", client)
                journal.add(to, entry)

            def answer(to: Connection) -> None:
                journal.answer(to, digest, "a" * 900)
                audit_log.append(to, now, "request", "k", client_pubkey=client, event_id=digest)

            writer.read(lambda at: clients.find(at, "k", client))
            await writer.write(admit)
            await writer.write(answer)
            writer.write_soon(lambda to: journal.finish(to, digest))

        samples = []
        for name, together in (("alone", 1), ("shared", 32)):
            start = time.process_time()
            for _ in range(640 // together):
                await asyncio.gather(*(request() for _ in range(together)))
            each = (time.process_time() - start) / 640 * 1e3
            samples.append(Sample(f"nip46.journal.{name}", "", each, _CORE))
        writer.close()
        database.close()
    return samples


async def round_trips(target: Target, count: int, seconds: float) -> list[Sample]:
    """Ask for signatures one after another, then 32 at once."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with (
            running_signer(
                Path(folder), [target.url], allow="sign_event:1", arguments=SIGNER_LIMITS
            ) as signer,
            RemoteSigner.from_uri(signer.uri) as client,
        ):
            taken = []
            with metered(target) as reading:
                end = time.perf_counter() + seconds
                for number in range(count):
                    begun = time.perf_counter()
                    if begun > end:
                        break
                    await client.request_signature({"kind": 1, "content": f"note {number}"})
                    taken.append((time.perf_counter() - begun) * 1e3)
            sequential = reading.sample("nip46.sequential", target, percentile(taken, 50), "ms")
            sequential.values = tuple(taken)
            done = 0

            async def work(worker: int) -> None:
                nonlocal done
                while time.perf_counter() < end:
                    text = f"note {worker} {done}"
                    await client.request_signature({"kind": 1, "content": text})
                    done += 1

            pids = {"signer": signer.process.pid, "relay": target.pid, "client": os.getpid()}
            before = {name: usage(pid, family=name != "client") for name, pid in pids.items()}
            with metered(target) as reading:
                start = time.perf_counter()
                end = start + seconds
                await asyncio.gather(*(work(number) for number in range(32)))
                elapsed = time.perf_counter() - start
            concurrent = reading.sample("nip46.concurrent", target, done / elapsed, "requests/s")
            costs = []
            for name, pid in pids.items():
                used = usage(pid, family=name != "client").cpu - before[name].cpu
                costs.append(reading.sample(f"nip46.{name}", target, used / done * 1e3, _CORE))
    return [sequential, concurrent, *costs]


def node_is_there() -> bool:
    """Tell whether the npm peers can run (`make peers`)."""
    return shutil.which("node") is not None and (_NODE / "node_modules").is_dir()


async def node_round_trips(target: Target, count: int) -> list[Sample]:
    """Let nostr-tools ask NDK's backend, over the same relay."""
    async with _node("ndk_backend.mjs", target.url) as backend:
        uri = await told(backend, "uri")
        async with _node("nostr_tools_client.mjs", uri, str(count)) as client:
            taken = [float(item) for item in await told(client, "sequential")]
            rate = float(await told(client, "concurrent"))
    one = Sample("nip46.sequential", NOSTR_TOOLS, percentile(taken, 50), "ms")
    one.values = tuple(taken)
    return [one, Sample("nip46.concurrent", NOSTR_TOOLS, rate, "requests/s")]


@asynccontextmanager
async def _node(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(_PROGRAMS / program),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "BENCH_NODE_MODULES": str(_NODE / "node_modules")},
    )
    try:
        yield process
    finally:
        await stop(process)


async def told(process: asyncio.subprocess.Process, key: str) -> Any:
    """Return what a peer's program prints as `key`, in a line of JSON of its own."""
    if process.stdout is None:
        raise RuntimeError("standard output is not a pipe")
    async with asyncio.timeout(_TIMEOUT):
        while line := await process.stdout.readline():
            if line.startswith(b"{") and key in (told := json.loads(line)):
                return told[key]
    raise RuntimeError(f"the program ended before it told {key}")
