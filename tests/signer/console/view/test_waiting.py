"""How the console says that a question is over."""

import asyncio

import pytest

from bunker_core.nips.nip46 import Method
from bunker_signer.console.view.waiting import Waiting
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question

DEADLINE = 1_790_000_100.0


@pytest.mark.parametrize(
    ("at", "expired"),
    [
        (DEADLINE - 30, False),
        (DEADLINE - 0.001, True),  # a timer that counts milliseconds may be early by one
        (DEADLINE, True),
        (DEADLINE + 1, True),
    ],
)
async def test_a_question_that_nobody_answered_has_expired(at: float, expired: bool) -> None:
    """Ended by its deadline is told from answered elsewhere, though timers are not exact."""
    waiting = Waiting(lambda: at)
    item = Item(Action(Method.SIGN_EVENT, kind=1), "digest")
    question = Question("q", "default", "aa" * 32, "Notes", (item,), DEADLINE - 100, DEADLINE)
    asked = asyncio.create_task(waiting.ask(question))
    await asyncio.sleep(0)
    assert waiting.questions() == (question,)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    end = waiting.end("digest")
    assert end is not None
    assert end.expired is expired
