"""Every way of a request from the decision to the answer, and that nothing is left of it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bunker_core.event import parse_event_json
from bunker_core.nips.nip46 import Request, Response
from bunker_signer.key.access import KeyState
from bunker_signer.nse import NSEError, NSEErrorCode
from bunker_signer.policy import Grant
from bunker_signer.request import approval, decision, jobs
from bunker_signer.request.decision import Job
from bunker_signer.request.reply import Reply
from bunker_signer.store import StoreError, journal
from bunker_signer.store.database.space import Space
from bunker_signer.store.journal import State
from signer.request.support.desk import HOME, NOW, OWN, THEIRS, Desk, settle
from signer.request.support.rig import ALWAYS, DENY, ONCE
from signer.request.wire._wire import NOTE

SIGN = Grant("sign_event", "1")
REFUSED = "denied: sign_event:1 is not allowed"
PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest.fixture
async def desk(data: Path) -> Any:
    opened = Desk(data)
    yield opened
    opened.close()


@pytest.fixture
def alone(data: Path) -> Iterator[Desk]:
    """A signer that can ask nobody."""
    opened = Desk(data, attended=False)
    yield opened
    opened.close()


def content(reply: Reply | None) -> str:
    assert reply is not None
    assert reply.response.error is None
    return str(parse_event_json(reply.response.result or "").content)


def error(reply: Reply | None) -> str:
    assert reply is not None
    return reply.response.error or ""


async def test_what_a_grant_allows_is_answered_and_written_down(desk: Desk) -> None:
    """By every relay that brought it and the client's own; the journal has it, encrypted."""
    desk.admit(SIGN)
    took: list[float] = []
    desk.metrics.took = took.append  # type: ignore[method-assign,assignment]
    job = desk.job("sign_event", NOTE, relays=[THEIRS])
    desk.now += 2
    reply = await desk.jobs.run(job)
    assert content(reply) == "hello"
    assert reply is not None
    assert set(reply.relays) == {THEIRS, HOME}
    entry = desk.entry(job.digest)
    assert entry is not None
    assert (entry.state, entry.answer, entry.event) == (State.ANSWERED, reply.sealed, "")
    (line,) = desk.audit()
    assert (line.outcome, line.decided_by) == ("allowed", "grant sign_event:1")
    assert (took, desk.metrics._requests) == ([2.0], {("sign_event", "ok"): 1})
    assert desk.is_idle


async def test_on_a_full_disk_nothing_is_written(data: Path) -> None:
    """The client is told, and may ask the same again."""
    desk = Desk(data, space=Space(data, free=lambda _: 0))
    desk.admit(SIGN)
    job = desk.job("sign_event", NOTE)
    reply = await desk.jobs.run(job)
    assert error(reply) == "error: the signer's disk is nearly full"
    assert (reply and reply.digest, desk.entry(job.digest), desk.uses) == ("", None, [])
    assert desk.metrics._requests == {("sign_event", "error"): 1}
    desk.close()


async def test_what_can_not_be_read_is_refused_once(desk: Desk) -> None:
    """It is not in the journal; the event is remembered."""
    job = desk.job("sign_event", "{")
    reply = await desk.jobs.run(job)
    assert error(reply).startswith("invalid: ")
    assert (reply and reply.digest, desk.entry(job.digest)) == ("", None)
    with desk.database.write() as to:
        assert not journal.mark_handled(to, job.event.id, NOW)
    assert desk.is_idle


async def test_a_repetition_of_what_is_worked_on_adds_its_relay(desk: Desk) -> None:
    """It gets no answer of its own; the one there is goes by both."""
    first = desk.begin("sign_event", NOTE, relays=[OWN])
    _, answer = await desk.owner.question()
    assert desk.jobs.running == 1
    assert await desk.jobs.run(desk.job("sign_event", NOTE, at=NOW + 1, relays=[THEIRS])) is None
    assert desk.jobs.running == 1
    answer.set_result(ONCE)
    reply = await first
    assert content(reply) == "hello"
    assert reply is not None
    assert set(reply.relays) == {OWN, THEIRS, HOME}
    assert (desk.uses, len(desk.owner.asked)) == (["sign"], 1)
    assert desk.is_idle


async def test_a_repetition_while_the_answer_is_written_down_adds_its_relay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is sealed by then, and not sent yet."""
    right = decision.answer

    def meanwhile(to: Any, job: Job, *said: Any, **how: Any) -> bool:
        job.relays.add(THEIRS)  # as `start` does for the same request
        return right(to, job, *said, **how)

    monkeypatch.setattr(decision, "answer", meanwhile)
    desk.owner.answers.append(ONCE)
    reply = await desk.ask("sign_event", NOTE)
    assert content(reply) == "hello"
    assert set(reply.relays) == {OWN, THEIRS, HOME}


async def test_a_repetition_of_what_is_answered_is_answered_alike(desk: Desk) -> None:
    """By its own relay, without the key and the owner; also when it had been delivered."""
    desk.owner.answers.append(ONCE)
    first = await desk.ask("sign_event", NOTE)
    for later in (1, 2):
        again = await desk.ask("sign_event", NOTE, at=NOW + later, relays=[THEIRS])
        assert again.response == first.response
        assert set(again.relays) == {THEIRS, HOME}
        desk.jobs.delivered(again)
        entry = desk.entry(again.digest)
        assert entry is not None
        assert entry.state is State.DONE
    assert (desk.uses, len(desk.owner.asked)) == (["sign"], 1)
    job = desk.job("sign_event", NOTE)
    event = await desk.jobs.run(job)
    assert event is not None
    assert await desk.jobs.run(job) is None, "the same event"
    assert desk.is_idle


async def test_what_is_not_in_the_journal_is_not_finished(desk: Desk) -> None:
    """A refusal, for instance, of the same request."""
    desk.owner.answers.append(ONCE)
    reply = await desk.ask("sign_event", NOTE)
    desk.jobs.delivered(replace(reply, digest=""))
    entry = desk.entry(reply.digest)
    assert entry is not None
    assert entry.state is State.ANSWERED


async def test_refusals_of_a_kind_are_one_line(alone: Desk) -> None:
    """The first is in the audit log, and none is in the journal."""
    for rid in "ab":
        job = alone.job("sign_event", NOTE, rid=rid)
        reply = await alone.jobs.run(job)
        assert error(reply) == REFUSED
        assert (reply and reply.digest, alone.entry(job.digest)) == ("", None)
    (line,) = alone.audit()
    assert (line.outcome, line.decided_by) == (REFUSED, "nobody to ask")
    assert alone.is_idle


@pytest.mark.parametrize(
    ("said", "expected"), [(ONCE, ""), (ALWAYS, ""), (DENY, REFUSED)], ids=["once", "always", "no"]
)
async def test_what_the_owner_says_holds(desk: Desk, said: Any, expected: str) -> None:
    """For the same request also later; who said it is in the audit log."""
    desk.owner.answers.append(said)
    first = await desk.ask("sign_event", NOTE)
    assert error(first) == expected
    assert error(await desk.ask("sign_event", NOTE, at=NOW + 1)) == expected
    assert (len(desk.owner.asked), len(desk.uses)) == (1, not expected)
    (line,) = desk.audit()
    assert (line.outcome, line.decided_by) == (expected or "allowed", "test")
    entry = desk.entry(first.digest)
    assert entry is not None
    assert entry.decided_by == ("test" if not expected else "")
    assert desk.is_idle


async def test_nobody_answers_in_time(data: Path) -> None:
    """That is the answer, from the arrival on."""
    desk = Desk(data, deadline=5)
    job = desk.job("sign_event", NOTE)
    desk.now += 5
    assert error(await desk.jobs.run(job)) == "expired: nobody answered within 5 s"
    assert desk.owner.asked[0].deadline == desk.now
    entry = desk.entry(job.digest)
    assert entry is not None
    assert entry.state is State.ANSWERED
    assert desk.is_idle
    desk.close()


async def test_the_owner_is_asked_about_what_matters(desk: Desk) -> None:
    """An event, or a text to encrypt; what is to be decrypted tells nobody anything."""
    desk.owner.answers += [DENY] * 3
    await desk.ask("sign_event", NOTE, rid="a")
    await desk.ask("nip44_encrypt", PEER, "text", rid="b")
    payload = desk.identity.user.nip44_encrypt(PEER, "text")
    await desk.ask("nip44_decrypt", PEER, payload, rid="c")
    items = [question.items[0] for question in desk.owner.asked]
    assert [item.template is not None for item in items] == [True, False, False]
    assert [item.text for item in items] == ["", "text", ""]
    assert {question.client_name for question in desk.owner.asked} == {"app"}
    assert {(question.key_name, question.client_pubkey) for question in desk.owner.asked} == {
        ("default", desk.key.pubkey)
    }


@pytest.mark.parametrize("attended", [True, False])
async def test_a_page_to_answer_at_is_sent_once(data: Path, attended: bool) -> None:
    """When there is somebody who can; it is no answer, so that nothing is kept of it."""
    desk = Desk(data, attended=attended, auth_url="https://me.example/{request}")
    sent: list[Reply] = []
    desk.jobs.on_interim = sent.append
    desk.owner.answers.append(ONCE)
    job = desk.job("sign_event", NOTE)
    await desk.jobs.run(job)
    pages = [reply.response for reply in sent]
    assert pages == [Response("1", "auth_url", f"https://me.example/{job.digest}")] * attended
    assert [reply.digest for reply in sent] == [""] * attended
    desk.close()


async def test_bytes_that_wait_for_the_owner_are_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next may be asked when one is answered; a refusal for want of room is not kept."""
    first, second = desk.job("sign_event", NOTE, rid="a"), desk.job("sign_event", NOTE, rid="b")
    monkeypatch.setattr(jobs, "ASKED_BYTES", len(first.event.content))
    waiting = asyncio.create_task(desk.jobs.run(first))
    _, answer = await desk.owner.question()
    refused = await desk.jobs.run(second)
    assert error(refused) == "pending: too many bytes wait for approval"
    assert desk.entry(second.digest) is None
    answer.set_result(DENY)
    await waiting
    desk.owner.answers.append(ONCE)
    assert content(await desk.ask("sign_event", NOTE, rid="b", at=NOW + 1)) == "hello"
    assert desk.is_idle


async def test_requests_that_wait_for_the_owner_are_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above; and what was refused holds no bytes."""
    monkeypatch.setattr(approval, "MAX_WAITING", 1)
    waiting = desk.begin("sign_event", NOTE, rid="a")
    _, answer = await desk.owner.question()
    held = desk.jobs._asked_bytes.total()
    job = desk.job("sign_event", NOTE, rid="b")
    assert error(await desk.jobs.run(job)) == "pending: too many requests wait for approval"
    assert (desk.jobs._asked_bytes.total(), desk.entry(job.digest)) == (held, None)
    answer.set_result(ONCE)
    assert content(await waiting) == "hello"
    (refused, _) = desk.audit()
    assert refused.outcome.startswith("pending: ")
    assert desk.is_idle


@pytest.mark.parametrize("said", [ONCE, DENY])
async def test_an_app_that_is_gone_when_the_owner_answers(desk: Desk, said: Any) -> None:
    """Nothing is done for it, and nothing is written down as if."""
    asking = desk.begin("sign_event", NOTE)
    _, answer = await desk.owner.question()
    desk.revoke()
    answer.set_result(said)
    assert error(await asking) == "denied: not connected any more"
    assert desk.uses == []
    assert {line.outcome for line in desk.audit()} == {"denied: not connected any more"}
    assert desk.is_idle


async def test_an_app_that_is_gone_while_the_key_works(desk: Desk) -> None:
    """What the key made of it goes nowhere."""
    sign = desk.identity.sign

    def then_gone(*args: Any) -> Any:
        desk.revoke()
        return sign(*args)

    desk.identity.sign = then_gone  # type: ignore[method-assign,assignment]
    desk.owner.answers.append(ONCE)
    assert error(await desk.ask("sign_event", NOTE)) == "denied: not connected any more"
    assert desk.uses == ["sign"]


# --- the key's states ----------------------------------------------------------------------------


async def test_a_request_waits_for_the_unlock(desk: Desk) -> None:
    """Who unlocks is told for each; then it is answered as if nothing had been."""
    desk.admit(SIGN)
    told: list[str] = []
    desk.jobs.on_locked = lambda identity: told.append(identity.name)
    desk.identity.access.lock("test")
    waiting = [desk.begin("sign_event", NOTE, rid=rid) for rid in "ab"]
    await settle()
    assert (told, desk.jobs.running, desk.identity.waiting) == (["default"] * 2, 2, 2)
    assert desk.jobs._locked_out.total() == 2
    await desk.unlock()
    assert [content(reply) for reply in await asyncio.gather(*waiting)] == ["hello"] * 2
    assert desk.is_idle


async def test_few_wait_for_the_unlock_and_not_for_ever(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are told so, and may ask the same again; nothing of it stays."""
    monkeypatch.setattr(jobs, "MAX_WAITING", 1)
    desk = Desk(data, deadline=5)
    desk.admit(SIGN)
    desk.identity.access.lock("test")
    waiting = desk.begin("sign_event", NOTE, rid="a")
    await settle()
    second = await desk.ask("sign_event", NOTE, rid="b")
    assert error(second) == "locked: too many requests wait for the unlock"
    assert desk.jobs._locked_out.total() == 1
    late = desk.job("sign_event", NOTE, rid="c")
    desk.jobs._locked_out.give_back(("default", desk.key.pubkey), 1)
    desk.now += 5
    assert error(await desk.jobs.run(late)) == "locked: the key was not unlocked in time"
    assert [desk.entry(digest) for digest in (second.digest, late.digest)] == [None, None]
    assert desk.jobs._locked_out.take(("default", desk.key.pubkey), 1, 1)
    await desk.unlock()
    assert content(await waiting) == "hello"
    assert content(await desk.ask("sign_event", NOTE, rid="c", at=NOW + 6)) == "hello"
    assert desk.is_idle
    desk.close()


async def test_an_app_that_is_gone_when_the_key_is_unlocked(desk: Desk) -> None:
    """The key is not used for it."""
    desk.admit(SIGN)
    desk.identity.access.lock("test")
    waiting = desk.begin("sign_event", NOTE)
    await settle()
    desk.revoke()
    await desk.unlock()
    assert error(await waiting) == "denied: not connected any more"
    assert (desk.uses, desk.is_idle) == ([], True)


@pytest.mark.parametrize("when", ["before", "while asked"])
async def test_a_paused_key_refuses(desk: Desk, when: str) -> None:
    """For as long as it is paused, and no longer."""
    if when == "before":
        desk.admit(SIGN)
        desk.identity.access.pause("test")
        reply = await desk.ask("sign_event", NOTE)
    else:
        asking = desk.begin("sign_event", NOTE)
        _, answer = await desk.owner.question()
        desk.identity.access.pause("test")
        answer.set_result(ONCE)
        done = await asking
        assert done is not None
        reply = done
    assert error(reply) == "locked: the signer is paused"
    assert desk.uses == []
    desk.identity.access.resume("test")
    desk.owner.answers.append(ONCE)
    assert content(await desk.ask("sign_event", NOTE, at=NOW + 1)) == "hello"


async def test_a_key_that_another_process_changed_waits_for_the_unlock(desk: Desk) -> None:
    """It can't be used, and looks unlocked: from here on it is locked."""
    desk.owner.answers.append(ONCE)
    desk.identity.user.lock()
    waiting = desk.begin("sign_event", NOTE)
    await settle()
    assert desk.identity.state is KeyState.LOCKED
    await desk.unlock()
    assert content(await waiting) == "hello"
    assert desk.is_idle


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (NSEErrorCode.DECRYPTION_FAILED, "invalid: what the client sent"),
        (NSEErrorCode.SIGN_FAILED, "invalid: what the client sent"),
        (NSEErrorCode.STORAGE_ERROR, "error: the signer can't use its key"),
        (None, "error: the signer failed"),
    ],
)
async def test_what_goes_wrong_with_the_key_is_an_answer(
    desk: Desk, code: NSEErrorCode | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's fault holds for the same request; ours may be over. No text is in the log."""

    def fails(*_: object) -> None:
        if code is None:
            raise KeyError("what the client sent")
        raise NSEError("what the client sent", code)

    right, desk.identity.sign = desk.identity.sign, fails  # type: ignore[method-assign,assignment]
    desk.owner.answers.append(ONCE)
    first = await desk.ask("sign_event", NOTE)
    assert error(first) == said
    lasting = said.startswith("invalid")
    assert (desk.entry(first.digest) is not None) is lasting
    assert ("request failed" in caplog.text) is (code is None)
    assert ("key can't be used" in caplog.text) is said.endswith("its key")
    assert code is not None or "what the client sent" not in str(vars(caplog.records[0]))
    desk.identity.sign = right  # type: ignore[method-assign]
    desk.owner.answers.append(ONCE)
    again = await desk.ask("sign_event", NOTE, at=NOW + 1)
    assert error(again) == (said if lasting else "")
    assert desk.is_idle


# --- what can't be written, and what is kept -----------------------------------------------------


async def test_what_can_not_be_written_down_is_not_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the beginning nor at the end; the error is for who waits."""
    desk.owner.answers += [ONCE] * 3

    def fails(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    for what in ("admit", "answer"):
        with monkeypatch.context() as patch:
            patch.setattr(f"bunker_signer.request.decision.{what}", fails)
            with pytest.raises(StoreError):
                await desk.ask("sign_event", NOTE, rid=what)
        assert desk.is_idle
    assert content(await desk.ask("sign_event", NOTE, rid="x")) == "hello"


async def test_a_repetition_that_can_not_be_written_down_ends_itself_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it repeats is still being worked on."""
    first = desk.begin("sign_event", NOTE)
    _, answer = await desk.owner.question()
    with monkeypatch.context() as patch:

        def fails(*_: object, **__: object) -> None:
            raise StoreError("the disk is full")

        patch.setattr("bunker_signer.request.decision.admit", fails)
        with pytest.raises(StoreError):
            await desk.jobs.run(desk.job("sign_event", NOTE, at=NOW + 1))
    assert desk.jobs.running == 1
    answer.set_result(ONCE)
    assert content(await first) == "hello"
    assert desk.is_idle


async def test_a_fault_after_the_commit_leaves_nothing_running(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised where the answer is waited for."""
    desk.admit(SIGN)

    def fails(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(desk.metrics, "took", fails)
    with pytest.raises(KeyError):
        await desk.ask("sign_event", NOTE)
    assert desk.is_idle


async def test_the_oldest_answers_of_an_app_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many bytes of them; looked at once in a quarter of that."""
    desk.admit(SIGN)
    first = await desk.ask("sign_event", NOTE, rid="0")
    size = len(first.sealed)
    monkeypatch.setattr(jobs, "KEPT_BYTES", 4 * size)
    desk.jobs._kept_bytes.clear()
    for number in range(1, 7):
        desk.now += 1
        await desk.ask("sign_event", NOTE, rid=f"{number}", at=NOW + number)
        counted = desk.jobs._kept_bytes.total()
        assert counted == (size if number % 2 else 0)
    kept = [desk.entry(desk.job("sign_event", NOTE, rid=f"{number}").digest) for number in range(7)]
    assert [entry is not None for entry in kept] == [False] * 3 + [True] * 4


@pytest.mark.parametrize("kept", [True, False])
async def test_what_no_relay_carries_is_replaced(desk: Desk, kept: bool) -> None:
    """Also in the journal, if it is there; an error is not replaced by another one."""
    desk.owner.answers += [ONCE, DENY]
    reply = await desk.ask("sign_event", NOTE)
    given = reply if kept else replace(reply, digest="")
    instead = await desk.jobs.too_large(given, "invalid: too large")
    assert error(instead) == "invalid: too large"
    assert instead is not None
    assert instead.response.id == "1"
    entry = desk.entry(reply.digest)
    assert entry is not None
    assert entry.answer == (instead.sealed if kept else reply.sealed) != ""
    again = await desk.ask("sign_event", NOTE, at=NOW + 1)
    assert error(again) == ("invalid: too large" if kept else "")
    denied = await desk.ask("sign_event", NOTE, rid="2")
    assert await desk.jobs.too_large(denied, "invalid: too large") is None


# --- after a restart -----------------------------------------------------------------------------


async def begun(desk: Desk, state: State) -> journal.Entry:
    """Leave a request in the journal as a run that was killed does."""
    job = desk.job("sign_event", NOTE, relays=[THEIRS])
    if state is State.ANSWERED:
        desk.owner.answers.append(ONCE)
        assert await desk.jobs.run(job) is not None
    else:
        event = job.event.to_json().decode()
        decided = "somebody" if state is State.APPROVED else ""
        with desk.database.write() as to:
            journal.add(
                to,
                journal.Entry(
                    job.digest, "default", desk.key.pubkey, event, THEIRS, state, NOW, decided, ""
                ),
            )
    entry = desk.entry(job.digest)
    assert entry is not None
    desk.uses.clear()
    desk.owner.asked.clear()
    return entry


@pytest.mark.parametrize("state", [State.OPEN, State.APPROVED, State.ANSWERED])
async def test_a_request_is_taken_up_where_it_was(data: Path, state: State) -> None:
    """Asked again, done without a question, or only sent; without another page to answer at."""
    desk = Desk(data, auth_url="https://me.example/")
    pages: list[Reply] = []
    entry = await begun(desk, state)
    desk.jobs.on_interim = pages.append
    desk.owner.answers.append(ONCE)
    reply = await desk.jobs.resume(desk.identity, entry)
    assert content(reply) == "hello"
    assert reply is not None
    assert set(reply.relays) == {entry.relay_url, HOME}
    assert (reply.digest, reply.client_pubkey) == (entry.digest, desk.key.pubkey)
    assert len(desk.owner.asked) == (state is State.OPEN)
    assert len(desk.uses) == (state is not State.ANSWERED)
    assert pages == []
    (line,) = desk.audit()
    assert line.decided_by == ("somebody" if state is State.APPROVED else "test")
    again = desk.entry(entry.digest)
    assert again is not None
    assert again.state is State.ANSWERED
    assert desk.is_idle
    desk.close()


@pytest.mark.parametrize("state", [State.OPEN, State.ANSWERED])
async def test_a_request_whose_app_is_gone_is_not_taken_up(desk: Desk, state: State) -> None:
    """Nor one that its app has repeated already."""
    entry = await begun(desk, state)
    desk.jobs._running[entry.digest] = desk.job("sign_event", NOTE)
    assert await desk.jobs.resume(desk.identity, entry) is None
    assert desk.jobs.running == 1
    desk.jobs._running.clear()
    desk.revoke()
    assert await desk.jobs.resume(desk.identity, entry) is None
    assert (desk.uses, desk.owner.asked, desk.is_idle) == ([], [], True)


async def test_an_entry_that_can_not_be_read_is_forgotten(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be met at every start; the others are taken up."""
    entry = await begun(desk, State.OPEN)
    request = Request("1", "sign_event", ("{",))
    unreadable = desk.event(request).to_json().decode()
    for broken in ("{", json.dumps({**json.loads(entry.event), "content": "x"}), unreadable):
        with desk.database.write() as to:
            journal.forget(to, entry.digest)
            journal.add(to, replace(entry, event=broken))
        caplog.clear()
        assert await desk.jobs.resume(desk.identity, replace(entry, event=broken)) is None
        assert desk.entry(entry.digest) is None
        assert "journal entry unreadable" in caplog.text
    assert (desk.uses, desk.is_idle) == ([], True)
