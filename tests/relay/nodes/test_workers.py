"""Several workers as one relay: what one process promises holds for all of them together."""

import asyncio
import json
import os
import re
import secrets
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from bunker_core.keys import SecretKey
from bunker_relay.nodes.workers import _ALIVE, _READY, BEAT, Supervisor, _Child
from bunker_relay.store.store import FILE
from relay.support.admin import ADMIN, RPC, authorization, call
from support.wire import PATIENCE, Peer, RelayProcess, Start, note, request, running_relay

CONFIG = """
workers = 2
metrics.port = 0
log.format = "json"
[rates]
events_per_ip = {per_second = 100000, burst = 100000}
events_per_pubkey = {per_second = 100000, burst = 100000}
"""


def metrics(relay: RelayProcess) -> dict[str, dict[str, float]]:
    """Return every figure by name, then by worker."""
    port = next(json.loads(line)["port"] for line in relay.log().splitlines() if '"port"' in line)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found: dict[str, dict[str, float]] = {}
    for name, worker, value in re.findall(r'^(\w+)\{worker="(\d+)"\} (\S+)$', text, re.MULTILINE):
        found.setdefault(name, {})[worker] = float(value)
    return found


def workers(relay: RelayProcess) -> set[int]:
    """Return the process ids of the workers."""
    pid = relay.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def on_each_worker(relay: RelayProcess, stack: AsyncExitStack) -> list[Peer]:
    """Return a client of every worker: worker 0 first."""
    found: dict[str, Peer] = {}
    async with asyncio.timeout(PATIENCE):
        while len(found) < 2:
            before = metrics(relay)["bunker_relay_connections_total"]
            peer = await stack.enter_async_context(Peer(relay.url))
            await peer.hear_challenge()
            after = metrics(relay)["bunker_relay_connections_total"]
            (worker,) = (name for name in after if after[name] > before.get(name, 0))
            found.setdefault(worker, peer)
    return [found["0"], found["1"]]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay with two workers and an owner."""
    data = tmp_path_factory.mktemp("workers") / "data"
    with running_relay(data, "--admin", ADMIN.pubkey, config=CONFIG) as relay:
        yield relay


@pytest.fixture
async def pair(relay: RelayProcess) -> AsyncIterator[list[Peer]]:
    """A client of each worker."""
    async with AsyncExitStack() as stack:
        yield await on_each_worker(relay, stack)


def _to(key: SecretKey, **more: Any) -> dict[str, Any]:
    return {"kinds": [24133], "#p": [key.pubkey], "limit": 0, **more}


async def test_who_subscribed_elsewhere_counts_as_listening(pair: list[Peer]) -> None:
    """OK says mute only when nobody on any worker got it, and duplicate when they had it."""
    one, two = pair
    key = SecretKey.generate()
    event = request(SecretKey.generate(), key.pubkey)
    assert await one.publish(event) == (True, "mute: no one is listening")
    await two.subscribe("s", _to(key))
    assert await one.publish(event) == (True, "")  # nobody has had it yet
    assert (await two.delivered("s"))["id"] == event.id
    for peer in pair:
        assert (await peer.publish(event))[1].startswith("duplicate:")
    assert await two.unread() == []
    late = request(key, key.pubkey)
    await two.subscribe("s", _to(key, since=int(time.time()) + 1_000))
    assert await one.publish(late) == (True, "mute: no one is listening")


async def test_a_repeated_request_reaches_only_newer_subscriptions(pair: list[Peer]) -> None:
    """On whichever worker they are, and whichever worker it comes to."""
    one, two = pair
    key = SecretKey.generate()
    event = request(SecretKey.generate(), key.pubkey)
    await one.subscribe("old", _to(key))
    await two.subscribe("old", _to(key))
    assert await two.publish(event) == (True, "")
    # Somebody got it where it came to, so OK did not wait for the other worker.
    assert (await one.delivered("old"))["id"] == event.id
    await one.subscribe("new", _to(key))
    assert await two.publish(event) == (True, "")
    assert (await one.delivered("new"))["id"] == event.id
    assert await one.unread() == []
    assert [m[1] for m in await two.unread()] == ["old"]


async def test_stored_events_reach_every_worker_once(pair: list[Peer]) -> None:
    """Live on the other worker, found by its queries, and a duplicate for it."""
    one, two = pair
    key = SecretKey.generate()
    await two.subscribe("s", {"authors": [key.pubkey]})
    event = note(key)
    assert await one.publish(event) == (True, "")
    assert (await two.delivered("s"))["id"] == event.id
    assert (await two.publish(event))[1].startswith("duplicate:")
    assert await two.ids({"authors": [key.pubkey]}) == [event.id]
    assert await two.unread() == []


async def test_nothing_is_missed_or_doubled_between_stored_and_live(pair: list[Peer]) -> None:
    """Subscriptions on one worker while the other stores: each event comes exactly once."""
    one, two = pair
    key = SecretKey.generate()
    wanted = [secrets.token_hex(32) for _ in range(15)]  # each a topic that nobody knew before
    tags = tuple(("p", pubkey) for pubkey in wanted)
    events = [note(key, str(number), tags=tags) for number in range(60)]

    async def publish() -> None:
        for event in events:
            assert (await one.publish(event))[0]

    async def subscribe() -> None:
        for pubkey in wanted:
            await two.send("REQ", pubkey, {"#p": [pubkey]})
            await two.until(lambda m, name=pubkey: m[:2] == ["EOSE", name])  # type: ignore[misc]

    await asyncio.gather(publish(), subscribe())
    got: dict[str, list[str]] = {pubkey: [] for pubkey in wanted}
    for message in await two.unread():
        if message[0] == "EVENT":
            got[message[1]].append(message[2]["id"])
    for found in got.values():
        assert sorted(found) == sorted(event.id for event in events)


async def test_ready_through_the_gate_of_every_worker(start: Start) -> None:
    """The probe's two connections may be on any workers, and all let its throw-away key through."""
    relay = start("--signer", ADMIN.pubkey, config=CONFIG)
    for _ in range(4):
        reply = await asyncio.to_thread(httpx.get, relay.http_url + "/readyz")
        assert (reply.status_code, reply.json()["ready"]) == (200, True)
    for _ in range(2):
        async with AsyncExitStack() as stack:
            one, _ = await on_each_worker(relay, stack)
            stranger = request(SecretKey.generate(), SecretKey.generate().pubkey)
            assert (await one.publish(stranger))[1].startswith("restricted:")


async def test_the_owners_word_holds_on_every_worker(relay: RelayProcess, pair: list[Peer]) -> None:
    """A ban, an authorization that was used, and the figures are those of all workers."""
    spammer = SecretKey.generate()
    assert call(relay, "banpubkey", spammer.pubkey, "spam") is True
    for peer in pair:
        assert (await peer.publish(note(spammer)))[1].startswith("blocked:")
    for _ in range(2):
        listed = call(relay, "listbannedpubkeys")
        assert {"pubkey": spammer.pubkey, "reason": "spam"} in listed
    clients = call(relay, "stats")["connections_open"]
    assert clients >= 2
    page = (await asyncio.to_thread(httpx.get, relay.http_url)).text
    assert f"{clients:.0f} clients are connected" in page
    body = b'{"method":"supportedmethods","params":[]}'
    # Each call on a connection of its own, hence on any worker.
    headers = {"Content-Type": RPC, "Connection": "close"}
    headers["Authorization"] = authorization(body, relay.http_url)
    async with httpx.AsyncClient() as client:
        replies = [
            await client.post(relay.http_url, content=body, headers=headers) for _ in range(8)
        ]
    assert [reply.status_code for reply in replies] == [200] + [401] * 7


async def test_what_waits_for_a_signer_is_handed_to_another_worker(start: Start) -> None:
    """A request that one worker holds goes to whoever wakes up at another, once."""
    relay = start(config=CONFIG + "[grace]\nseconds = 60")
    key = SecretKey.generate()
    events = [request(SecretKey.generate(), key.pubkey) for _ in range(3)]
    async with AsyncExitStack() as stack:
        one, two = await on_each_worker(relay, stack)
        for event in events:
            assert "held" in (await one.publish(event))[1]
        await two.subscribe("later", _to(key, since=int(time.time()) + 1_000))  # not for these
        await two.send("REQ", "s", _to(key))  # they come before EOSE or after it
        assert [(await two.delivered("s"))["id"] for _ in events] == [e.id for e in events]
        assert await one.subscribe("s", _to(key)) == []
        assert await one.unread() == []


async def test_a_dead_worker_is_started_again(start: Start) -> None:
    """Clients of the other workers notice nothing, and hear those of the new one."""
    relay = start(config=CONFIG)
    key = SecretKey.generate()
    async with AsyncExitStack() as stack:
        one, two = await on_each_worker(relay, stack)
        await one.subscribe("s", _to(key))
        before = workers(relay)
        assert len(before) == 2
        os.kill(max(before), signal.SIGKILL)
        assert await two.close_code() == 1006
        async with asyncio.timeout(PATIENCE):
            while len(workers(relay)) < 2 or workers(relay) == before:
                await asyncio.to_thread(httpx.get, relay.http_url + "/healthz", timeout=PATIENCE)
        _, again = await on_each_worker(relay, stack)
        event = request(SecretKey.generate(), key.pubkey)
        assert await again.publish(event) == (True, "")
        assert (await one.delivered("s"))["id"] == event.id
        await again.subscribe("s", _to(ADMIN))
        assert await one.publish(request(key, ADMIN.pubkey)) == (True, "")
    assert "is started again" in relay.log()


async def test_every_acknowledged_event_survives_the_death_of_its_worker(start: Start) -> None:
    """Both workers write and are killed in turn: whatever got OK true is there, undamaged."""
    relay = start(config=CONFIG)
    key = SecretKey.generate()
    acknowledged: set[str] = set()

    async def publish(peer: Peer, number: int) -> None:
        with suppress(ConnectionClosed):
            for count in range(400):
                event = note(key, f"{number} {count}")
                if await peer.publish(event) == (True, ""):
                    acknowledged.add(event.id)
                if number == 1 and count == 60:
                    for worker in workers(relay):
                        os.kill(worker, signal.SIGKILL)

    async with AsyncExitStack() as stack:
        pair = await on_each_worker(relay, stack)
        await asyncio.gather(*(publish(peer, number) for number, peer in enumerate(pair)))
    assert len(acknowledged) >= 60
    await asyncio.to_thread(relay.stop)
    with closing(sqlite3.connect(relay.data / FILE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = {row[0].hex() for row in database.execute("SELECT id FROM events")}
    assert acknowledged <= kept


async def test_sighup_reaches_every_worker(start: Start) -> None:
    """Also one that is started later has the new configuration."""
    relay = start(config=CONFIG)
    config = relay.data.with_suffix(".toml")
    config.write_text(CONFIG + "[limits]\nmax_filters = 1")
    relay.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while relay.log().count("reloaded") < 2:
            await asyncio.to_thread(httpx.get, relay.http_url + "/healthz")
    before = workers(relay)
    os.kill(max(before), signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while relay.log().count("reloaded") < 3:
            await asyncio.to_thread(httpx.get, relay.http_url + "/healthz", timeout=PATIENCE)
    async with AsyncExitStack() as stack:
        for peer in await on_each_worker(relay, stack):
            await peer.send("REQ", "s", {"kinds": [1]}, {"kinds": [2]})
            assert (await peer.next())[2] == "invalid: more than 1 filters"


async def test_sigterm_ends_them_all(start: Start) -> None:
    """Every connection ends, and no process is left."""
    relay = start(config=CONFIG)
    async with AsyncExitStack() as stack:
        pair = await on_each_worker(relay, stack)
        for peer in pair:
            await peer.subscribe("s", _to(ADMIN))
        before = workers(relay)
        stopping = asyncio.create_task(asyncio.to_thread(relay.stop))
        for peer in pair:
            assert await peer.close_code() == 1006
        assert await stopping == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in before)


async def test_a_worker_that_hangs_is_started_again(start: Start) -> None:
    """The log says how long it was silent; clients of the other notice nothing."""
    relay = start(config=CONFIG)
    async with AsyncExitStack() as stack:
        await on_each_worker(relay, stack)
        other, hung = sorted(workers(relay))  # the first worker serves the metrics
        handle = os.pidfd_open(hung)
        os.kill(hung, signal.SIGSTOP)
        ended = await asyncio.to_thread(lambda: select.select([handle], [], [], PATIENCE)[0])
        os.close(handle)
        assert ended
        await on_each_worker(relay, stack)
        assert other in workers(relay)
        assert hung not in workers(relay)
    (line,) = (line for line in relay.log().splitlines() if "a worker does not answer" in line)
    assert json.loads(line)["silent_seconds"] >= 8


def test_a_worker_that_hangs_is_noticed_within_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parent's clock, wherever between two signs of life it stopped; none that lives is."""
    now, killed = 100.0, list[tuple[int, int]]()
    monkeypatch.setattr("bunker_relay.nodes.workers.time.monotonic", lambda: now)
    monkeypatch.setattr("bunker_relay.nodes.workers.os.kill", lambda *call: killed.append(call))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        supervisor = Supervisor(lambda _: None, [ours], tmp_path, 5.0, lambda: None)
        child = supervisor._children[0] = _Child(12_345, ours, now, now)
        for word in (_READY, _ALIVE, _ALIVE):
            now += BEAT
            theirs.send(word)
            supervisor._hear((0, child))
            supervisor._act()
        hung = now  # at the earliest; at the latest a beat after
        while not killed:
            wait = supervisor._wait()
            assert wait is not None
            now += wait
            supervisor._act()
    assert killed == [(12_345, signal.SIGKILL)]
    assert now - hung <= 10


def test_workers_end_with_their_parent(start: Start) -> None:
    """Also when it is killed, and then another relay may have the directory."""
    relay = start(config=CONFIG)
    pids = workers(relay)
    handles = [os.pidfd_open(pid) for pid in pids]
    relay.process.kill()
    for handle in handles:
        assert select.select([handle], [], [], PATIENCE)[0]
        os.close(handle)
    again = start(config=CONFIG, data=relay.data)
    assert httpx.get(again.http_url + "/healthz").text == "ok\n"


def test_the_sockets_are_for_the_owner_alone(relay: RelayProcess) -> None:
    """The directory has mode 0700."""
    folder = relay.data / "workers"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]


def test_what_cant_start_says_so_once(tmp_path: Path) -> None:
    """A damaged database, and a port in use: one line, exit code 1, no process left."""
    command = [sys.executable, "-c", "from bunker_relay.cli import relay; relay()", "run"]
    (tmp_path / FILE).write_bytes(b"junk" * 1000)
    result = subprocess.run(
        [*command, "--port", "0", "--workers", "2", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.strip().splitlines()
    assert "database" in line


def test_a_port_that_another_relay_shares_is_in_use(relay: RelayProcess, tmp_path: Path) -> None:
    """Sockets that share a port would hide the other relay; it is found all the same."""
    command = [sys.executable, "-c", "from bunker_relay.cli import relay; relay()", "run"]
    result = subprocess.run(
        [*command, "--port", str(relay.port), "--workers", "2", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 1
    assert "is in use" in result.stderr
