"""What the owner can mend is said: once in the log, and in /readyz for as long as it lasts."""

import asyncio
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from bunker_core.keys import SecretKey
from bunker_relay.event import clock as clock_module
from bunker_relay.event.clock import NAME, Clock
from bunker_relay.store.store import FILE
from bunker_relay.store.tools.transfer import import_events
from bunker_relay.troubles import Troubles
from support.require import need
from support.wire import PATIENCE, Peer, Refused, RelayProcess, Start, note, request

DAY = 86_400
KEY, SIGNER = SecretKey.generate(), SecretKey.generate()


async def _ready(relay: RelayProcess) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient() as http:
        reply = await http.get(relay.http_url + "/readyz")
        return reply.status_code, reply.json()


async def _until(relay: RelayProcess, status: int) -> dict[str, Any]:
    """Wait for a status of /readyz and return what it says."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found, body = await _ready(relay)
            if found == status:
                return body


async def test_a_full_disk(start: Start) -> None:
    """Signing goes on; the log says it once however many events are refused, readiness until it
    is over, which the relay sees by itself.
    """
    relay = start()
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    async with Peer(relay.url) as peer:
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (300_000, unlimited[1]))
        replies = [await peer.publish(note(KEY, "x" * 50_000 + str(n))) for n in range(12)]
        assert [ok for ok, _ in replies[-3:]] == [False] * 3
        body = await _until(relay, 503)
        assert body["ready"] is False
        assert "can't be written" in body["troubles"]["database"]["fact"]
        assert "free space" in body["troubles"]["database"]["advice"]
        assert relay.log().count("can't be written") == 1
        assert await peer.publish(request(KEY, KEY.pubkey)) == (True, "mute: no one is listening")
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert "troubles" not in await _until(relay, 200)
        assert relay.log().count("this trouble is over") == 1
        assert (await peer.publish(note(KEY, "again")))[0]


def _start_of(data: Path, *wrapper: str) -> str:
    """Run a relay that is expected not to start; return what it says."""
    code = "from bunker_relay.cli import relay; relay()"
    command = [*wrapper, sys.executable, "-c", code, "run", "--port", "0", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_database_that_may_not_be_written_ends_the_start(start: Start) -> None:
    """It was taken until the first event before."""
    relay = start()
    relay.stop()
    wrapper: tuple[str, ...] = ()
    if os.geteuid() == 0:  # whom no mode holds up, unless that right is given away
        need(shutil.which("setpriv"), "setpriv (util-linux)")
        wrapper = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    (relay.data / FILE).chmod(0o444)
    assert "readonly database" in _start_of(relay.data, *wrapper)


@pytest.mark.parametrize("share", [0.3, 0.7])
async def test_a_damaged_database_ends_the_start(start: Start, share: float) -> None:
    """Damage in the middle of the file; the line names the command that helps."""
    relay = start()
    async with Peer(relay.url) as peer:
        for number in range(20):
            await peer.publish(note(KEY, f"{number:06}" * 1_000))
    relay.stop()
    with (relay.data / FILE).open("r+b") as file:
        file.seek(int((relay.data / FILE).stat().st_size * share))
        file.write(b"\xff" * 20_000)
    line = await asyncio.to_thread(_start_of, relay.data)
    assert "damaged" in line or "malformed" in line
    assert "bunker relay salvage" in line


async def test_a_clock_that_starts_in_the_past(start: Start) -> None:
    """The relay was at work later than now: it says how far behind, until an event agrees."""
    relay = start()
    relay.stop()
    ahead = time.time() + 30 * DAY
    os.utime(relay.data / "lock", (ahead, ahead))
    relay = start(data=relay.data)
    body = await _until(relay, 503)
    assert "clock is 30 days behind" in body["troubles"]["clock"]["fact"]
    assert "timedatectl" in relay.log()
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(KEY)))[0]
    await _until(relay, 200)
    relay.stop()
    assert (relay.data / "lock").stat().st_mtime < time.time() + 1
    assert relay.log().count("30 days behind") == 1


def test_a_clock_that_is_behind_at_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be earlier than the program was installed; nobody else could make that up."""
    troubles = Troubles()
    installed = tmp_path / "program"
    installed.touch()
    os.utime(installed, (40 * DAY, 40 * DAY))
    monkeypatch.setattr(clock_module, "WITNESSES", ((installed, "by when it was installed"),))
    Clock(troubles, tmp_path / "lock", 900).begin(40 * DAY - 900.0)
    assert not troubles
    Clock(troubles, tmp_path / "lock", 900).begin(10 * DAY)
    assert not troubles.ready
    assert "clock is 30 days behind, by when it was" in troubles.to_dict()["clock"]["fact"]


async def test_a_clock_that_its_own_signer_contradicts(start: Start) -> None:
    """Strangers are logged and no more: they could make any relay unready."""
    relay = start("--signer", SIGNER.pubkey)
    later = int(time.time()) + 30 * DAY
    async with Peer(relay.url) as peer:
        event = note(SIGNER, kind=24133, tags=(("p", KEY.pubkey),), created_at=later)
        assert (await peer.publish(event))[1].startswith("invalid: created_at")
        body = await _until(relay, 503)
        assert "clock is 30 days behind, by one of its own" in body["troubles"]["clock"]["fact"]
        await peer.publish(request(KEY, SIGNER.pubkey))
        assert (await _ready(relay))[0] == 503  # a stranger does not settle it
        await peer.publish(request(SIGNER, KEY.pubkey))
    await _until(relay, 200)


def test_what_strangers_say_of_the_clock(tmp_path: Path) -> None:
    """Three of one opinion are a line in the log; forgeries and repetitions are not."""
    troubles = Troubles()
    clock = Clock(troubles, tmp_path / "lock", 900)
    keys = [SecretKey.generate() for _ in range(3)]
    events = [note(key, created_at=30 * DAY) for key in keys]
    forged = note(SecretKey.generate(), created_at=30 * DAY).to_dict() | {"content": "x"}
    for number, event in enumerate([events[0], events[0], events[1], _parsed(forged)]):
        clock.from_the_future(event, frozenset(), number * 2.0)
    clock.from_the_future(events[2], frozenset(), 6.5)  # within the second of the forged one
    assert not troubles
    clock.from_the_future(events[2], frozenset(), 8.0)
    assert troubles.has(NAME)
    assert troubles.ready
    clock.agrees(note(keys[0], created_at=10), frozenset(), 8.0)
    assert not troubles


def _parsed(value: dict[str, Any]) -> Any:
    from bunker_core.event import parse_event

    return parse_event(value)


async def test_a_proxy_that_is_not_trusted(start: Start) -> None:
    """Once, in words, with the setting that helps; the relay is ready all the same."""
    relay = start()
    for _ in range(2):
        headers = {"X-Forwarded-For": "192.0.2.1"}
        async with Peer(relay.url, additional_headers=headers) as peer:
            await peer.subscribe("s", {"limit": 0})
    body = await _until(relay, 200)
    assert "trusted_proxies" in body["troubles"]["proxy"]["advice"]
    assert relay.log().count("trusted_proxies") == 1
    trusting = start(config='trusted_proxies = ["127.0.0.1"]')
    async with Peer(trusting.url, additional_headers=headers) as peer:
        await peer.subscribe("s", {"limit": 0})
    assert "troubles" not in await _until(trusting, 200)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_systemd_hears_that_it_is_ready_and_lives(
    start: Start, tmp_path: Path, workers: str
) -> None:
    """READY=1 when clients can connect, then a sign of life every second, for WatchdogSec=10."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}
        relay = start("--workers", workers, environ=environ)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            said = [await loop.sock_recv(channel, 100) for _ in range(6)]
            assert b"READY=1" in said
            while await loop.sock_recv(channel, 100) != b"WATCHDOG=1":
                pass
        assert relay.process.poll() is None


async def test_damage_that_a_query_meets(start: Start) -> None:
    """A large file is not read through at the start: what a query finds of it is said then."""
    relay = start()
    relay.stop()
    texts = (note(KEY, f"{number:05}" * 50_000).to_json() for number in range(140))
    for _ in import_events(relay.data / FILE, enumerate(texts)):
        pass
    size = (relay.data / FILE).stat().st_size
    assert size > 33_554_432
    with (relay.data / FILE).open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 4_000_000)
    relay = start(data=relay.data)
    async with Peer(relay.url) as peer:
        with pytest.raises((Refused, ConnectionClosed)):
            await peer.ids({"authors": [KEY.pubkey], "limit": 140})
    body = await _until(relay, 503)
    assert "bunker relay salvage" in body["troubles"]["damage"]["advice"]
    assert relay.log().count("the database is damaged") == 1
