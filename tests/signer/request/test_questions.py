"""What the owner is asked, and what becomes of their answer."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_signer.policy import Effect
from bunker_signer.request.approval import MAX_WAITING, Answer, Verdict
from bunker_signer.store import clients
from bunker_signer.store.database.schema import requests
from signer.request.support.rig import ALWAYS, DENY, NEVER, ONCE, Owner, count_key_uses, rig
from signer.request.wire._wire import NOTE, content_of, note, wire


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


# --- auth_url ------------------------------------------------------------------------------------


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
