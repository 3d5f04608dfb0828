"""Requests by the hundred through a relay that is killed and restarted every two seconds.

BUNKER_TEST_REQUESTS=1000 makes it a thousand.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path

from bunker.harness import RunningRelay, running_relay, running_signer
from bunker_client import RemoteSigner

REQUESTS = int(os.environ.get("BUNKER_TEST_REQUESTS", "200"))
KILLS = 3  # at least; a fast machine goes on asking until then
AT_ONCE = 8
UP_TIME = 2.0  # seconds from start to kill
DEADLINE = 60.0 + 0.2 * REQUESTS  # seconds for all of it


async def restart_forever(data: Path, first: RunningRelay, kills: list[float]) -> None:
    """Kill the relay every two seconds and start it again on its port."""
    port = first.port
    await asyncio.sleep(UP_TIME)
    await first.kill()
    while True:
        kills.append(time.monotonic())
        async with running_relay(data, port=port) as relay:
            await asyncio.sleep(UP_TIME)
            await relay.kill()


async def signatures(data: Path) -> list[str]:
    """Return the event ids that the signer's own audit log says it signed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", "signer", "audit", "--data", str(data)),
        *("--method", "sign_event", "--outcome", "allowed", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return [json.loads(line)["event_id"] for line in out.splitlines()]


async def test_every_request_through_a_relay_that_keeps_dying_is_answered_once(
    tmp_path: Path,
) -> None:
    """Every request is answered, with its own event, and the key is used once for each."""
    kills: list[float] = []
    numbers = itertools.count()
    events: dict[int, str] = {}
    longest = 0.0

    async with (
        asyncio.timeout(DEADLINE),
        running_relay(tmp_path / "relay") as relay,
        running_signer(
            tmp_path / "signer",
            [relay.url],
            allow="sign_event:1",
            arguments=("--client-rate", "100000"),  # one client asks as fast as it is answered
        ) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=30, approval_timeout=60) as app,
    ):

        async def ask_on() -> None:
            nonlocal longest
            while len(events) < REQUESTS or len(kills) < KILLS:
                number = next(numbers)
                start = time.monotonic()
                event = await app.sign_event({"kind": 1, "content": str(number)})
                longest = max(longest, time.monotonic() - start)
                assert event.content == str(number)
                assert number not in events
                events[number] = event.id

        killer = asyncio.create_task(restart_forever(tmp_path / "relay", relay, kills))
        start = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(ask_on())
        finally:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        took = time.monotonic() - start
    made = await signatures(tmp_path / "signer")
    print(
        f"{len(events)} requests in {took:.1f} s, relay killed {len(kills)} times, "
        f"slowest {longest:.1f} s, key used {len(made)} times"
    )
    assert sorted(events) == list(range(len(events)))
    assert sorted(made) == sorted(events.values())
