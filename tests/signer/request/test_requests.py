"""Requests that want the key: asked, allowed, limited, waiting, each answered exactly once."""

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from bunker.harness import running_relay
from bunker_core.event import parse_event_json, sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import NostrConnectURI
from bunker_core.nips.channel import Scheme, rpc_template
from bunker_core.nips.nip46 import Permission, Request
from bunker_signer.key.access import KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.request import decision
from bunker_signer.request.approval import MAX_WAITING, Answer, Approvals, Verdict
from bunker_signer.request.decision import Job
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.operation import read_operation
from bunker_signer.service.panic import panic
from bunker_signer.store import Writer, audit_log, clients, grants
from bunker_signer.store.database.schema import audit, handled, requests
from signer._rig import ALWAYS, DENY, NEVER, ONCE, Owner, Rig, rig
from signer._wire import wire

NOTE = json.dumps({"kind": 1, "content": "hello", "created_at": 1_700_000_000})
EVERYTHING = "sign_event,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"


def note(content: str, kind: int = 1) -> str:
    return json.dumps({"kind": kind, "content": content, "created_at": 1_700_000_000})


def content_of(answer: Any) -> str:
    return verify(parse_event_json(answer.json["result"])).content


def count_key_uses(identity: Identity) -> list[str]:
    """Return a list that grows with each use of the user key."""
    uses: list[str] = []
    for name in ("sign", "crypt"):
        original = getattr(identity, name)

        def recorded(*args: Any, original: Any = original, name: str = name) -> Any:
            uses.append(name)
            return original(*args)

        setattr(identity, name, recorded)
    return uses


# --- authorize first, open the key last ----------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("sign_event", (NOTE,)),
        ("nip44_encrypt", ("peer", "x")),
        ("nip44_decrypt", ("peer", "x")),
        ("nip04_encrypt", ("peer", "x")),
        ("nip04_decrypt", ("peer", "x")),
        ("create_account", ()),
        ("sign_event", ("{",)),
    ],
)
async def test_a_denied_request_never_reaches_the_key(
    relay_url: str, data: Path, method: str, params: tuple[str, ...]
) -> None:
    """Without a grant, and with the owner saying no, the sealed key is not opened at all."""
    peer = SecretKey.generate().pubkey
    given = tuple(peer if item == "peer" else item for item in params)
    owner = Owner([DENY] * 3)
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        uses = count_key_uses(signer.identity)
        # the sealed key itself is not even read: it is gone
        for path in (data / "keys").iterdir():
            if "remote-signer" not in path.name and path.is_file():
                path.unlink()
        assert (await client.ask(method, *given)).error
        assert uses == []


async def test_a_stranger_never_reaches_owner_or_key(relay_url: str, data: Path) -> None:
    """Who is not paired is answered before anybody is asked."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner) as signer,
        wire(relay_url, signer.pubkey) as stranger,
    ):
        uses = count_key_uses(signer.identity)
        assert (await stranger.ask("sign_event", NOTE)).error.startswith("denied: not connected")
        assert (owner.asked, uses) == ([], [])


# --- exactly one answer --------------------------------------------------------------------------


async def test_repeated_while_it_waits(relay_url: str, data: Path) -> None:
    """A client that repeats itself while the owner thinks asks him once and gets one answer."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        uses = count_key_uses(signer.identity)
        now = int(time.time())
        for seconds in (3, 2, 1):
            await client.send("sign_event", NOTE, rid="x", created_at=now - seconds)
        _, answer = await owner.question()
        assert (await client.ask("ping", rid="p")).json["id"] == "p"
        answer.set_result(ONCE)
        assert content_of(await client.receive()) == "hello"
        await client.silence()
        assert (len(owner.asked), uses) == (1, ["sign"])


async def test_repeated_after_a_restart(relay_url: str, data: Path) -> None:
    """The stored answer is given again: no second question, no second signature."""
    key, owner = SecretKey.generate(), Owner([ONCE])
    now = int(time.time())
    async with rig(relay_url, data, approver=owner) as signer, signer.client(key=key) as client:
        first = await client.ask("sign_event", NOTE, rid="x", created_at=now - 3)
    async with rig(relay_url, data, approver=owner) as signer:
        uses = count_key_uses(signer.identity)
        async with signer.client(key=key, pair=False) as client:
            again = await client.ask("sign_event", NOTE, rid="x", created_at=now - 2)
            assert again.json == first.json
            assert again.event.id != first.event.id
            assert (len(owner.asked), uses) == (1, [])


async def test_a_denial_is_stored_too(relay_url: str, data: Path) -> None:
    """Who was denied is not asked about again by repeating the request; a new one is a new one."""
    owner = Owner([DENY, ONCE])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        now = int(time.time())
        for seconds in (2, 1):
            answer = await client.ask("sign_event", NOTE, rid="x", created_at=now - seconds)
            assert answer.error == "denied: sign_event:1 is not allowed"
        assert len(owner.asked) == 1
        assert content_of(await client.ask("sign_event", NOTE, rid="y")) == "hello"


async def test_silence_is_denial(relay_url: str, data: Path) -> None:
    """A request that nobody answers is refused when its time is over."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner, approval_timeout=0.4) as signer,
        signer.client() as client,
    ):
        answer = await client.ask("sign_event", NOTE)
        assert answer.error.startswith("expired: nobody answered")
        assert owner.cancelled == 1
        assert [item.outcome for item in signer.audit("request")] == [answer.error]


async def test_with_nobody_to_ask_it_is_denied_at_once(relay_url: str, data: Path) -> None:
    """Without a terminal, a hook or --ask there is no one to wait for."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("sign_event", NOTE)
        assert answer.error == "denied: sign_event:1 is not allowed"
        assert signer.audit("request")[0].decided_by == "nobody to ask"


async def test_too_many_that_wait(relay_url: str, data: Path) -> None:
    """One client can't fill the owner's screen: beyond its share it is told so at once."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        await asyncio.gather(
            *(
                client.send("sign_event", note("x", kind=number), rid=f"{number}")
                for number in range(MAX_WAITING + 1)
            )
        )
        answer = await client.receive()
        assert answer.error.startswith("pending: ")
        assert signer.service.approvals.waiting == MAX_WAITING


# --- approvals -----------------------------------------------------------------------------------


async def test_a_burst_is_one_question(relay_url: str, data: Path) -> None:
    """Twenty notes that arrive together are shown and answered as one; another kind is not."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        await asyncio.gather(
            *(client.send("sign_event", note(f"n{n}"), rid=f"n{n}") for n in range(20)),
            client.send("sign_event", note("other", kind=7), rid="k"),
        )
        questions = dict([await owner.question(), await owner.question()])
        for question, answer in questions.items():
            kind = question.action.kind
            assert len(question.items) == (20 if kind == 1 else 1)
            answer.set_result(ONCE if kind == 1 else DENY)
        answers = [await client.receive() for _ in range(21)]
        signed = {content_of(item) for item in answers if not item.error}
        assert signed == {f"n{n}" for n in range(20)}
        assert [item.json["id"] for item in answers if item.error] == ["k"]


async def test_what_comes_later_was_not_approved(relay_url: str, data: Path) -> None:
    """A request that arrives while the owner reads is not covered by their yes to the others."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        await client.send("sign_event", note("harmless"), rid="1")
        first, answer = await owner.question()
        await client.send("sign_event", note("not shown"), rid="2")
        second, second_answer = await owner.question()
        answer.set_result(ONCE)
        assert content_of(await client.receive()) == "harmless"
        second_answer.set_result(DENY)
        assert (await client.receive()).error.startswith("denied: ")
        assert [item.template.content for item in first.items if item.template] == ["harmless"]
        assert [item.template.content for item in second.items if item.template] == ["not shown"]


async def test_always_becomes_a_grant_for_that_kind(relay_url: str, data: Path) -> None:
    """Always is for this client, method and kind, and nothing beside."""
    owner = Owner([ALWAYS])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        for number in range(3):
            await client.ask("sign_event", note("x"), rid=f"{number}")
        assert len(owner.asked) == 1
        (grant,) = signer.grants(client.key.pubkey)
        assert (grant.method, grant.param) == ("sign_event", "1")
        (entry,) = signer.audit("grant")
        assert (entry.method, entry.param, entry.outcome) == ("sign_event", "1", "allow")
        assert (entry.client_pubkey, entry.decided_by) == (client.key.pubkey, "test")
        owner.answers.append(DENY)
        assert (await client.ask("sign_event", note("x", kind=0), rid="k")).error
        by = [item.decided_by for item in signer.audit("request")]
        assert by == ["test", "grant sign_event:1", "grant sign_event:1", "test"]


async def test_always_to_a_peer(relay_url: str, data: Path) -> None:
    """Always to a decryption is for that one correspondent."""
    owner = Owner([ALWAYS, DENY])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        for number, peer in enumerate([SecretKey.generate(), SecretKey.generate()]):
            key = nip44.conversation_key(peer.shared_x(signer.user))
            for again in range(2):
                answer = await client.ask(
                    "nip44_decrypt", peer.pubkey, nip44.encrypt("hi", key), rid=f"{number}{again}"
                )
                if number == 0:
                    assert answer.json["result"] == "hi"
                else:
                    break
        assert answer.error.startswith("denied: nip44_decrypt")
        assert len(owner.asked) == 2


async def test_never_is_remembered(relay_url: str, data: Path) -> None:
    """Never is not asked again."""
    owner = Owner([NEVER])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        for number in range(3):
            answer = await client.ask("sign_event", NOTE, rid=f"{number}")
            assert answer.error.startswith("denied: ")
        assert len(owner.asked) == 1
        (grant,) = signer.grants(client.key.pubkey)
        assert grant.effect is Effect.DENY


async def test_always_with_limits(relay_url: str, data: Path) -> None:
    """An approval for two uses is one for two uses, the one that was asked about among them."""
    owner = Owner([Answer(Verdict.ALWAYS, "test", seconds=600, uses=2), DENY])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        answers = [await client.ask("sign_event", NOTE, rid=f"{n}") for n in range(3)]
        assert [bool(item.error) for item in answers] == [False, False, True]
        assert len(owner.asked) == 2


async def test_a_client_that_is_gone_gets_nothing(relay_url: str, data: Path) -> None:
    """A yes that comes after the client was revoked signs nothing and grants nothing."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        uses = count_key_uses(signer.identity)
        await client.send("sign_event", NOTE)
        _, answer = await owner.question()
        with signer.database.write() as connection:
            clients.remove(connection, "default", client.key.pubkey)
        answer.set_result(ALWAYS)
        assert (await client.receive()).error == "denied: not connected any more"
        assert (uses, signer.grants(client.key.pubkey)) == ([], ())


async def test_a_client_that_is_revoked_on_the_way_in_is_not_asked_about(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being looked up and being written down a request may lose its client."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        writer = signer.service.jobs._writer
        commit = writer._commit

        def revoke_first(steps: Any) -> None:
            with signer.database.write() as connection:
                clients.remove(connection, "default", client.key.pubkey)
            commit(steps)

        monkeypatch.setattr(writer, "_commit", revoke_first)
        answer = await client.ask("sign_event", NOTE)
        assert answer.error == "denied: not connected any more"
        with signer.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(requests)) == 0
        assert owner.asked == []


async def test_auth_url_goes_out_once(relay_url: str, data: Path) -> None:
    """R11: the page comes first, once, in the shape of NIP-46; the answer has the same id."""
    owner = Owner()
    url = "https://bunker.example/{request}"
    async with (
        rig(relay_url, data, approver=owner, auth_url=url) as signer,
        signer.client() as client,
    ):
        await client.send("sign_event", NOTE, rid="x", created_at=int(time.time()) - 1)
        first = await client.receive()
        assert first.json["id"] == "x"
        assert first.json["result"] == "auth_url"
        assert first.error.startswith("https://bunker.example/")
        await client.send("sign_event", NOTE, rid="x")
        _, answer = await owner.question()
        answer.set_result(ONCE)
        final = await client.receive()
        assert final.json["id"] == "x"
        assert content_of(final) == "hello"


async def test_auth_url_does_not_go_out_again_after_a_restart(relay_url: str, data: Path) -> None:
    """R11: nostr-tools takes the second page of a request for its answer, and rejects with it."""
    owner, key = Owner(), SecretKey.generate()
    url = "https://bunker.example/{request}"
    async with (
        rig(relay_url, data, approver=owner, auth_url=url) as signer,
        signer.client(key=key) as client,
    ):
        await client.send("sign_event", NOTE, rid="x")
        assert (await client.receive()).json["result"] == "auth_url"
        await owner.question()
    async with (
        wire(relay_url, signer.pubkey, key) as client,
        rig(relay_url, data, approver=owner, auth_url=url),
    ):
        _, answer = await owner.question()
        answer.set_result(ONCE)
        assert content_of(await client.receive()) == "hello"


async def test_an_auth_url_is_not_the_answer(relay_url: str, data: Path) -> None:
    """That the page was delivered does not pass for the answer's delivery."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner, auth_url="https://bunker.example") as signer,
        signer.client() as client,
    ):
        interim: list[Any] = []
        signer.service.jobs.on_interim = interim.append
        await client.send("sign_event", NOTE, rid="x")
        _, answer = await owner.question()
        answer.set_result(ONCE)
        await client.receive()
        assert [reply.digest for reply in interim] == [""]


# --- grants, enforced ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (Grant("sign_event", "1", uses_left=2), ["", "", "denied", "denied"]),
        (Grant("sign_event", "1", rate=Rate(3, 3600)), ["", "", "", "rate-limited"]),
        (Grant("sign_event", "1", expires_at=1), ["denied"] * 4),
        (Grant("sign_event", "1", effect=Effect.DENY), ["denied"] * 4),
        (Grant("sign_event", "1"), [""] * 4),
    ],
)
async def test_limits_hold(relay_url: str, data: Path, grant: Grant, expected: list[str]) -> None:
    """Uses, rate and expiry are counted where they can't be raced: all four come at once."""
    async with rig(relay_url, data) as signer, signer.client(granted=[grant]) as client:
        uses = count_key_uses(signer.identity)
        await asyncio.gather(*(client.send("sign_event", NOTE, rid=f"{n}") for n in range(4)))
        answers = [await client.receive() for _ in range(4)]
        words = sorted(item.error.partition(":")[0] for item in answers)
        assert words == sorted(expected)
        assert len(uses) == expected.count("")


async def test_the_proposal_of_a_client_grants_nothing(relay_url: str, data: Path) -> None:
    """Permissions that a client asks for are shown to the owner and worth nothing."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        await client.ask("connect", "", signer.invite("s3cret"), "sign_event,nip44_decrypt")
        assert (await client.ask("sign_event", NOTE, rid="2")).error.startswith("denied: ")
        (stored,) = signer.clients()
        assert stored.requested == "sign_event,nip44_decrypt"
        permissions = (Permission("sign_event"),)
        uri = NostrConnectURI(client.key.pubkey, (relay_url,), "0s8j2djs", permissions)
        await signer.agent.accept(signer.identity, uri, ())
        await client.receive()
        assert (await client.ask("sign_event", NOTE, rid="3")).error.startswith("denied: ")


# --- states --------------------------------------------------------------------------------------


async def unlock(signer: Rig, identity: Identity | None = None) -> None:
    """Unlock as the command does."""
    opened = identity or signer.identity
    opening = partial(signer.service.keystore.unlock, opened.user, None)
    await opened.access.unlock(opening, "test", on_machine=True)


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


async def test_old_entries_of_the_audit_log_are_let_go(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--audit-days is kept by the running signer, and what is left is a chain."""
    monkeypatch.setattr("bunker_signer.service.agent.ROUND", 0.02)
    async with rig(relay_url, data, audit_days=1) as signer, signer.client() as client:
        now = int(time.time())
        with signer.database.write() as to:
            to.execute(update(audit).values(at=now - 86400 - 60))
        async with asyncio.timeout(10):
            while signer.audit():
                await client.ask("ping", rid="p")
        with signer.database.write() as to:
            audit_log.append(to, now, "lock", "default")
        await client.ask("ping", rid="q")
        with signer.database.read() as at:
            assert audit_log.check(at)[0] == 1


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


# --- several keys, several relays ----------------------------------------------------------------


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


async def test_a_client_from_elsewhere_is_moved_to_our_relays(
    relay_url: str, data: Path, tmp_path: Path
) -> None:
    """R3: a client on other relays gets the list once, is served on both, then told "null"."""
    async with running_relay(tmp_path / "theirs") as theirs, rig(relay_url, data) as signer:
        key = SecretKey.generate()
        async with wire(theirs.url, signer.pubkey, key) as there:
            uri = NostrConnectURI(key.pubkey, (theirs.url,), "0s8j2djs")
            await signer.agent.accept(signer.identity, uri, ())
            await there.receive()
            answer = await there.ask("switch_relays", rid="s")
            assert json.loads(answer.json["result"]) == [relay_url]
            assert (await there.ask("ping", rid="p")).json["result"] == "pong"
            assert (await there.ask("switch_relays", rid="t")).json["result"] == "null"
            async with wire(relay_url, signer.pubkey, key) as here:
                assert (await here.ask("ping", rid="q")).json["id"] == "q"
        assert theirs.url in signer.agent.pool.relay_urls
        waiting = await signer.agent._leave_relays(set())
        assert waiting == {theirs.url}
        await signer.agent._leave_relays(waiting)
        assert signer.agent.pool.relay_urls == (relay_url,)


async def test_a_client_that_floods_is_limited(relay_url: str, data: Path) -> None:
    """A paired client may be busy, but not without end, and the others are served."""
    at = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: at) as signer,
        signer.client("sign_event") as client,
        signer.client("sign_event") as other,
    ):
        await client.ask("ping", rid="p")
        bucket = signer.agent.handler._client_requests.get(f"default:{client.key.pubkey}")
        assert bucket is not None
        while bucket.take(at):
            pass
        answer = await client.ask("sign_event", NOTE, rid="x")
        assert answer.error == "rate-limited: too many requests"
        assert content_of(await other.ask("sign_event", NOTE)) == "hello"


async def test_too_much_at_a_time_is_refused(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signer that can't keep up says so at once; the same again later is served."""
    now = int(time.time())
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event") as client,
        wire(relay_url, signer.pubkey) as stranger,
    ):
        with monkeypatch.context() as patched:
            patched.setattr("bunker_signer.service.agent.AT_WORK", 0)
            await stranger.send("connect", "", "guess")
            answer = await client.ask("sign_event", NOTE, rid="x", created_at=now - 2)
            assert answer.error == "rate-limited: the signer is busy, ask again later"
        assert stranger.seen == []
        assert signer.audit("request") == []
        again = await client.ask("sign_event", NOTE, rid="x", created_at=now - 1)
        assert content_of(again) == "hello"


async def test_not_even_refusals_are_without_end(relay_url: str, data: Path) -> None:
    """A client that floods a busy signer gets no more answers than a client may have."""
    at = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: at, client_rate=0.1) as signer,
        signer.client() as client,
    ):
        event = verify(client.event(json.dumps({"id": "x", "method": "ping", "params": []})))
        refuse = signer.agent.handler.turn_away
        replies = [refuse(event, relay_url) for _ in range(4)]
        assert [reply is not None for reply in replies] == [True, True, False, False]


async def test_strangers_cost_a_limited_number_of_key_agreements(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of strangers is looked into so often a second, and clients are served meanwhile.

    Four times as often while a secret waits, or a stranger who has it could never pair.
    """
    at = float(int(time.time()))
    async with rig(relay_url, data, clock=lambda: at) as signer, signer.client() as client:
        opened: list[str] = []
        channel = signer.identity.channel

        def counted(pubkey: str) -> Any:
            opened.append(pubkey)
            return channel(pubkey)

        monkeypatch.setattr(signer.identity, "channel", counted)
        template = rpc_template("A" * 200, signer.pubkey, int(at))
        for _ in range(250):
            event = sign_event(template, SecretKey.generate())
            assert await signer.agent.handler.handle(verify(event), relay_url) is None
        assert 100 < len(opened) <= 200
        assert (await client.ask("ping", rid="p", created_at=int(at))).json["result"] == "pong"
        signer.invite("unused-secret")
        at += 3.0
        for _ in range(254):
            event = sign_event(template, SecretKey.generate())
            assert await signer.agent.handler.handle(verify(event), relay_url) is None
        async with wire(relay_url, signer.pubkey) as late:
            paired = await late.ask("connect", "", "unused-secret", created_at=int(at))
        assert paired.json["result"] == "ack"


async def test_strangers_leave_no_trace(relay_url: str, data: Path) -> None:
    """However many come, nothing of theirs is written down, and little is kept in memory."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        before = (signer.clients(), len(signer.audit()))
        async with wire(relay_url, signer.pubkey) as stranger:
            for number in range(30):
                stranger.key = SecretKey.generate()
                await stranger.send("connect", "", f"guess {number}", rid=f"{number}")
            await client.ask("ping", rid="p")
        with signer.database.read() as connection:
            # the client's own connect and ping
            assert (connection.scalar(select(func.count()).select_from(handled)) or 0) <= 2
            assert connection.scalar(select(func.count()).select_from(requests)) == 0
        assert (len(signer.clients()), len(signer.audit())) == (len(before[0]), before[1])


async def test_audit_has_no_content(relay_url: str, data: Path) -> None:
    """What was signed is in the log by its id, and in the database nowhere in the clear."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        answer = await client.ask("sign_event", note("a very private content"))
        event = verify(parse_event_json(answer.json["result"]))
        (entry,) = signer.audit("request")
        assert (entry.event_id, entry.method, entry.param) == (event.id, "sign_event", "1")
        assert (entry.client_pubkey, entry.outcome) == (client.key.pubkey, "allowed")
    assert not any(
        b"very private" in path.read_bytes() for path in data.rglob("*") if path.is_file()
    )


async def test_a_repetition_of_what_is_worked_on_is_not_decided_again(
    relay_url: str, data: Path
) -> None:
    """Its first is not in the journal yet: no use is counted, the key is not opened."""
    grant = Grant("sign_event", uses_left=1)
    async with rig(relay_url, data) as signer, signer.client(granted=[grant]) as client:
        uses = count_key_uses(signer.identity)
        request = Request("x", "sign_event", (NOTE,))
        event = verify(client.event(request.to_json()))
        (known,) = signer.clients()
        now = int(time.time())
        job = Job(signer.identity, known, event, request, Scheme.NIP44, set(), now, now)
        operation = read_operation(request, signer.user, now)
        with signer.database.write() as connection:
            admitted = decision.admit(connection, job, operation, now, running=True, attended=False)
        assert admitted is not None
        assert (admitted.reply, admitted.refusal, uses) == (None, None, [])
        assert [item.uses_left for item in signer.grants(client.key.pubkey)] == [1]


async def test_a_repetition_of_what_is_refused_uses_no_grant(relay_url: str, data: Path) -> None:
    """It came while the first was being refused, which a journal does not show; then a rule came.

    The one answer is the first's: what nobody gets is not signed, and counts no use.
    """
    async with rig(relay_url, data) as signer, signer.client() as client:
        uses = count_key_uses(signer.identity)
        request = Request("x", "sign_event", (NOTE,))
        (known,) = signer.clients()
        now = int(time.time())
        one, two = (
            Job(
                signer.identity,
                known,
                verify(client.event(request.to_json(), created_at=now - age)),
                request,
                Scheme.NIP44,
                set(),
                now,
                now,
            )
            for age in (0, 1)
        )
        writer = Writer(signer.database)
        jobs = Jobs(writer, Approvals([]))
        grant = Grant("sign_event", uses_left=1)
        key, pubkey = signer.identity.name, client.key.pubkey
        refused, _, repeated = await asyncio.gather(
            jobs.run(one),
            writer.write(lambda to: grants.put(to, key, pubkey, grant, now)),
            jobs.run(two),
        )
        assert refused is not None
        assert refused.response.error == "denied: sign_event:1 is not allowed"
        assert (repeated, uses) == (None, [])
        assert [item.uses_left for item in signer.grants(pubkey)] == [1]
