"""An app fills no disk: what is kept of it has a bound, whatever it sends and however often."""

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bunker_core.event import verify
from bunker_core.keys import SecretKey
from bunker_signer.policy import Effect, Grant
from bunker_signer.request import jobs as jobs_module
from bunker_signer.request.approval import Answer, Verdict
from bunker_signer.store import Database, audit_log, journal
from bunker_signer.store.database.schema import requests
from bunker_signer.store.database.space import FLOOR, Space
from bunker_signer.store.journal import Entry, State
from signer.request.support.rig import DENY, ONCE, Owner, Rig, database_in, rig
from signer.request.wire._wire import Wire

LARGE = "x" * 60_000


def kept(database: Database) -> tuple[int, int]:
    """Return how many requests are in the journal, and their bytes."""
    size = func.length(requests.c.event) + func.length(requests.c.answer)
    with database.read() as connection:
        row = connection.execute(select(func.count(), func.coalesce(func.sum(size), 0))).one()
    return int(row[0]), int(row[1])


async def flood(signer: Rig, client: Wire, count: int) -> set[str]:
    """Have so many large requests handled, without a relay; return the errors."""
    errors = set()
    for number in range(count):
        event = {"kind": 1, "content": LARGE + str(number)}
        request = {"id": f"{number}", "method": "sign_event", "params": [json.dumps(event)]}
        sent = verify(client.event(json.dumps(request)))
        reply = await signer.agent.handler.handle(sent, signer.relay)
        assert reply is not None
        errors.add(reply.response.error or "")
    return errors


@pytest.mark.parametrize("rule", [True, False])
async def test_a_hundred_refusals_are_two_entries(rule: bool, relay_url: str, data: Path) -> None:
    """By a rule, or with nobody to ask: nothing is journaled, and the log has one and a sum."""
    denied = [Grant("sign_event", None, Effect.DENY)] if rule else []
    async with rig(relay_url, data) as signer, signer.client(granted=denied) as client:
        before = kept(signer.database)
        (error,) = await flood(signer, client, 100)
        assert error.startswith("denied: ")
        assert kept(signer.database) == before
        assert len(signer.audit("request")) == 1
    with database_in(data / "signer.sqlite3") as database, database.read() as connection:
        wanted = audit_log.AuditFilter(action="request")
        first, summed = audit_log.entries(connection, wanted)
        assert first.outcome == error
        assert summed.outcome.startswith("denied: 99 more in ")
        assert (summed.client_pubkey, summed.method) == (client.key.pubkey, "sign_event")
        assert audit_log.check(connection)[0] >= 3
    assert (data / "signer.sqlite3").stat().st_size < 1_000_000  # of eight million bytes sent


async def test_a_sum_is_written_when_its_time_is_over(relay_url: str, data: Path) -> None:
    """The owner of a signer that runs for months learns of it within ten minutes."""
    now = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: now) as signer,
        signer.client() as client,
    ):
        await flood(signer, client, 5)
        signer.agent.housekeeping.let_go()
        assert len(signer.audit("request")) == 1
        now += 600
        signer.agent.housekeeping.let_go()
        assert [item.outcome for item in signer.audit("request")][1:] == ["denied: 4 more in 600 s"]


async def test_an_answer_is_kept_without_its_request(relay_url: str, data: Path) -> None:
    """The digest tells a repetition, the answer is what it gets; the request is not needed."""
    owner = Owner([ONCE, DENY])
    async with (
        rig(relay_url, data, approver=owner) as signer,
        signer.client("nip44_encrypt") as client,
    ):
        note = json.dumps({"kind": 1, "content": LARGE, "created_at": 1_700_000_000})
        first = await client.ask("sign_event", note, rid="a")
        assert (await client.ask("sign_event", json.dumps({"kind": 7}), rid="b")).error
        await client.ask("nip44_encrypt", SecretKey.generate().pubkey, LARGE, rid="c")
        again = await client.ask("sign_event", note, rid="a")
        assert again.json == first.json
        with signer.database.read() as connection:
            assert set(connection.scalars(select(requests.c.event))) == {""}


async def test_a_clients_answers_have_a_budget(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its oldest go first, and nobody else's."""
    monkeypatch.setattr(jobs_module, "KEPT_BYTES", 400_000)
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event") as client,
        signer.client("sign_event") as other,
    ):
        await flood(signer, other, 1)
        await flood(signer, client, 30)
        signer.agent.handler._writer.flush()
        count, size = kept(signer.database)
        assert size < 400_000 + 400_000 // 4 + 200_000
        assert count < 8
        with signer.database.read() as connection:
            theirs = set(connection.scalars(select(requests.c.client_pubkey)))
        assert theirs == {client.key.pubkey, other.key.pubkey}


def test_open_requests_are_not_shrunk(data: Path) -> None:
    """What waits for a person stays, whatever its size."""
    data.mkdir()
    with database_in(data / "x.sqlite3") as database:
        with database.write() as connection:
            for number, state in enumerate((State.OPEN, State.DONE, State.ANSWERED, State.DONE)):
                answer = "" if state is State.OPEN else "a" * 100
                journal.add(
                    connection,
                    Entry(f"{number}", "default", "c", "e" * 500, "", state, number, "", answer),
                )
            assert journal.shrink(connection, "default", "c", 200) == 1
            assert journal.shrink(connection, "default", "c", 200) == 0
        with database.read() as connection:
            assert set(connection.scalars(select(requests.c.digest))) == {"0", "2", "3"}


async def test_bytes_that_wait_for_a_person_have_a_bound(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app can't have the owner's disk filled with questions."""
    monkeypatch.setattr(jobs_module, "ASKED_BYTES", 100_000)
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        await client.send("sign_event", json.dumps({"kind": 1, "content": LARGE}), rid="a")
        _, answer = await owner.question()
        more = await client.ask("sign_event", json.dumps({"kind": 7, "content": LARGE}), rid="b")
        assert more.error == "pending: too many bytes wait for approval"
        answer.set_result(ONCE)
        assert not (await client.receive()).error
        assert not signer.service.jobs._asked_bytes


async def test_a_full_disk_refuses_and_says_so(
    relay_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests get an error before anything is begun; a ping is answered; it is logged once."""
    free, seconds = [FLOOR - 1], [0.0]
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        space = signer.service.jobs.space
        space._free, space._steady = lambda _: free[0], lambda: seconds[0]
        space._looked_at = -1.0
        for rid in "ab":
            answer = await client.ask("sign_event", '{"kind":1}', rid=rid)
            assert answer.error == "error: the signer's disk is nearly full"
            seconds[0] += 1
        assert not signer.agent.has_room
        assert (await client.ask("ping", rid="p")).json["result"] == "pong"
        assert sum(text.startswith("the disk is nearly full") for text in caplog.messages) == 1
        free[0] = FLOOR
        seconds[0] += 1
        assert not (await client.ask("sign_event", '{"kind":1}', rid="c")).error


def test_without_a_directory_there_is_always_room() -> None:
    """PostgreSQL has a disk of its own."""
    assert Space(None).enough


async def test_uses_count_what_was_asked_together(relay_url: str, data: Path) -> None:
    """`--uses 2` on a burst of five signs two, asks about the three again, and leaves none."""
    owner = Owner()
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        for number in range(5):
            await client.send("sign_event", json.dumps({"kind": 1}), rid=f"{number}")
        question, answer = await owner.question()
        assert len(question.items) == 5
        answer.set_result(Answer(Verdict.ALWAYS, "test", uses=2))
        signed = [await client.receive() for _ in range(2)]
        assert not any(item.error for item in signed)
        question, answer = await owner.question()
        assert len(question.items) == 3
        assert signer.grants(client.key.pubkey) == ()
        answer.set_result(Answer(Verdict.ALWAYS, "test", uses=4))
        rest = [await client.receive() for _ in range(3)]
        assert not any(item.error for item in rest)
        assert [grant.uses_left for grant in signer.grants(client.key.pubkey)] == [1]
