"""What locked, unlocked and paused mean for a client's requests, and what outlives a restart."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bunker_core.event import parse_event_json, verify
from bunker_signer.key.access import KeyState
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.request.approval import MAX_WAITING
from bunker_signer.service.panic import panic
from bunker_signer.store import clients
from signer.request.support.rig import ONCE, Owner, count_key_uses, rig, unlock
from signer.request.wire._wire import NOTE, content_of, note, wire


async def test_a_locked_key_waits_for_the_unlock(relay_url: str, data: Path) -> None:
    """A request to a locked key waits, while what needs no key is answered."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        told: list[str] = []
        signer.service.jobs.on_locked = lambda identity: told.append(identity.name)
        signer.identity.access.lock("test")
        assert signer.identity.user.locked
        await client.send("sign_event", NOTE, rid="x")
        assert (await client.ask("get_public_key", rid="k")).json["result"] == signer.user
        assert told == ["default"]
        await unlock(signer)
        assert content_of(await client.receive()) == "hello"


async def test_a_client_that_was_revoked_while_the_key_was_locked(
    relay_url: str, data: Path
) -> None:
    """Its request waits for an unlock that comes too late: the key is not used."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        uses = count_key_uses(signer.identity)
        signer.identity.access.lock("test")
        await client.send("sign_event", NOTE, rid="x")
        while not signer.identity.waiting:
            await client.ask("ping", rid="p")
        with signer.database.write() as connection:
            clients.remove(connection, "default", client.key.pubkey)
        await unlock(signer)
        assert (await client.receive()).error == "denied: not connected any more"
        assert uses == []


async def test_the_owner_is_told_of_a_lock_once(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst to a locked key is one notice, with the deadline and a link to answer at."""
    link = "https://me.example/requests/{id}"
    async with (
        rig(relay_url, data, link=link, notify=["command:/bin/true"]) as signer,
        signer.client("sign_event") as client,
    ):
        told: list[Any] = []
        monkeypatch.setattr(signer.service.notifier, "tell", told.append)
        for again in range(2):
            signer.identity.access.lock("test")
            for number in range(5):
                await client.send("sign_event", note("x"), rid=f"{again}{number}")
            while signer.identity.waiting < 5:
                await client.ask("ping", rid="p")
            assert len(told) == again + 1
            await unlock(signer)
            for _ in range(5):
                assert content_of(await client.receive()) == "x"
        assert "bunker signer unlock --key default" in told[0].text
        assert told[0].link == "https://me.example/requests"
        assert 0 < told[0].deadline - time.time() <= 120


async def test_a_locked_key_does_not_wait_for_ever(relay_url: str, data: Path) -> None:
    """When nobody unlocks in time the client is told, and may ask the same again later."""
    async with (
        rig(relay_url, data, approval_timeout=0.3) as signer,
        signer.client("sign_event") as client,
    ):
        signer.identity.access.lock("test")
        now = int(time.time())
        answer = await client.ask("sign_event", NOTE, rid="x", created_at=now - 2)
        assert answer.error.startswith("locked: ")
        await unlock(signer)
        again = await client.ask("sign_event", NOTE, rid="x", created_at=now - 1)
        assert content_of(again) == "hello"


async def test_few_wait_for_an_unlock(relay_url: str, data: Path) -> None:
    """One client can't fill the memory of a signer that is locked."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        signer.identity.access.lock("test")
        await asyncio.gather(
            *(client.send("sign_event", NOTE, rid=f"{n}") for n in range(MAX_WAITING + 1))
        )
        assert (await client.receive()).error == "locked: too many requests wait for the unlock"
        await unlock(signer)
        answers = [await client.receive() for _ in range(MAX_WAITING)]
        assert {content_of(item) for item in answers} == {"hello"}
        assert not signer.service.jobs._locked_out


async def test_a_paused_key_refuses(relay_url: str, data: Path) -> None:
    """Paused is an answer at once."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        signer.identity.access.pause("test")
        assert (await client.ask("sign_event", NOTE)).error == "locked: the signer is paused"
        assert (await client.ask("ping", rid="p")).json["result"] == "pong"


async def test_an_idle_key_locks_itself(relay_url: str, data: Path) -> None:
    """After the idle time what opens the key is wiped; it is written down who did it."""
    async with rig(relay_url, data, auto_lock=2) as signer, signer.client("sign_event") as client:
        assert content_of(await client.ask("sign_event", NOTE, rid="1")) == "hello"
        async with asyncio.timeout(10):
            await signer.identity.access.wait_while(KeyState.UNLOCKED)
        assert signer.identity.user.locked
        assert [item.decided_by for item in signer.audit("lock")] == ["idle"]


async def test_a_key_that_was_changed_by_another_process_asks_for_the_unlock(
    relay_url: str, data: Path
) -> None:
    """A slot added while the signer runs makes it wait for an unlock instead of failing."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        master = MasterKey.from_file(data / "master.key")
        cheap = Passphrase("correct horse", Argon2(memory_kib=64, passes=1))
        with NSE(storage=FileStorage(data / "keys"), protector=master) as other:
            other.add_slot(cheap)
        master.close()
        cheap.close()
        told = asyncio.Event()
        signer.service.jobs.on_locked = lambda _: told.set()
        await client.send("sign_event", NOTE, rid="x")
        async with asyncio.timeout(10):
            await told.wait()
        await unlock(signer)
        assert content_of(await client.receive()) == "hello"


async def test_states_outlive_a_restart(relay_url: str, data: Path) -> None:
    """A key that the owner locked or paused does not come back by itself."""
    for state in (KeyState.PAUSED, KeyState.LOCKED):
        async with rig(relay_url, data) as signer:
            access = signer.identity.access
            access.lock("test") if state is KeyState.LOCKED else access.pause("test")
        async with rig(relay_url, data) as signer:
            assert signer.identity.state is state
            assert signer.identity.user.locked is (state is KeyState.LOCKED)


async def test_panic(relay_url: str, data: Path) -> None:
    """Every session, grant and unused secret is gone, and every key stays locked."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner, keys=("default", "work")) as signer,
        signer.client("sign_event:7") as client,
        wire(relay_url, signer.pubkey) as late,
    ):
        secret = signer.invite("unused-secret")
        await client.send("sign_event", NOTE)
        _, answer = await owner.question()
        counts = panic(signer.agent, signer.service.inbox, data, "test")
        assert (counts["sessions"], counts["secrets"]) == (1, 1)
        answer.set_result(ONCE)
        assert (await client.receive()).error.startswith("denied: ")
        assert (await client.ask("ping")).error.startswith("denied: not connected")
        assert (await late.ask("connect", "", secret)).error.startswith("denied: ")
        assert [item.key_name for item in signer.audit("panic")] == ["default", "work"]
    async with rig(relay_url, data) as signer:
        assert {item.state for item in signer.service.identities} == {KeyState.LOCKED}


async def test_several_keys_in_one_agent(relay_url: str, data: Path) -> None:
    """Each key has its own remote signer, its own clients and its own lock."""
    async with rig(relay_url, data, keys=("default", "work")) as signer:
        home, work = signer.service.identities
        assert len({home.user_pubkey, work.user_pubkey, home.remote_signer_pubkey}) == 3
        async with (
            signer.client("sign_event") as one,
            signer.client("sign_event", identity=work, key=one.key) as two,
        ):
            work.access.lock("test")
            first = verify(parse_event_json((await one.ask("sign_event", NOTE)).json["result"]))
            assert first.pubkey == home.user_pubkey
            await unlock(signer, work)
            second = await two.ask("sign_event", NOTE)
            assert verify(parse_event_json(second.json["result"])).pubkey == work.user_pubkey
            assert (await two.ask("logout", rid="l")).json["result"] == "ack"
            assert (await one.ask("ping", rid="p")).json["result"] == "pong"
    async with rig(relay_url, data) as again:
        assert [item.name for item in again.service.identities] == ["default", "work"]
