"""Replies are seen home, whatever the relays do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bunker.harness import running_relay
from bunker_core.event import parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Response
from bunker_core.pool import Incoming
from bunker_core.pool.publication import Publication
from bunker_signer.request.delivery import IN_FLIGHT, RETRIES, TOO_MUCH, Courier
from bunker_signer.request.parked import ParkingLot
from bunker_signer.request.reply import Reply
from bunker_signer.store import Database, journal
from bunker_signer.store.journal import State
from signer.request.support.rig import ONCE, Owner, rig
from signer.request.wire._wire import Wire, wire
from support.scripted import scripted_relay

Sleep = Callable[[float], Awaitable[object]]
NOTE = json.dumps({"kind": 1, "content": "hello", "created_at": 1_700_000_000})


async def test_undelivered_until_the_relay_comes_back(data: Path, tmp_path: Path) -> None:
    """The relay dies while the owner thinks; the answer arrives when it is there again."""
    owner, key = Owner(), SecretKey.generate()
    async with running_relay(tmp_path / "relay") as relay:
        port = relay.port
        async with rig(relay.url, data, approver=owner) as signer:
            given_up = watch(signer.agent._courier, then=no_later)
            async with signer.client(key=key) as client:
                await client.send("sign_event", NOTE, rid="x")
                _, answer = await owner.question()
                await relay.terminate()
                answer.set_result(ONCE)
                async with asyncio.timeout(60):
                    await given_up.wait()
                (entry,) = undone(signer.database)
                assert entry.state is State.ANSWERED
            async with (
                running_relay(tmp_path / "relay", port=port) as again,
                wire(again.url, signer.pubkey, key) as client,
            ):
                for connection in signer.agent.pool._connections.values():
                    connection.hurry()  # no need to wait for the next try by itself
                late = await client.receive(timeout=40)
                assert verify(parse_event_json(late.json["result"])).content == "hello"


async def test_a_client_that_comes_back_later(relay_url: str, data: Path) -> None:
    """A client that was away for longer than the first tries gets its answer without a word."""
    owner, key = Owner(), SecretKey.generate()
    async with rig(relay_url, data, approver=owner) as signer:
        courier, back = signer.agent._courier, asyncio.Event()
        given_up = watch(courier, then=lambda _: back.wait())
        async with signer.client(key=key) as client:
            await client.send("sign_event", NOTE, rid="x")
            _, answer = await owner.question()
        answer.set_result(ONCE)
        async with asyncio.timeout(60):
            await given_up.wait()
        async with wire(relay_url, signer.pubkey, key) as client:
            back.set()
            late = await client.receive(timeout=40)
            assert verify(parse_event_json(late.json["result"])).content == "hello"


async def test_a_client_that_speaks_again(relay_url: str, data: Path) -> None:
    """A client that was away and sends anything at all gets its answer at once."""
    owner, key = Owner(), SecretKey.generate()
    async with rig(relay_url, data, approver=owner) as signer:
        given_up = watch(signer.agent._courier, then=no_later)
        async with signer.client(key=key) as client:
            await client.send("sign_event", NOTE, rid="x")
            _, answer = await owner.question()
        answer.set_result(ONCE)
        async with asyncio.timeout(60):
            await given_up.wait()
        async with wire(relay_url, signer.pubkey, key) as client:
            await client.send("ping", rid="p")
            ids = {(await client.receive()).json["id"] for _ in range(2)}
            assert ids == {"x", "p"}


async def test_where_one_reply_arrives_the_others_follow(relay_url: str, data: Path) -> None:
    """All that a client missed goes out when one of it has found the client again."""
    key = SecretKey.generate()
    async with rig(relay_url, data) as signer:
        courier = signer.agent._courier
        courier._sleep = lambda _: asyncio.Event().wait()  # nothing is tried again by itself
        for number in range(3):
            response = Response(f"{number}", "pong")
            tried = asyncio.Event()
            courier.send(
                Reply(signer.identity, key.pubkey, response, Scheme.NIP44, (), 0), tried.set
            )
            await tried.wait()
        async with wire(relay_url, signer.pubkey, key) as client:
            courier.heard_of(key.pubkey)
            ids = {(await client.receive()).json["id"] for _ in range(3)}
            assert ids == {"0", "1", "2"}


async def test_a_relay_that_stays_away_is_not_waited_for_any_longer(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After LINGER a reply that another relay delivered is not kept for it."""
    monkeypatch.setattr("bunker_signer.request.delivery.LINGER", 0.01)
    forgotten, forget = asyncio.Event(), Publication.forget

    def noted(publication: Publication) -> None:
        forget(publication)
        forgotten.set()

    async with (
        scripted_relay() as slow,
        rig(relay_url, data, relays=[slow.url]) as signer,
        signer.client() as client,
    ):
        owed = list(signer.agent.pool._publications.values())
        await asyncio.gather(*(publication.answered(10) for publication in owed))
        await slow.kill()
        monkeypatch.setattr(Publication, "forget", noted)
        assert (await client.ask("ping", rid="x")).json["result"] == "pong"
        async with asyncio.timeout(10):
            await forgotten.wait()
        assert not signer.agent.pool._publications


async def test_a_slow_relay_gets_the_reply_too(relay_url: str, data: Path) -> None:
    """One relay delivered it; the other, which was away, has it when it is there again."""
    key = SecretKey.generate()
    async with (
        scripted_relay() as slow,
        rig(relay_url, data, relays=[slow.url]) as signer,
        signer.client(key=key) as client,
    ):
        # The answer to `connect` would else still be owed there, and come first.
        owed = list(signer.agent.pool._publications.values())
        await asyncio.gather(*(publication.answered(10) for publication in owed))
        await slow.kill()
        assert (await client.ask("ping", rid="x")).json["result"] == "pong"
        await slow.start()
        async with wire(slow.url, signer.pubkey, key) as elsewhere:
            for connection in signer.agent.pool._connections.values():
                connection.hurry()
            assert (await elsewhere.receive()).json["id"] == "x"


async def test_a_grant_is_answered_without_a_task(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the event to the relay's OK; what is asked of a person takes a task of its own."""
    async with rig(relay_url, data) as signer, signer.client(allow="sign_event:1") as client:
        begun: list[str] = []
        for owner in (signer.agent, signer.agent._courier):
            monkeypatch.setattr(owner, "_spawn", spawning(owner._spawn, begun))
        for number in range(3):
            answer = await client.ask("sign_event", NOTE, rid=f"{number}")
            assert verify(parse_event_json(answer.json["result"])).content == "hello"
        assert begun == []
        denied = await client.ask("sign_event", NOTE.replace(": 1,", ": 4,"), rid="4")
        assert denied.json["error"] == "denied: sign_event:4 is not allowed"
        assert begun == ["Agent._serve"]
        # Those whose OK is not here yet; all are counted, by client and together.
        assert sum(signer.agent._at_work.values()) == signer.agent._on_the_way <= 1


@pytest.mark.parametrize(
    ("whose", "failing"),
    [("jobs", "_release"), ("courier", "_is_delivered"), ("courier", "_targets")],
)
async def test_a_fault_on_the_way_out_holds_no_place(
    whose: str, failing: str, relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises after the commit, the next request is served, and nothing is counted twice.

    A place that stayed taken would make the signer deaf after so many faults.
    """
    async with rig(relay_url, data) as signer, signer.client(allow="sign_event:1") as client:
        courier = signer.agent._courier
        target = courier if whose == "courier" else signer.service.jobs

        reached = asyncio.Event()

        def fail(*_: object) -> None:
            reached.set()
            raise ValueError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr(target, failing, fail)
            await client.send("sign_event", NOTE, rid="x")
            await asyncio.wait_for(reached.wait(), 10)
        answer = await client.ask("sign_event", NOTE, rid="y")
        if answer.json["id"] == "x":  # it had left before the fault
            answer = await client.receive()
        assert answer.json["id"] == "y"
        assert signer.service.jobs.running == 0
        assert sum(signer.agent._at_work.values()) == signer.agent._on_the_way <= 1
        assert IN_FLIGHT - courier._in_flight._free <= 1  # the last one's OK is on its way


async def test_what_is_written_down_while_the_signer_stops_is_left_to_the_journal(
    relay_url: str, data: Path
) -> None:
    """Nothing is sent by an agent that has ended; the next run finds the answer and sends it."""
    key = SecretKey.generate()
    async with rig(relay_url, data) as signer:
        async with signer.client(allow="sign_event:1", key=key) as client:
            request = json.dumps({"id": "x", "method": "sign_event", "params": [NOTE]})
            event = client.event(request)
        came = Incoming(verify(event), relay_url)
        signer.agent._take(came)  # handed in, to be written in the next turn
        signer.agent._closed = True
        await asyncio.sleep(0)
        (entry,) = undone(signer.database)
        assert entry.state is State.ANSWERED
        assert not signer.agent._courier._tasks
    async with wire(relay_url, signer.pubkey, key) as client, rig(relay_url, data):
        late = await client.receive(timeout=20)
        assert verify(parse_event_json(late.json["result"])).content == "hello"


async def no_later(seconds: float) -> None:
    """Wait the pauses of the first tries; what is tried later is not tried at all."""
    await (asyncio.sleep(seconds) if seconds in RETRIES else asyncio.Event().wait())


async def test_what_is_not_kept(relay_url: str, data: Path) -> None:
    """A stranger that does not listen to its refusal leaves nothing behind but the first tries."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as voice:
        courier = signer.agent._courier
        given_up = watch(courier)
        silent = Wire(voice.pool, signer.pubkey, SecretKey.generate())
        await silent.send("ping")
        async with asyncio.timeout(60):
            await given_up.wait()
        while courier._tasks:  # until all that follows their end is done, too
            await asyncio.wait(courier._tasks)
            await asyncio.sleep(0)
        assert len(courier._parked) == 0


async def test_a_reply_that_goes_for_others_is_not_tried_again(relay_url: str, data: Path) -> None:
    """However many replies find nobody, so many are kept and so many tasks try them."""
    async with rig(relay_url, data) as signer:
        courier = signer.agent._courier
        courier._parked = ParkingLot(each=3, total=5)
        courier._sleep = lambda _: asyncio.Event().wait()
        deaf = [SecretKey.generate().pubkey for _ in range(3)]
        for number in range(9):
            response = Response(f"{number}", "pong")
            key = deaf[number % 3]
            tried = asyncio.Event()
            courier.send(Reply(signer.identity, key, response, Scheme.NIP44, (), 0), tried.set)
            await tried.wait()
        assert [len(courier._parked.of(key)) for key in deaf] == [1, 2, 2]
        async with asyncio.timeout(10):
            while len(courier._tasks) > 5:
                await asyncio.wait(courier._tasks, return_when=asyncio.FIRST_COMPLETED)


def watch(courier: Courier, then: Sleep = asyncio.sleep) -> asyncio.Event:
    """Return an event that is set when a reply was given up; no pauses until then, `then` after."""
    tell, given_up = courier._tell, asyncio.Event()
    courier._sleep = lambda _: asyncio.sleep(0)

    def told(reply: Reply) -> bool:
        courier._sleep = then
        given_up.set()
        return tell(reply)

    courier._tell = told  # type: ignore[method-assign]
    return given_up


def undone(database: Database) -> tuple[journal.Entry, ...]:
    with database.read() as connection:
        return journal.undone(connection)


async def test_one_relay_is_enough(relay_url: str, data: Path) -> None:
    """A second relay that is down delays nothing."""
    async with (
        rig(relay_url, data, relays=["ws://127.0.0.1:9"]) as signer,
        signer.client("sign_event") as client,
    ):
        answer = await client.ask("sign_event", NOTE)
        assert verify(parse_event_json(answer.json["result"])).content == "hello"
        await client.ask("ping", rid="p")
        assert undone(signer.database) == ()


async def test_several_relays(relay_url: str, data: Path, tmp_path: Path) -> None:
    """A client at either of the signer's relays is served, and each request once."""
    async with (
        running_relay(tmp_path / "two") as two,
        rig(relay_url, data, relays=[two.url]) as signer,
    ):
        for url in (relay_url, two.url):
            async with signer.client("sign_event", relay=url) as client:
                assert not (await client.ask("sign_event", NOTE)).error
        assert len(signer.audit("request")) == 2


async def test_a_relay_that_it_is_too_much_for(data: Path, tmp_path: Path) -> None:
    """An answer that a relay refuses as too much is sent again until it is not."""
    config = tmp_path / "relay.toml"
    # Twelve answers at once; the thirteenth has to wait, even if the machine takes seconds.
    config.write_text("[rates]\nsigning_per_pubkey = { per_second = 0.2, burst = 12 }\n")
    async with (
        running_relay(tmp_path / "relay", arguments=["--config", str(config)]) as relay,
        rig(relay.url, data) as signer,
        signer.client() as one,
        signer.client() as two,
    ):
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await asyncio.sleep(seconds)

        signer.agent._courier._sleep = sleep
        pings = [(one, "a"), (one, "b"), (one, "c"), (one, "d"), (one, "e"), (one, "f")]
        pings += [(two, "a"), (two, "b"), (two, "c"), (two, "d"), (two, "e")]
        await asyncio.gather(*(client.send("ping", rid=rid) for client, rid in pings))
        for client, _ in pings:
            await client.receive(30)
        assert {item.json["id"] for item in one.seen} == {"1", *"abcdef"}
        assert TOO_MUCH in waits


def spawning(spawn: Callable[[Coroutine[Any, Any, None]], Any], begun: list[str]) -> Any:
    """Return `spawn`, noting what it is given."""

    def noted(work: Coroutine[Any, Any, None]) -> Any:
        begun.append(getattr(work, "__qualname__", ""))
        return spawn(work)

    return noted
