"""How a relay stops: on a signal, under load, with a broken database, and by force."""

import asyncio
import resource
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from bunker_core.keys import SecretKey
from bunker_relay.store.database.engine import Database, hold, open_engine
from bunker_relay.store.store import FILE
from support.postgres import PostgresServer
from support.wire import PATIENCE, Peer, Refused, Start, note, request


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_relay_stops_at_once(start: Start, number: signal.Signals) -> None:
    """The connection ends without a word, and the exit code is 0, at once.

    CLOSED would be the last word on a subscription, and a close frame on the connection, to
    clients that come back from a power cut: see tests/interop/test_restarts.py.
    """
    relay = start(config="shutdown_timeout = 60")  # what it would take if it waited for anything
    async with Peer(relay.url) as peer:
        await peer.subscribe("s", {"kinds": [1]})
        await peer.subscribe("t", {"#p": ["a" * 64]})
        started = time.monotonic()
        relay.process.send_signal(number)
        with pytest.raises(ConnectionClosed):
            await peer.next()
        assert await peer.close_code() == 1006
        assert await asyncio.to_thread(relay.stop) == 0
        assert time.monotonic() - started < 10  # 0.4 s where nothing else runs
    assert relay.log() == ""


async def test_a_burst_is_answered_before_the_end(start: Start) -> None:
    """SIGTERM in the middle of a burst: whatever got an OK is there after a restart."""
    relay = start()
    key = SecretKey.generate()
    acknowledged = set()
    async with Peer(relay.url) as peer:
        for number in range(300):
            await peer.send("EVENT", note(key, str(number)))
        first = await peer.next()
        relay.process.send_signal(signal.SIGTERM)
        acknowledged.add(first[1])
        with suppress(ConnectionClosed):
            while True:
                message = await peer.next()
                if message[0] == "OK" and message[2]:
                    acknowledged.add(message[1])
        assert peer.socket.close_code == 1006
    assert await asyncio.to_thread(relay.stop) == 0
    again = start(data=relay.data)
    async with Peer(again.url) as peer:
        kept = set(await peer.ids({"authors": [key.pubkey], "limit": 1_000}))
    assert acknowledged <= kept


async def test_a_client_that_does_not_read_does_not_delay_the_end(start: Start) -> None:
    """The farewell is bounded: a deaf client is dropped after `shutdown_timeout`."""
    relay = start(config="shutdown_timeout = 0.3")
    key = SecretKey.generate()
    deaf = Peer(relay.url, max_queue=1, close_timeout=0.1)
    async with Peer(relay.url) as sender, deaf:
        await deaf.subscribe("s", {"#p": [key.pubkey]})
        for number in range(60):  # more than the sockets take, less than the outbox
            await sender.publish(request(key, key.pubkey, f"{number:06}" * 20_000))
        started = time.monotonic()
        assert await asyncio.to_thread(relay.stop) == 0
        assert time.monotonic() - started < 10


async def test_every_acknowledged_event_survives_kill_9(
    start: Start, tmp_path: Path, stored: str, database: Database
) -> None:
    """Killed during writes, restarted: each event that got OK true is there, none is damaged."""
    relay = start(data=tmp_path, config=stored)
    key = SecretKey.generate()
    events = [note(key, str(number)) for number in range(2_000)]
    acknowledged: list[str] = []
    async with Peer(relay.url) as peer:

        async def publish() -> None:
            with suppress(ConnectionClosed):
                for event in events:
                    await peer.send("EVENT", event)

        async def listen() -> None:
            with suppress(ConnectionClosed):
                while True:
                    message = await peer.next()
                    if message[0] == "OK" and message[2]:
                        acknowledged.append(message[1])
                    if len(acknowledged) == 200:
                        relay.process.kill()

        await asyncio.gather(publish(), listen())
    relay.process.wait(PATIENCE)
    assert 200 <= len(acknowledged) < 2_000
    again = start(data=tmp_path, config=stored)
    async with Peer(again.url) as peer:
        kept = set(await peer.ids({"authors": [key.pubkey], "limit": 5_000}))
        assert set(acknowledged) <= kept
        assert kept <= {event.id for event in events}
        fresh = note(key, "after")
        assert await peer.publish(fresh) == (True, "")
    if isinstance(database, Path):
        with closing(sqlite3.connect(database)) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_locked_database_refuses_what_it_would_store(
    start: Start, tmp_path: Path, stored: str, database: Database
) -> None:
    """Stored kinds get OK false `error:`; signing, and reading, do not notice."""
    relay = start(data=tmp_path, config=f"{stored}store.busy_timeout = 0.1")
    key = SecretKey.generate()
    async with Peer(relay.url) as peer:
        before = note(key, "before")
        assert await peer.publish(before) == (True, "")
        engine = open_engine(database, writes=True)
        with engine.begin() as connection:
            hold(connection)
            await peer.subscribe("s", {"#p": [key.pubkey]})
            stuck = note(key, "stuck")
            await peer.send("EVENT", stuck)
            assert await peer.publish(request(key, key.pubkey)) == (True, "")  # overtakes it
            assert await peer.ids({"authors": [key.pubkey]}) == [before.id]
            assert await peer.ok(stuck.id) == (False, "error: database is locked")
        engine.dispose()
        assert await peer.publish(stuck) == (True, "")


async def test_a_lost_database_refuses_what_it_would_store(
    start: Start, postgres: PostgresServer
) -> None:
    """While the server is gone stored kinds and queries get `error:`; after it, as before.

    Signing does not notice, and no client learns where the database is.
    """
    relay = start(config=f'database = "{postgres.fresh_url()}"')
    key = SecretKey.generate()
    async with Peer(relay.url) as peer:
        before = note(key, "before")
        assert await peer.publish(before) == (True, "")
        await peer.subscribe("s", {"#p": [key.pubkey]})
        postgres.stop()
        try:
            lost = note(key, "lost")
            assert await peer.publish(lost) == (False, "error: database is not available")
            assert await peer.publish(request(key, key.pubkey)) == (True, "")
            with pytest.raises(Refused, match=r"^CLOSED error: database is not available$"):
                await peer.ids({"authors": [key.pubkey]})
        finally:
            postgres.start()
        assert await peer.publish(lost) == (True, "")
        assert set(await peer.ids({"authors": [key.pubkey], "kinds": [1]})) == {before.id, lost.id}
    assert "Traceback" not in relay.log()


async def test_a_flood_of_stored_events_is_read_no_further(start: Start) -> None:
    """With `max_pending_saves` unanswered, a connection waits; others do not."""
    relay = start(config="store.busy_timeout = 1\nlimits.max_pending_saves = 5")
    key = SecretKey.generate()
    async with Peer(relay.url) as flooder, Peer(relay.url) as other:
        with closing(sqlite3.connect(relay.data / FILE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            stored = [note(key, str(number)) for number in range(6)]
            for event in stored:
                await flooder.send("EVENT", event)
            last = note(key, kind=20001)
            await flooder.send("EVENT", last)
            assert (await other.publish(note(key, "2", kind=20001)))[0]
            assert (await flooder.next())[:3] == ["OK", stored[0].id, False]
        assert (await flooder.ok(last.id))[0]


async def test_a_full_disk_refuses_what_it_would_store(start: Start) -> None:
    """When no more can be written, stored kinds get `error:` and signing goes on."""
    relay = start()
    key = SecretKey.generate()
    resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))
    async with Peer(relay.url) as peer:
        replies = [await peer.publish(note(key, "x" * 50_000 + str(n))) for n in range(20)]
        assert replies[0] == (True, "")
        assert not replies[-1][0]
        assert replies[-1][1].startswith("error:")
        await peer.subscribe("s", {"#p": [key.pubkey]})
        assert await peer.publish(request(key, key.pubkey)) == (True, "")
        kept = len(await peer.ids({"authors": [key.pubkey]}))
        assert kept == len([ok for ok, _ in replies if ok])


async def test_a_locked_database_does_not_delay_the_end_for_ever(start: Start) -> None:
    """With the database locked the relay still stops in bounded time."""
    relay = start(config="store.busy_timeout = 0.5\nshutdown_timeout = 0.5")
    key = SecretKey.generate()
    async with Peer(relay.url) as peer:
        database = sqlite3.connect(relay.data / FILE, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        for number in range(250):
            await peer.send("EVENT", note(key, str(number)))
        assert (await peer.publish(request(key, key.pubkey)))[0]
        started = time.monotonic()
        assert await asyncio.to_thread(relay.stop) == 0
        assert time.monotonic() - started < 10
        database.close()


async def test_sighup_reloads_lists_and_limits(start: Start) -> None:
    """Limits and signers change for open connections too; a wrong file keeps the old ones."""
    relay = start(config="limits.max_subscriptions = 1")
    file = relay.data.with_suffix(".toml")
    signer = SecretKey.generate()
    async with Peer(relay.url) as peer:
        file.write_text(f'signers = ["{signer.pubkey}"]\nlimits.max_subscriptions = 5')
        relay.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while (await peer.publish(request(signer, "a" * 64)))[0]:
            other = request(SecretKey.generate(), "a" * 64, str(time.monotonic()))
            if not (await peer.publish(other))[0]:
                break
            assert time.monotonic() < end
        for number in range(5):
            assert await peer.subscribe(str(number), {"limit": 0}) == []
        file.write_text("limits.max_subscriptions = 0")
        relay.process.send_signal(signal.SIGHUP)
        while "limits.max_subscriptions = 0" not in relay.log():
            assert time.monotonic() < end
            await peer.unread()
        assert await peer.subscribe("0", {"limit": 0}) == []
    assert "kept the old configuration" in relay.log()


def test_the_relay_is_a_process_of_its_own(start: Start) -> None:
    """It starts no helpers that could be left behind."""
    relay = start()
    assert (relay.proc / "task" / str(relay.process.pid) / "children").read_text() == ""


async def test_sighup_keeps_what_is_bound(start: Start) -> None:
    """A reload can't change profile `bunker` or the message size; it does not break on it."""
    relay = start(config='profile = "bunker"\nname = "before"')
    file = relay.data.with_suffix(".toml")
    file.write_text(
        'profile = "open"\nname = "after"\nlimits.max_message_bytes = 2048'
        "\nlimits.max_signing_bytes = 2048"
    )
    relay.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(headers={"Accept": "application/nostr+json"}) as http:
        while (document := (await http.get(relay.http_url)).json())["name"] != "after":
            assert time.monotonic() < end
    assert document["limitation"]["max_message_length"] == 1_048_576
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(SecretKey.generate())))[1].startswith("blocked:")
        assert await peer.subscribe("s", {"kinds": [1]}) == []
