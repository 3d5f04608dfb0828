"""The approver that waits for an answer from elsewhere: another shell, a web page."""

import asyncio
from collections.abc import Callable

from bunker_core.errors import BunkerError
from bunker_signer.request.approval import Answer, Question


class UnknownQuestion(BunkerError):
    """There is no question of that id: answered, over, or never asked."""


class Inbox:
    """The open questions, by id."""

    on_answer: Callable[[], None]  # an answer is a sign of the owner

    def __init__(self) -> None:
        self._open: dict[str, tuple[Question, asyncio.Future[Answer]]] = {}
        self.on_answer = lambda: None

    async def ask(self, question: Question) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[question.id] = (question, answer)
        try:
            return await answer
        finally:
            del self._open[question.id]

    def questions(self) -> tuple[Question, ...]:
        """Return the open questions, the oldest first."""
        return tuple(question for question, _ in self._open.values())

    def question(self, question_id: str) -> Question:
        """Return an open question; raises UnknownQuestion."""
        return self._find(question_id)[0]

    def answer(self, question_id: str, answer: Answer) -> Question:
        """Answer a question; raises UnknownQuestion."""
        question, future = self._find(question_id)
        future.set_result(answer)
        self.on_answer()
        return question

    def _find(self, question_id: str) -> tuple[Question, asyncio.Future[Answer]]:
        question, future = self._open.get(question_id, (None, None))
        if question is None or future is None or future.done():
            raise UnknownQuestion(
                f"there is no open request {question_id}; `bunker signer requests` lists them"
            )
        return question, future
