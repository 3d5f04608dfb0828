"""An app whose own relay is slow, silent or against it makes nobody else wait."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.request.delivery import AGAIN_EACH, IN_FLIGHT, RETRIES, Courier
from bunker_signer.request.fair_semaphore import FairSemaphore
from bunker_signer.request.parked import EACH
from bunker_signer.store import clients
from signer.request.support.rig import rig
from signer.request.wire._wire import Wire, wire
from support.scripted import Message, Peer, scripted_relay

REQUESTS = 400
PINGS = 30

SAID = {
    "silent": None,
    "rate-limited": "rate-limited: slow down",
    "refuses": "blocked: not here",
}


@pytest.mark.parametrize("said", SAID)
async def test_another_client_waits_for_nothing(said: str, relay_url: str, data: Path) -> None:
    """400 requests of a client whose relay does its worst: another's pings wait for none of them.

    Nothing of the first client's is over before the test is: its relay answers nothing that ends
    the waiting, and every pause of the courier lasts.
    """
    reason = SAID[said]

    async def worst(peer: Peer, message: Message) -> bool:
        if message[0] == "EVENT" and reason is not None:
            await peer.send("OK", message[1]["id"], False, reason)
        return bool(message[0] == "EVENT")

    key = SecretKey.generate()
    async with (
        scripted_relay(worst) as theirs,
        rig(relay_url, data, client_rate=1000.0) as signer,
        wire(relay_url, signer.pubkey) as voice,
        signer.client() as other,
    ):
        courier = signer.agent._courier
        with signer.database.write() as connection:
            name, now = signer.identity.name, int(time.time())
            relays = (theirs.url,)
            clients.add(connection, name, key.pubkey, ClientMetadata(), relays, "", (), now)
        signer.agent.pool.add_relay(theirs.url)
        courier._sleep = lambda _: asyncio.Event().wait()
        bad = Wire(voice.pool, signer.pubkey, key)  # speaks by our relay, listens at its own
        await asyncio.gather(*(bad.send("ping", rid=f"{n}") for n in range(REQUESTS)))
        async with asyncio.timeout(30):  # another client, in the midst of it
            while True:
                assert (await other.ask("ping", rid="midst")).json["result"] == "pong"
                if len(courier._parked.of(key.pubkey)) == REQUESTS:
                    break
            for number in range(IN_FLIGHT):  # as soon as our relay has taken the last pong
                await courier._in_flight.acquire(f"probe {number}")
        for number in range(IN_FLIGHT):
            courier._in_flight.release(f"probe {number}")
        assert courier._in_flight._free == IN_FLIGHT  # what waits holds no place
        assert not courier._in_flight._queues
        for number in range(PINGS):
            assert (await other.ask("ping", rid=f"p{number}")).json["result"] == "pong"
        assert len(courier._parked.of(key.pubkey)) == REQUESTS  # none of them is over


async def test_what_nobody_takes_is_not_sent_again_by_the_hundred(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 replies 8 are tried again; a request brings one more; where one arrives, all go out.

    Else a client that does not listen uses up what a relay lets the signer send to anybody.
    """
    listens = False
    tries: Counter[str] = Counter()

    async def deaf(peer: Peer, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        tries["all"] += 1
        await peer.send("OK", message[1]["id"], True, "" if listens else "mute: nobody")
        return True

    async with (
        scripted_relay(deaf) as theirs,
        rig(relay_url, data, client_rate=1000.0) as signer,
        wire(relay_url, signer.pubkey) as voice,
    ):
        courier = signer.agent._courier
        ended = asyncio.Event()

        async def no_time(seconds: float) -> None:
            """Let the pauses of the quick tries be over, and no later one."""
            await (asyncio.sleep(0) if seconds in RETRIES else ended.wait())

        courier._sleep = no_time
        heard: list[str] = []
        monkeypatch.setattr(courier, "heard_of", heard.append)
        key = SecretKey.generate()
        with signer.database.write() as connection:
            name, now = signer.identity.name, int(time.time())
            relays = (theirs.url,)
            clients.add(connection, name, key.pubkey, ClientMetadata(), relays, "", (), now)
        signer.agent.pool.add_relay(theirs.url)
        await theirs.wait_for("REQ")  # a relay that opens is a reason to try one again
        bad = Wire(voice.pool, signer.pubkey, key)
        await asyncio.gather(*(bad.send("ping", rid=f"{n}") for n in range(REQUESTS)))
        most = REQUESTS + AGAIN_EACH * len(RETRIES)
        while tries["all"] < most:
            await theirs.wait_for("EVENT", tries["all"] + 1)
        async with signer.client() as other:  # a round trip later it is no more
            assert (await other.ask("ping", rid="p")).json["result"] == "pong"
        assert tries["all"] == most
        assert len(courier._parked.of(key.pubkey)) == REQUESTS
        assert heard.count(key.pubkey) == REQUESTS
        parked = courier._parked.of(key.pubkey)
        assert sum(item.retrying for item in parked) == AGAIN_EACH
        Courier.heard_of(courier, key.pubkey)  # what each of them would have done
        [woken] = [item for item in parked if item.wake.is_set()]
        assert woken.retrying  # one that waits for that could do nothing
        listens = True
        await asyncio.wait(list(courier._trying.values()), timeout=30)
        assert not courier._parked.of(key.pubkey)
        assert tries["all"] == most + REQUESTS


async def test_what_is_kept_for_one_client_is_bounded(relay_url: str, data: Path) -> None:
    """A client that never listens has its latest kept; another's place is not taken."""
    async with (
        rig(relay_url, data, client_rate=1000.0) as signer,
        wire(relay_url, signer.pubkey) as voice,
    ):
        courier = signer.agent._courier
        courier._sleep = lambda _: asyncio.Event().wait()
        key = SecretKey.generate()
        with signer.database.write() as connection:
            name, now = signer.identity.name, int(time.time())
            clients.add(connection, name, key.pubkey, ClientMetadata(), (), "", (), now)
        deaf = Wire(voice.pool, signer.pubkey, key)
        for first in range(0, EACH + 100, 100):
            await asyncio.gather(*(deaf.send("ping", rid=f"{first + n}") for n in range(100)))
        async with signer.client() as other:
            assert (await other.ask("ping", rid="p")).json["result"] == "pong"
        async with asyncio.timeout(30):
            while signer.agent._at_work.get(key.pubkey):  # each first try that waits has a task
                await asyncio.wait(courier._tasks, timeout=0.1, return_when="FIRST_COMPLETED")
        kept = courier._parked.of(key.pubkey)
        assert 0 < len(kept) <= EACH
        assert len(courier._tasks) <= EACH + 64


async def test_turns_go_round_the_clients() -> None:
    """Of hundreds that wait, another client's first is the next."""
    semaphore, order = FairSemaphore(total=2, each=1), []
    first = asyncio.Event()

    async def use(client: str, until: asyncio.Event | None = None) -> None:
        await semaphore.acquire(client)
        try:
            order.append(client)
            if until:
                await until.wait()
        finally:
            semaphore.release(client)

    holding = [asyncio.create_task(use("a", first)), asyncio.create_task(use("x", first))]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(use("a")) for _ in range(300)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(use("b")))
    await asyncio.sleep(0)
    waiting[5].cancel()
    first.set()
    await asyncio.gather(*holding, *waiting, return_exceptions=True)
    assert order.index("b") <= 4
    assert order.count("a") == 300
    assert semaphore._free == 2
    assert not semaphore._queues
    assert not semaphore._held
