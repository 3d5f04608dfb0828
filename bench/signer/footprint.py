"""What a signer keeps: the memory of an app and of a question, thousands of apps, a long audit log.

    python -m bench.signer.footprint apps --apps 10000
    python -m bench.signer.footprint questions --apps 100 --each 20
    python -m bench.signer.footprint audit --entries 1000000

`apps` starts a signer with one paired app and one with many, and has SPOKEN of them ask for a
signature. `questions` has each of some apps ask for what nobody answers. `audit` fills a log and
times what looks at it.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from sqlalchemy import insert

from bench.machine import usage
from bench.signer.stress import UNLIMITED, relay_config
from bunker.harness import RunningSigner, running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_client.request.session import Session
from bunker_core.keys import SecretKey
from bunker_core.local.process import module_command
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.nips.nip19 import parse_pubkey
from bunker_signer.store import Database, Writer, audit_log, clients, grants
from bunker_signer.store.audit_chain import GENESIS, AuditEntry
from bunker_signer.store.database import schema
from bunker_signer.store.database.engine import FILE_NAME

SPOKEN: Final = 500
_KEY: Final = "default"
_KIB: Final = 1024
_DAYS: Final = 14  # that the log's entries are spread over, as the console's chart looks back
_CHUNK: Final = 20_000
_APPS: Final = 20  # in the log
_PATIENCE: Final = 120.0  # seconds until all questions are asked


async def apps(count: int) -> dict[str, object]:
    """Return what many paired apps cost, beside one."""
    keys = [SecretKey.generate() for _ in range(count)]
    found: dict[str, object] = {"apps": count}
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        data = Path(folder)
        async with running_relay(data / "relay", arguments=relay_config(data)) as relay:
            async with _signer(data, relay.url) as (signer, seconds):
                found["start_s"] = round(seconds, 3)
                alone = _rss(signer)
                _pair(data / "signer", [key.pubkey for key in keys], relay.url)
            async with _signer(data, relay.url) as (signer, seconds):
                found["start_with_all_s"] = round(seconds, 3)
                idle = _rss(signer)
                found["kib_an_app"] = round((idle - alone) / count / _KIB, 3)
                some = random.Random(0).sample(keys, min(SPOKEN, count))
                for key in some:
                    session = _session(signer, key, relay.url)
                    async with RemoteSigner.from_session(session) as client:
                        await client.sign_event({"kind": 1, "content": "hello"})
                found["kib_an_app_that_spoke"] = round((_rss(signer) - idle) / len(some) / _KIB, 1)
                found["rss_mib"] = round(_rss(signer) / 2**20, 1)
        found |= _look_up(data / "signer", [key.pubkey for key in keys])
    return found


def _look_up(data: Path, pubkeys: list[str]) -> dict[str, float]:
    """Return what it takes to find a client and its grants, the first time and again."""
    database = Database(data / FILE_NAME)
    writer = Writer(database)
    some = random.Random(1).sample(pubkeys, min(1000, len(pubkeys)))
    found = {}
    for name in ("look_up_us", "look_up_again_us"):
        start = time.perf_counter()
        for pubkey in some:
            writer.read(partial(clients.find, key_name=_KEY, pubkey=pubkey))
            writer.read(partial(grants.of, key_name=_KEY, client_pubkey=pubkey))
        found[name] = round((time.perf_counter() - start) / len(some) * 1e6, 1)
    writer.close()
    database.close()
    return found


async def questions(count: int, each: int) -> dict[str, object]:
    """Return what a request costs that waits for a person."""
    keys = [SecretKey.generate() for _ in range(count)]
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        data = Path(folder)
        async with running_relay(data / "relay", arguments=relay_config(data)) as relay:
            async with _signer(data, relay.url):
                _pair(data / "signer", [key.pubkey for key in keys], relay.url)
            async with _signer(data, relay.url, "--ask") as (signer, _):
                open_clients = [
                    RemoteSigner.from_session(_session(signer, key, relay.url)) for key in keys
                ]
                for client in open_clients:
                    await client.__aenter__()
                    await client.ping()
                before = _rss(signer)
                asking = [
                    asyncio.create_task(
                        client.sign_event({"kind": 30023, "content": "x" * 700 + str(number)})
                    )
                    for client in open_clients
                    for number in range(each)
                ]
                async with asyncio.timeout(_PATIENCE):
                    while _undone(data / "signer") < len(asking):  # noqa: ASYNC110 -- no event tells
                        await asyncio.sleep(0.2)
                taken = _rss(signer) - before
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
                for client in open_clients:
                    await client.__aexit__(None, None, None)
    return {"questions": len(asking), "kib_a_question": round(taken / len(asking) / _KIB, 1)}


async def audit(count: int) -> dict[str, object]:
    """Return what looks at a log of `count` entries takes."""
    found: dict[str, object] = {"entries": count}
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        data = Path(folder)
        database = Database(data / FILE_NAME)
        now = int(time.time())
        _fill(database, count, now)
        found["database_mib"] = round((data / FILE_NAME).stat().st_size / 2**20)
        with database.read() as connection:
            wanted = audit_log.AuditFilter(client_pubkey=f"{1:064x}")
            for name, look in (
                ("newest_100", lambda: list(audit_log.entries(connection, None, 100))),
                ("newest_100_of_an_app", lambda: list(audit_log.entries(connection, wanted, 100))),
                ("chart", lambda: audit_log.requests_by_day(connection, now - _DAYS * 86400)),
                ("names", lambda: audit_log.names(connection, _pubkeys())),
            ):
                start = time.perf_counter()
                look()
                found[f"{name}_ms"] = round((time.perf_counter() - start) * 1e3, 1)
        database.close()
        for name, arguments in (("verify", ("verify",)), ("export", ("--json",))):
            found |= await _timed(name, "signer", "audit", *arguments, "--data", str(data))
    return found


def _fill(database: Database, count: int, now: int) -> None:
    """Write a chain as the signer would have, many entries a statement."""
    pubkeys = _pubkeys()
    last = AuditEntry(0, 0, "", "", hash=GENESIS)
    with database.write() as connection:
        audit_log.append(connection, now - _DAYS * 86400, "start", _KEY)
        ends = audit_log.head(connection)
        last = AuditEntry(ends[0], 0, "", "", hash=ends[1])
        for first in range(2, count + 1, _CHUNK):
            rows = []
            for seq in range(first, min(first + _CHUNK, count + 1)):
                last = AuditEntry(
                    seq,
                    now - _DAYS * 86400 + seq * _DAYS * 86400 // (count + 1),
                    "request",
                    _KEY,
                    client_pubkey=pubkeys[seq % _APPS],
                    method="sign_event",
                    param="1",
                    event_id=f"{seq:064x}",
                    outcome="allowed",
                    decided_by="grant sign_event:1",
                    previous=last.hash,
                ).sealed()
                rows.append(last.to_dict())
            connection.execute(insert(schema.audit), rows)
        known = schema.audit_ends.update().values(last_seq=last.seq, last_hash=last.hash)
        connection.execute(known)


def _pubkeys() -> list[str]:
    return [f"{number:064x}" for number in range(_APPS)]


def _pair(data: Path, pubkeys: Iterable[str], relay: str) -> None:
    """Pair clients that may sign notes, as many pairings by secrets would have."""
    now = int(time.time())
    database = Database(data / FILE_NAME)
    paired, granted = [], []
    for number, pubkey in enumerate(pubkeys):
        paired.append(
            {
                "key_name": _KEY, "pubkey": pubkey, "name": f"App {number}", "url": "",
                "image": "", "renamed": False, "relays": json.dumps([relay]),
                "requested": "sign_event:1", "paired_at": now, "last_seen": now,
            }
        )  # fmt: skip
        granted.append(
            {
                "key_name": _KEY, "client_pubkey": pubkey, "method": "sign_event", "param": "1",
                "effect": "allow", "created_at": now, "window_start": 0, "window_used": 0,
            }
        )  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(schema.clients), paired)
        connection.execute(insert(schema.grants), granted)
    database.close()


@asynccontextmanager
async def _signer(
    data: Path, relay: str, *arguments: str
) -> AsyncIterator[tuple[RunningSigner, float]]:
    """Run the signer of `data`; yield it with the seconds until it gave its URI."""
    start = time.perf_counter()
    async with running_signer(
        data / "signer", [relay], arguments=(*UNLIMITED, *arguments)
    ) as signer:
        yield signer, time.perf_counter() - start


def _session(signer: RunningSigner, key: SecretKey, relay: str) -> Session:
    remote = parse_bunker_uri(signer.uri).remote_signer_pubkey
    return Session(key, remote, parse_pubkey(signer.npub), (relay,))


def _undone(data: Path) -> int:
    """Return how many requests wait in the journal."""
    database = Database(data / FILE_NAME)
    with database.read() as connection:
        states = schema.requests.select().with_only_columns(schema.requests.c.state)
        waiting: int = sum(state == "open" for state in connection.scalars(states))
    database.close()
    return waiting


def _rss(signer: RunningSigner) -> int:
    """Return the bytes that the signer's process holds."""
    held: int = usage(signer.process.pid, family=False).rss
    return held


async def _timed(name: str, *command: str) -> dict[str, float]:
    """Run a command of ours; return its seconds and the most memory that it had."""
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *module_command("bunker", *command), stdout=asyncio.subprocess.DEVNULL
    )
    most = 0
    while process.returncode is None:
        for peak in _peaks(process.pid):
            most = max(most, peak)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.2)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return {f"{name}_s": round(time.perf_counter() - start, 1), f"{name}_mib": most // _KIB}


def _peaks(pid: int) -> Iterator[int]:
    """Yield the KiB that a process has held at most, if it is still there."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            yield int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["apps", "questions", "audit"])
    parser.add_argument("--apps", type=int)
    parser.add_argument("--each", type=int, default=20, help="questions of an app")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=900, help="seconds that it may take at most")
    given = parser.parse_args()
    match given.mode:
        case "apps":
            work = apps(given.apps or 10_000)
        case "questions":
            work = questions(given.apps or 100, given.each)
        case _:
            work = audit(given.entries)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(asyncio.wait_for(work, given.limit)), indent=2))


if __name__ == "__main__":
    main()
