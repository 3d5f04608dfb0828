"""One connection to a relay in this process: what it still does for a client, and when no more."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from bunker_relay.client import answers, connection
from bunker_relay.config import Config, Limits
from bunker_relay.logs import log
from bunker_relay.relay import Relay
from bunker_relay.store.outcome import PAGE_BYTES
from relay.store._saving import save
from relay.support.clients import Client, Disk, Slow, written
from support.wire import PATIENCE, note


async def settle() -> None:
    """Let everything happen that waits for nobody."""
    for _ in range(20):
        await asyncio.sleep(0)


def log_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is logged from now on, but for its details."""
    logged: list[str] = []
    monkeypatch.setattr(log, "info", lambda fact, **_: logged.append(fact))
    return logged


@pytest.mark.parametrize("asked", [{"kinds": [1]}, {"kinds": [24133], "limit": 0}])
@pytest.mark.parametrize("ends", [["CLOSE", "s"], ["REQ", "s", {"kinds": [7, 7_000]}]])
async def test_nothing_is_said_to_a_subscription_that_has_ended(
    tmp_path: Path, asked: dict[str, Any], ends: list[Any]
) -> None:
    """No event and no EOSE after CLOSE; one EOSE when its id is used again."""
    relay, bus = Relay(Config(data=tmp_path)), Slow()
    relay.parts = replace(relay.parts, bus=bus)
    await save(relay.store, note(SecretKey.generate()))
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.send("REQ", "s", asked)
        await bus.until(lambda: bus.waiting == 1)
        client.send(*ends)
        client.send("REQ", "t", {"kinds": [24133]})
        await bus.until(lambda: bus.cancelled == 1)
        bus.known.set()
        said = [await client.said.get()]
        while said[-1][:2] != ["EOSE", "t"]:
            said.append(await client.said.get())
        if ends[0] == "REQ" and ["EOSE", "s", ["finish"]] not in said:
            said.append(await client.said.get())
    expected = [["EOSE", "s", ["finish"]]] if ends[0] == "REQ" else []
    assert [message for message in said if message[1] == "s"] == expected
    assert relay.memory.used == 0
    assert relay.answers.size == 0
    await relay.close()


async def test_a_client_that_has_left_costs_nothing_more(tmp_path: Path) -> None:
    """What was being done for it ends, and all that it held is free."""
    relay, bus = Relay(Config(data=tmp_path)), Slow()
    relay.parts = replace(relay.parts, bus=bus)
    async with asyncio.timeout(PATIENCE):
        client = Client(relay)
        for number in range(3):
            client.send("REQ", f"s{number}", {"kinds": [24133], "limit": 0, "#p": ["ab" * 32]})
        client.send("REQ", "stored", {"kinds": [1]})
        client.send("COUNT", "c", {"kinds": [1]})
        await bus.until(lambda: bus.waiting == 4)
        assert relay.memory.used > 0
        assert relay.hub.subscriptions == 4
        await client.leave()
        await bus.until(lambda: bus.cancelled == 4)
    await asyncio.sleep(0)
    assert (relay.memory.used, relay.hub.subscriptions, len(relay.connections)) == (0, 0, 0)
    bus.known.set()
    await asyncio.sleep(0)
    assert client.said.empty()
    await relay.close()


async def test_what_can_not_be_read_is_said_and_then_hung_up(tmp_path: Path) -> None:
    """A few times a minute; the close says why, and is counted."""
    relay = Relay(Config(data=tmp_path, limits=Limits(max_offences=2)))
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.reads.clear()
        client.send_frame(bytes=b"x")
        client.send_frame(text="[")
        client.send_frame(text="{}")
        await client.is_sent.wait()
        await settle()
        client.reads.set()
        *notices, closed = await client.told(4)
        client.send("REQ", "late", {"kinds": [20_000]})
        await settle()
        assert client.said.empty()
        assert [said[0] for said in notices] == ["NOTICE"] * 3
        assert notices[0][1] == "invalid: binary frames are not for Nostr"
        assert closed == ["closed", 1008, "too many invalid messages"]
    assert (relay.counters.messages, relay.counters.offenders_closed) == (4, 1)
    await relay.close()


async def test_what_is_too_large_is_refused_by_its_name(tmp_path: Path) -> None:
    """Over the bound by a byte; signing has a bound of its own."""
    most = 1_024
    relay = Relay(Config(data=tmp_path, limits=Limits(max_message_bytes=most)))
    large = f"invalid: too large, over {most} bytes; only kind 24133 may be larger"
    exact = json.dumps(["CLOSE", "s"]).ljust(most)
    event, login = written(content="x" * most), written(kind=22242)
    signing = written(kind=24133, content="x" * most)
    login[0], login[1]["content"] = "AUTH", "x" * most
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.send("REQ", "s", {"kinds": [24133], "limit": 0})
        client.send_frame(text=exact + " ")
        client.send_frame(text=exact)
        client.send(*event)
        client.send(*login)
        client.send("REQ", "r", {"ids": [event[1]["id"]] * 20})
        client.send("COUNT", "c", {"ids": [event[1]["id"]] * 20})
        client.send(*signing)
        said = await client.told(8)
    assert said[:3] == [
        ["EOSE", "s"],
        ["NOTICE", large],
        ["OK", event[1]["id"], False, large],
    ]
    assert said[3:6] == [
        ["OK", login[1]["id"], False, large],
        ["CLOSED", "r", large],
        ["CLOSED", "c", large],
    ]
    assert said[6][0] == "AUTH"  # its author does not listen, see `challenge_for_deaf`
    assert said[7][:3] == ["OK", signing[1]["id"], True]
    await relay.close()


async def test_no_more_is_read_than_may_wait_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next is read when one is stored; each is answered then."""
    relay = Relay(Config(data=tmp_path, limits=Limits(max_pending_saves=2)))
    disk = Disk(relay, monkeypatch)
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        events = [written() for _ in range(4)]
        for event in events:
            client.send(*event)
        await disk.came(2)
        for _ in range(9):
            await asyncio.sleep(0)
        assert (len(disk.waiting), relay.counters.messages) == (2, 2)
        for _ in range(2):
            disk.commit()
            await disk.came(2)
        for _ in range(2):
            disk.commit()
        said = await client.told(4)
        assert said == [["OK", event[1]["id"], True, ""] for event in events]
        assert relay.counters.messages == 4
    await relay.close()


@pytest.mark.parametrize("ours", [False, True])
async def test_a_relay_ends_a_connection_when_all_of_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """Under our server without a word, and when the client has gone; else by a close."""
    relay = Relay(Config(data=tmp_path))
    disk, left = Disk(relay, monkeypatch), asyncio.Event()
    extensions = {"leave": left.set} if ours else {}
    async with asyncio.timeout(PATIENCE), Client(relay, **extensions) as client:
        for _ in range(2):
            client.send(*written())
        await disk.came(2)
        ending = asyncio.create_task(client.connection.shut_down())
        await asyncio.sleep(0)
        disk.commit()
        assert [said[0] for said in await client.told(1)] == ["OK"]
        assert not left.is_set()
        client.reads.clear()
        disk.commit()
        await settle()
        assert not left.is_set()
        client.reads.set()
        assert [said[0] for said in await client.told(1)] == ["OK"]
        if ours:
            await left.wait()
            assert not ending.done()
            await client.leave()
            await ending
            assert client.said.empty()
        else:
            await ending
            assert await client.told(1) == [["closed", 1012, "shutting down"]]
    await relay.close()


async def test_a_relay_that_ends_holds_up_nobody_who_waits_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both wait for the same event to be stored, and both go on when it is."""
    relay = Relay(Config(data=tmp_path, limits=Limits(max_pending_saves=2)))
    disk = Disk(relay, monkeypatch)
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        for _ in range(4):
            client.send(*written())
        await disk.came(2)
        await settle()
        ending = asyncio.create_task(client.connection.shut_down())
        await settle()
        for waiting in (2, 2, 2, 1):
            await disk.came(waiting)
            disk.commit()
            await settle()
        await ending
        assert [said[0] for said in await client.told(5)] == ["OK"] * 4 + ["closed"]
    await relay.close()


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_a_client_that_has_gone_is_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Its server says so in one of two ways, and that is the end of it."""
    relay = Relay(Config(data=tmp_path))

    async def gone(_: object) -> None:
        raise error

    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        await settle()
        monkeypatch.setattr(client.connection, "_asgi_send", gone)
        await client.connection.shut_down()
        assert client.said.empty()
    await relay.close()


async def test_what_needs_a_log_in_comes_with_a_challenge(tmp_path: Path) -> None:
    """First the challenge, then the OK that says what it is for (NIP-42, NIP-70)."""
    relay = Relay(Config(data=tmp_path))
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        event = written(tags=(("-",),))
        client.send(*event)
        challenge, ok = await client.told(2)
        assert (challenge[0], len(challenge[1])) == ("AUTH", 32)
        assert ok[:3] == ["OK", event[1]["id"], False]
        assert ok[3].startswith("auth-required: ")
    await relay.close()


async def test_a_client_that_reads_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once what waits for it is over its bound, and it alone; nothing of it is left."""
    logged = log_of(monkeypatch)
    limits = Limits(max_message_bytes=1_024, max_signing_bytes=1_024, max_outbox_bytes=4_096)
    relay, dropped = Relay(Config(data=tmp_path, limits=limits)), asyncio.Event()
    async with (
        asyncio.timeout(PATIENCE),
        Client(relay, abort=dropped.set) as client,
        Client(relay) as other,
    ):
        for each in (client, other):
            each.send("REQ", "s", {"kinds": [20_000]})
            assert await each.told(1) == [["EOSE", "s"]]
        client.reads.clear()
        while not dropped.is_set():
            event = written(kind=20_000, content="x" * 500)
            other.send(*event)
            assert {said[0] for said in await other.told(2)} == {"EVENT", "OK"}
        assert relay.counters.slow_clients_closed == 1
        assert logged == ["closed a client that does not read"]
        assert (relay.hub.subscriptions, len(relay.connections)) == (1, 1)
        client.connection.drop()  # a second time
        other.send("CLOSE", "s")
        client.reads.set()
    assert (relay.hub.subscriptions, len(relay.connections)) == (0, 0)
    await relay.close()


async def test_a_client_that_takes_nothing_is_not_read(tmp_path: Path) -> None:
    """Once half of what may wait for it does; when it reads again, so does the relay."""
    limits = Limits(max_message_bytes=1_024, max_signing_bytes=1_024, max_outbox_bytes=4_096)
    relay, sent = Relay(Config(data=tmp_path, limits=limits)), 100
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.reads.clear()
        for number in range(sent):
            client.send("REQ", str(number).rjust(60, "s"), {"kinds": [20_000]})
            client.send("CLOSE", str(number).rjust(60, "s"))
        for _ in range(9 * sent):
            await asyncio.sleep(0)
        assert relay.counters.messages < sent
        assert relay.counters.slow_clients_closed == 0
        client.reads.set()
        assert len(await client.told(sent)) == sent
    await relay.close()


async def test_a_client_that_keeps_others_from_their_room_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes nothing of its answer, when another's has no room; it alone, and counted."""
    logged = log_of(monkeypatch)
    monkeypatch.setattr(answers, "_STALLED", 0.0)
    relay, dropped = Relay(Config(data=tmp_path)), asyncio.Event()
    relay.parts = replace(relay.parts, answers=answers.Answers(PAGE_BYTES, 9 * PAGE_BYTES))
    key = SecretKey.generate()
    await save(relay.store, *(note(key, letter * 60_000) for letter in "abc"))
    async with (
        asyncio.timeout(PATIENCE),
        Client(relay, abort=dropped.set) as client,
        Client(relay) as other,
    ):
        client.reads.clear()
        client.send("REQ", "s", {"kinds": [1]})
        await client.is_sent.wait()
        other.send("REQ", "s", {"kinds": [1]})
        assert [said[0] for said in await other.told(4)] == ["EVENT"] * 3 + ["EOSE"]
        assert dropped.is_set()
        assert relay.counters.slow_clients_closed == 1
        assert logged == ["closed a client that does not take its answer"]
        assert (len(relay.connections), relay.hub.subscriptions) == (1, 1)
        assert relay.unread.used == 0
        client.reads.set()
    await relay.close()


async def test_a_defect_in_an_answer_is_in_the_log_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it is, and not with what it was about; a cancelled one is none."""
    defects: list[tuple[str, BaseException]] = []
    logged = asyncio.Event()

    def told(what: str, error: BaseException) -> None:
        defects.append((what, error))
        logged.set()

    class Failing(Slow):
        async def settle(self) -> None:
            if not defects:
                raise KeyError("what it was about")
            await super().settle()

    monkeypatch.setattr(connection, "defect", told)
    relay, bus = Relay(Config(data=tmp_path)), Failing()
    relay.parts = replace(relay.parts, bus=bus)
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.send("REQ", "s", {"kinds": [1]})
        await logged.wait()
        client.send("REQ", "t", {"kinds": [1]})
        await bus.until(lambda: bus.waiting == 1)
        client.send("CLOSE", "t")
        await bus.until(lambda: bus.cancelled == 1)
        client.send("REQ", "u", {"kinds": [1]})
        bus.known.set()
        assert await client.told(1) == [["EOSE", "u", ["finish"]]]
        assert not client.connection._tasks
    assert [(what, type(error)) for what, error in defects] == [("a task failed", KeyError)]
    await relay.close()
