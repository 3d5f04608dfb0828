"""Approvals: one question to everyone who can be asked, the first answer counts."""

import asyncio

import pytest

from bunker_core.nips.nip46 import Method
from bunker_signer.policy import Action
from bunker_signer.request.approval import (
    TOGETHER,
    Answer,
    Approvals,
    Item,
    Question,
    TooMany,
    Verdict,
)
from signer.request.support.rig import DENY, ONCE, Owner

CLIENT = "aa" * 32
NOTE = Item(Action(Method.SIGN_EVENT, kind=1), "d1")


class Failing:
    """An approver that breaks."""

    async def ask(self, question: Question) -> Answer:
        raise OSError("the terminal is gone")


def ask(
    approvals: Approvals, item: Item = NOTE, seconds: float = 10
) -> "asyncio.Task[Answer | None]":
    return asyncio.create_task(approvals.ask("default", CLIENT, "App", item, seconds))


async def test_the_first_answer_counts() -> None:
    """All are asked at once; who did not answer is told that it is over."""
    quick, slow = Owner([ONCE]), Owner()
    approvals = Approvals([slow, quick], gather=0)
    assert await ask(approvals) == ONCE
    assert (len(slow.asked), slow.cancelled) == (1, 1)
    assert slow.asked[0].id == quick.asked[0].id
    assert approvals.waiting == 0


async def test_an_approver_that_breaks_decides_nothing() -> None:
    """The others are waited for; with none left it is a denial."""
    owner = Owner()
    approvals = Approvals([Failing(), owner], gather=0)
    asking = ask(approvals)
    _, answer = await owner.question()
    answer.set_result(ONCE)
    assert await asking == ONCE
    alone = await ask(Approvals([Failing()], gather=0))
    assert alone is not None
    assert alone.verdict is Verdict.DENY


async def test_silence() -> None:
    """Nobody answered: None, and the approver is told."""
    owner = Owner()
    assert await ask(Approvals([owner], gather=0), seconds=0.05) is None
    assert owner.cancelled == 1


async def test_nobody_to_ask() -> None:
    """Without approvers there is nothing to wait for."""
    approvals = Approvals([])
    assert not approvals.attended
    answer = await approvals.ask("default", CLIENT, "", NOTE, 10)
    assert answer is not None
    assert answer.verdict is Verdict.DENY


async def test_groups() -> None:
    """Other clients, keys, kinds and peers are other questions."""
    owner = Owner()
    approvals = Approvals([owner], gather=0.05)
    items = [
        ("default", CLIENT, NOTE),
        ("default", CLIENT, Item(Action(Method.SIGN_EVENT, kind=1), "d2")),
        ("default", CLIENT, Item(Action(Method.SIGN_EVENT, kind=2), "d3")),
        ("default", "bb" * 32, NOTE),
        ("work", CLIENT, NOTE),
        ("default", CLIENT, Item(Action(Method.NIP44_DECRYPT, peer="11" * 32), "d4")),
        ("default", CLIENT, Item(Action(Method.NIP44_DECRYPT, peer="22" * 32), "d5")),
    ]
    asking = [
        asyncio.create_task(approvals.ask(key, who, "", item, 10)) for key, who, item in items
    ]
    questions = [await owner.question() for _ in range(6)]
    assert sorted(len(question.items) for question, _ in questions) == [1, 1, 1, 1, 1, 2]
    for _, answer in questions:
        answer.set_result(DENY)
    assert await asyncio.gather(*asking) == [DENY] * 7


async def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's share of what waits is limited; another client's is not touched by it."""
    monkeypatch.setattr("bunker_signer.request.approval.MAX_WAITING", 2)
    owner = Owner()
    approvals = Approvals([owner], gather=0)
    asking = [ask(approvals), ask(approvals)]
    await owner.question()
    with pytest.raises(TooMany):
        await approvals.ask("default", CLIENT, "", NOTE, 10)
    other = asyncio.create_task(approvals.ask("default", "bb" * 32, "", NOTE, 10))
    await owner.question()
    await approvals.close()
    results = await asyncio.gather(*asking, other, return_exceptions=True)
    assert all(isinstance(item, asyncio.CancelledError) for item in results)


def test_questions_show_no_content_in_reprs() -> None:
    """A question that ends in a log says who and what kind, not what."""
    from bunker_core.event import EventTemplate

    item = Item(NOTE.action, "d", EventTemplate(1, "private", (("p", "private"),), 0))
    assert "private" not in repr(Question("1", "default", CLIENT, "App", (item,), 0, 1))


async def test_an_answer_is_for_what_was_shown() -> None:
    """Of a burst one question holds what every approver shows; the rest is asked beside it."""
    owner = Owner()
    approvals = Approvals([owner], gather=0.02)
    asking = [ask(approvals, Item(NOTE.action, f"d{number}")) for number in range(TOGETHER + 3)]
    question, answer = await owner.question()
    assert len(question.items) == TOGETHER
    rest, later = await owner.question()
    assert len(rest.items) == 3
    answer.set_result(ONCE)
    assert await asyncio.gather(*asking[:TOGETHER]) == [ONCE] * TOGETHER
    assert not any(task.done() for task in asking[TOGETHER:])
    later.set_result(DENY)
    assert await asyncio.gather(*asking[TOGETHER:]) == [DENY] * 3


async def test_a_rule_answers_what_is_alike() -> None:
    """Who said "always" is not asked the same again for what waits already; a login is asked."""
    owner = Owner()
    approvals = Approvals([owner], gather=0)
    first = ask(approvals)
    _, answer = await owner.question()
    second = ask(approvals, Item(NOTE.action, "d2"))
    await owner.question()
    answer.set_result(Answer(Verdict.ALWAYS, "test"))
    assert [(await task).allows for task in (first, second) if task] == [True, True]  # type: ignore[union-attr]
    login = Item(Action(Method.SIGN_EVENT, kind=27235), "l1")
    third = ask(approvals, login)
    _, answer = await owner.question()
    fourth = ask(approvals, Item(login.action, "l2"))
    _, other = await owner.question()
    answer.set_result(Answer(Verdict.ALWAYS, "test"))
    await third
    assert not fourth.done()
    other.set_result(DENY)
    assert await fourth == DENY
