"""The signer under stress, as real processes: everything at once, or for a while.

    python -m bench.signer.stress burst --clients 32 --requests 1000
    python -m bench.signer.stress soak --seconds 600

`burst` asks for all signatures at once, measures until the last one was verified, and then reads in
the audit log that each was made once. `soak` keeps up a steady rate, with clients that come and go,
and watches the signer's memory and file handles. Both end after `--limit` seconds at the latest.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bunker.harness import RunningSigner, running_relay, running_signer
from bunker_client import ClientError, RemoteSigner
from bunker_core.keys import SecretKey
from bunker_signer.control.protocol import send
from bunker_signer.policy import Profile, profile_grants
from bunker_signer.store import Database, audit_log
from bunker_signer.store.database.engine import FILE_NAME

TIMEOUT = 900.0  # seconds: a burst is answered in the order it came
# Limits lifted, as the relay's: a client of the burst asks for more than one is good for.
UNLIMITED = ["--client-rate", "100000"]
SAMPLE = 5.0  # seconds between two looks at the process


# The relay's limits for one pubkey are lower than what a signer of 32 busy clients needs: the
# signer is what is measured here.
RATES = """
[rates]
signing_per_ip = { per_second = 100000, burst = 100000 }
signing_per_pubkey = { per_second = 100000, burst = 100000 }
strangers_per_ip = { per_second = 100000, burst = 100000 }
connections_per_ip = { per_second = 1000, burst = 1000 }
requests_per_ip = { per_second = 1000, burst = 1000 }
"""


def relay_config(data: Path) -> list[str]:
    """Return the relay's arguments for its own configuration."""
    path = data / "relay.toml"
    path.write_text(RATES)
    return ["--config", str(path)]


async def invite(data: Path) -> str:
    """Return a fresh bunker:// URI of the running signer."""
    grants = [grant.to_json() for grant in profile_grants(Profile.FULL)]
    return str(await asyncio.to_thread(send, data, "invite", key="default", grants=grants))


async def sign(client: RemoteSigner, content: str, took: list[float]) -> None:
    """Have one note signed; `sign_event` verifies what comes back."""
    start = time.perf_counter()
    await client.sign_event({"kind": 1, "content": content}, timeout=TIMEOUT)
    took.append(time.perf_counter() - start)


async def burst(data: Path, clients: int, requests: int) -> dict[str, object]:
    """Send `requests` from each of `clients`, all at once."""
    async with (
        running_relay(data / "relay", arguments=relay_config(data)) as relay,
        running_signer(data / "signer", [relay.url], arguments=UNLIMITED) as signer,
    ):
        connected = []
        try:
            for _ in range(clients):
                client = RemoteSigner.from_uri(await invite(data / "signer"))
                await client.__aenter__()
                connected.append(client)
            took: list[float] = []
            before = cpu(signer)
            start = time.perf_counter()
            tasks = []
            for number in range(requests):
                for index, client in enumerate(connected):
                    tasks.append(asyncio.create_task(sign(client, f"{index} {number}", took)))
                    # Sent before the next is made: a loop that is busy for minutes misses pings.
                    await asyncio.sleep(0)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            seconds = time.perf_counter() - start
            used = cpu(signer) - before
        finally:
            for client in connected:
                await client.__aexit__(None, None, None)
        failed = [str(item) for item in outcomes if item is not None]
        return {
            "clients": clients,
            "requests": clients * requests,
            "answered": len(took),
            "failed": sorted(set(failed))[:5],
            "seconds": round(seconds, 1),
            "per_second": round(len(took) / seconds),
            "p50_s": round(quantile(took, 0.50), 3),
            "p99_s": round(quantile(took, 0.99), 3),
            "max_s": round(max(took), 3),
            "signer_ms": round(used / len(took) * 1e3, 3),
            **process_facts(signer),
            **signed(data / "signer"),
        }


async def soak(data: Path, seconds: float, clients: int, rate: float) -> dict[str, object]:
    """Sign `rate` notes a second for `seconds`; clients leave and come back all the time."""
    async with (
        running_relay(data / "relay", arguments=relay_config(data)) as relay,
        running_signer(data / "signer", [relay.url], arguments=UNLIMITED) as signer,
    ):
        end = time.monotonic() + seconds
        took: list[float] = []
        failed: list[str] = []
        samples: list[dict[str, int]] = []

        async def visit(number: int) -> None:
            """One client: pairs, works for a while, leaves, comes back with a new key."""
            while time.monotonic() < end:
                uri = await invite(data / "signer")
                peer = SecretKey.generate()
                try:
                    async with RemoteSigner.from_uri(uri) as client:
                        leave = min(end, time.monotonic() + random.uniform(20, 40))
                        while time.monotonic() < leave:
                            await sign(client, f"client {number}", took)
                            sealed = await client.nip44_encrypt(peer.pubkey, "hello")
                            assert await client.nip44_decrypt(peer.pubkey, sealed) == "hello"
                            await asyncio.sleep(3 * clients / rate)
                        await client.logout()
                except ClientError as error:
                    failed.append(str(error))

        async def watch() -> None:
            while time.monotonic() < end:
                samples.append(process_facts(signer))
                await asyncio.sleep(SAMPLE)

        await asyncio.gather(watch(), *(visit(number) for number in range(clients)))
        fifth = max(1, len(samples) // 5)
        early, late = samples[fifth : 2 * fifth], samples[-fifth:]
        return {
            "seconds": seconds,
            "signed": len(took),
            "requests": 3 * len(took),
            "failed": failed[:5],
            "p50_s": round(quantile(took, 0.50), 4),
            "p99_s": round(quantile(took, 0.99), 4),
            "rss_kib_early": round(statistics.median(item["rss_kib"] for item in early)),
            "rss_kib_late": round(statistics.median(item["rss_kib"] for item in late)),
            "handles_early": max(item["handles"] for item in early),
            "handles_late": max(item["handles"] for item in late),
            "database_kib": (data / "signer" / "signer.sqlite3").stat().st_size // 1024,
        }


def signed(data: Path) -> dict[str, int]:
    """Return how many signatures the audit log has, whole, and of how many events."""
    database = Database(data / FILE_NAME)
    try:
        with database.read() as connection:
            audit_log.check(connection)
            wanted = audit_log.AuditFilter(action="request", outcome="allowed")
            events = [entry.event_id for entry in audit_log.entries(connection, wanted)]
    finally:
        database.close()
    return {"signed": len(events), "signed_events": len(set(events))}


def cpu(signer: RunningSigner) -> float:
    """Return the seconds of processor time that the signer's process has used."""
    fields = Path(f"/proc/{signer.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def process_facts(signer: RunningSigner) -> dict[str, int]:
    """Return resident memory and open file handles of the signer's process."""
    base = Path(f"/proc/{signer.process.pid}")
    status = dict(line.split(":", 1) for line in (base / "status").read_text().splitlines())
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "handles": len(list((base / "fd").iterdir())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["burst", "soak"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60, help="requests a second (soak)")
    parser.add_argument("--limit", type=float, default=900, help="seconds that it may take at most")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        if given.mode == "burst":
            work = burst(data, given.clients, given.requests)
        else:
            work = soak(data, given.seconds, given.clients, given.rate)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(asyncio.wait_for(work, given.limit))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
