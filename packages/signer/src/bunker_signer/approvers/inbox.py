"""The approver that waits for an answer from elsewhere: another shell, a web page."""

import asyncio
from collections.abc import Callable

from bunker_core.errors import BunkerError
from bunker_signer.request.approval import Answer, Question, Verdict


class UnknownQuestion(BunkerError):
    """There is no question of that id: answered, over, or never asked."""


class AppGone(BunkerError):
    """The app was revoked, or has logged out, while its question was open."""


class Inbox:
    """The open questions, by id."""

    on_answer: Callable[[], None]  # an answer is a sign of the owner
    # Tells whether the client of a question is one still, by key and pubkey.
    is_paired: Callable[[str, str], bool]

    def __init__(self) -> None:
        self._open: dict[str, tuple[Question, asyncio.Future[Answer]]] = {}
        self.on_answer = lambda: None
        self.is_paired = lambda _key, _pubkey: True

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

    def answer(self, question_id: str, answer: Answer) -> Question:
        """Answer a question; raises UnknownQuestion and AppGone."""
        question, future = self._find(question_id)
        self.on_answer()
        if answer.allows and not self.is_paired(question.key_name, question.client_pubkey):
            future.set_result(Answer(Verdict.DENY, answer.by))
            raise AppGone("the app was revoked, or has logged out, meanwhile: nothing is signed")
        future.set_result(answer)
        return question

    def _find(self, question_id: str) -> tuple[Question, asyncio.Future[Answer]]:
        question, future = self._open.get(question_id, (None, None))
        if question is None or future is None or future.done():
            raise UnknownQuestion(
                f"there is no open request {question_id}; `bunker signer requests` lists them"
            )
        return question, future
