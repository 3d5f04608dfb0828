"""Requests that want the key: allowed or not, limited, each answered exactly once."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from bunker_core.event import verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Permission, Request
from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.request import decision
from bunker_signer.request.approval import Approvals
from bunker_signer.request.decision import Job
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.operation import read_operation
from bunker_signer.store import Writer, audit_log, grants
from bunker_signer.store.database.schema import audit
from signer.request.support.rig import DENY, ONCE, Owner, count_key_uses, rig
from signer.request.wire._wire import NOTE, content_of, note, signed, wire

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
    """A client that repeats itself while the owner thinks asks them once and gets one answer."""
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


# --- the audit log -------------------------------------------------------------------------------


async def test_old_entries_of_the_audit_log_are_let_go(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--audit-days is kept by the running signer, and what is left is a chain."""
    monkeypatch.setattr("bunker_signer.service.housekeeping.ROUND", 0.02)
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


async def test_audit_has_no_content(relay_url: str, data: Path) -> None:
    """What was signed is in the log by its id, and in the database nowhere in the clear."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        answer = await client.ask("sign_event", note("a very private content"))
        event = signed(answer)
        (entry,) = signer.audit("request")
        assert (entry.event_id, entry.method, entry.param) == (event.id, "sign_event", "1")
        assert (entry.client_pubkey, entry.outcome) == (client.key.pubkey, "allowed")
    assert not any(
        b"very private" in path.read_bytes() for path in data.rglob("*") if path.is_file()
    )


# --- repetitions of what is under way ------------------------------------------------------------


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
        writer.close()
