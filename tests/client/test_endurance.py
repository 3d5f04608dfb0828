"""Requests by the hundred through a relay that is killed and restarted every two seconds.

BUNKER_TEST_REQUESTS=1000 makes it a thousand, which takes up to two minutes.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bunker.harness import RunningRelay, running_relay
from bunker_client import RemoteSigner
from bunker_core.nip46 import Permission

REQUESTS = int(os.environ.get("BUNKER_TEST_REQUESTS", "200"))
AT_ONCE = 8
UP_TIME = 2.0  # seconds from start to kill
DEADLINE = 60.0 + 0.2 * REQUESTS  # seconds for all of it


async def restart_forever(data: Path, first: RunningRelay, kills: list[float]) -> None:
    """Kill the relay every two seconds and start it again on its port."""
    port = int(first.url.rpartition(":")[2])
    await asyncio.sleep(UP_TIME)
    await first.kill()
    while True:
        kills.append(time.monotonic())
        async with running_relay(data, port=port) as relay:
            await asyncio.sleep(UP_TIME)
            await relay.kill()


@asynccontextmanager
async def logged_signer(data: Path, relay: str, log: Path) -> AsyncIterator[str]:
    """Run a signer that logs each request; yields its bunker:// URI."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "signer", "run", "--verbose"),
            *("--data", str(data), "--relay", relay, "--allow", "sign_event:1"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
        try:
            assert process.stdout
            async for line in process.stdout:
                if line.startswith(b"bunker://"):
                    yield line.decode().strip()
                    break
        finally:
            process.terminate()
            await process.communicate()


async def test_every_request_through_a_relay_that_keeps_dying_is_answered_once(
    tmp_path: Path,
) -> None:
    """Every request is answered, with its own event, and the key is used once for each."""
    kills: list[float] = []
    log = tmp_path / "log"
    async with (
        asyncio.timeout(DEADLINE),
        running_relay(tmp_path / "relay") as relay,
        logged_signer(tmp_path / "signer", relay.url, log) as uri,
        RemoteSigner.from_uri(
            uri, permissions=[Permission("sign_event", "1")], timeout=30, approval_timeout=60
        ) as app,
    ):
        killer = asyncio.create_task(restart_forever(tmp_path / "relay", relay, kills))
        turns = asyncio.Semaphore(AT_ONCE)
        longest = 0.0

        async def ask(number: int) -> str:
            nonlocal longest
            async with turns:
                start = time.monotonic()
                event = await app.sign_event({"kind": 1, "content": str(number)})
                longest = max(longest, time.monotonic() - start)
                return event.content

        start = time.monotonic()
        try:
            contents = await asyncio.gather(*map(ask, range(REQUESTS)))
        finally:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        took = time.monotonic() - start
    assert contents == [str(number) for number in range(REQUESTS)]
    used = len(re.findall(r"sign_event for client \w+: done", log.read_text()))
    print(
        f"{REQUESTS} requests in {took:.1f} s, relay killed {len(kills)} times, "
        f"slowest {longest:.1f} s, key used {used} times"
    )
    assert kills
    assert used == REQUESTS
