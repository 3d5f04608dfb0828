"""The questions that wait for an answer, as the console sees them: an inbox that tells of changes.

A question is found by any of its requests' ids as well as by its own: these stay the same when the
signer is started anew and asks again, so that a page and a link in a notification stay good.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from bunker_core.bounds.recent import Recent
from bunker_signer.approvers.inbox import Inbox
from bunker_signer.request.approval import Answer, Question

REMEMBERED: Final = 500  # requests whose end is remembered, for a page that is still open
# Seconds by which a timer may go off before the clock says so: event loops count milliseconds.
_EARLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class End:
    """How a question ended: an answer that came through here, or none."""

    answer: Answer | None
    expired: bool
    question: Question


class Waiting(Inbox):
    """The open questions; `change` is set when one comes or goes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        self._change = asyncio.Event()
        self._ends: Recent[End] = Recent(REMEMBERED)

    async def ask(self, question: Question) -> Answer:
        self.tell()
        answer: Answer | None = None
        try:
            answer = await super().ask(question)
        finally:
            in_time = self._clock() < question.deadline - _EARLY
            end = End(answer, answer is None and not in_time, question)
            for item in question.items:
                self._ends.put(item.request, end)
            self.tell()
        return answer

    def end(self, request_id: str) -> End | None:
        """Return how a question that was asked here ended."""
        return self._ends.get(request_id)

    def tell(self) -> None:
        """Wake up who waits for a change."""
        self._change.set()
        self._change = asyncio.Event()

    def change(self) -> asyncio.Event:
        """Return what is set at the next change. Taken before looking, nothing is missed."""
        return self._change

    def find(self, request_id: str) -> Question | None:
        """Return the open question of that id, or with a request of that id."""
        for question in self.questions():
            if question.id == request_id or any(
                item.request == request_id for item in question.items
            ):
                return question
        return None


def seen(question: Question) -> str:
    """Return what a form repeats, so that nothing is answered that was not on the page."""
    return sha256("".join(item.request for item in question.items).encode()).hexdigest()[:32]
