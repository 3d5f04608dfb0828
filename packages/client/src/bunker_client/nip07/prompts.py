"""The host's side of the conversation with the extension, without any I/O.

    extension -> host   {"type": "request", "id", "origin", "method", "params"}
                        {"type": "answer", "id", "answer"}
                        {"type": "gone", "ids"}: their page is, closed or loaded anew
    host -> extension   {"type": "question", "id"}: the request of this id, which it describes
                        {"type": "withdrawn", "id"}: the question of a page that is gone
                        {"type": "reply", "id", "result" | "error"}

A request whose site was not given leave becomes a question. One question at a time: what the user
says to it may answer others that wait.
"""

from dataclasses import dataclass
from typing import Any, Final

from bunker_client.nip07.operation import Operation, parse_operation
from bunker_client.nip07.sites import Answer, Sites, parse_origin
from bunker_core.errors import BunkerError, InvalidInput

# What may wait for the user, of each site, so that none takes another's place. An app decrypts
# hundreds at once on its first visit, which is one question.
MAX_QUESTIONS: Final = 16  # different permissions
MAX_CALLS: Final = 1024
MAX_CHARACTERS: Final = 8 * 1024 * 1024  # of texts and events
MAX_SITES: Final = 64  # that have something waiting


@dataclass(frozen=True, slots=True)
class Use:
    """The signer is to be asked for something; the reply is the caller's to send."""

    id: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Send:
    """A message for the extension."""

    message: dict[str, Any]


Effect = Use | Send


@dataclass(frozen=True, slots=True)
class _Waiting:
    id: int
    origin: str
    operation: Operation

    def same_as(self, other: "_Waiting") -> bool:
        """Tell whether the same site asks for the same permission."""
        mine, its = self.operation.permission, other.operation.permission
        return (self.origin, mine) == (other.origin, its)


class Prompts:
    """What waits for the user, and what follows from what they say."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._waiting: dict[int, _Waiting] = {}
        self._asked: int | None = None  # the request whose question is on the screen

    def receive(self, message: Any, now: int) -> list[Effect]:
        """Take a message of the extension at `now` (Unix seconds)."""
        match message:
            case {"type": "request", "id": int(number)}:
                return self._request(number, message, now)
            case {"type": "answer", "id": int(number), "answer": answer}:
                return self._answer(number, answer, now)
            case {"type": "gone", "ids": [*numbers]}:
                return self._gone(numbers)
        return []  # of a later version of the extension, or not from it at all

    def _request(self, number: int, message: dict[str, Any], now: int) -> list[Effect]:
        try:
            origin = parse_origin(message.get("origin"))
            operation = parse_operation(message.get("method"), message.get("params"), now)
            waiting = _Waiting(number, origin, operation)
            decided = self._decided(waiting, now)
        except InvalidInput as error:
            return [failed(number, f"invalid: {error}")]
        except BunkerError as error:
            return [failed(number, f"error: {error}")]
        if decided is not None:
            return [decided]
        if number in self._waiting or not self._has_room(waiting):
            return [failed(number, "rate-limited: too many requests wait for the user")]
        self._waiting[number] = waiting
        return self._next_question()

    def _answer(self, number: int, said: object, now: int) -> list[Effect]:
        if number != self._asked:
            return []  # the window of a question that was answered
        try:
            answer = Answer(said)
        except ValueError:
            answer = Answer.DENY
        asked = self._waiting.pop(number)
        self._asked = None
        try:
            self._sites.remember(asked.origin, asked.operation.permission, answer, now)
            effects: list[Effect] = [
                Use(number, asked.operation) if answer.allows else denied(number)
            ]
            effects += self._also_answered(asked, answer, now)
        except BunkerError as error:
            effects = [failed(number, f"error: the answer can't be kept: {error}")]
        return effects + self._next_question()

    def _gone(self, numbers: list[object]) -> list[Effect]:
        """Forget what a page asked that is not there any more."""
        for number in numbers:
            if isinstance(number, int):
                self._waiting.pop(number, None)
        if self._asked is None or self._asked in self._waiting:
            return []
        withdrawn = Send({"type": "withdrawn", "id": self._asked})
        self._asked = None
        return [withdrawn, *self._next_question()]

    def _has_room(self, new: _Waiting) -> bool:
        """Tell whether a site may have one more request waiting."""
        own = [item for item in self._waiting.values() if item.origin == new.origin]
        if not own:
            return len({item.origin for item in self._waiting.values()}) < MAX_SITES
        permissions = {item.operation.permission for item in (*own, new)}
        size = sum(item.operation.size for item in (*own, new))
        return len(permissions) <= MAX_QUESTIONS and len(own) < MAX_CALLS and size <= MAX_CHARACTERS

    def _also_answered(self, asked: _Waiting, answer: Answer, now: int) -> list[Effect]:
        """Return what follows for the others that wait."""
        effects = []
        for other in list(self._waiting.values()):
            decided = self._decided(other, now)
            # A "no" is for all that ask the same; else closing the window would open the next.
            if decided is None and answer is Answer.DENY and other.same_as(asked):
                decided = denied(other.id)
            if decided is not None:
                del self._waiting[other.id]
                effects.append(decided)
        return effects

    def _decided(self, waiting: _Waiting, now: int) -> Effect | None:
        """Return what follows from what is remembered of the site; None if that is nothing."""
        match self._sites.decide(waiting.origin, waiting.operation.permission, now):
            case True:
                return Use(waiting.id, waiting.operation)
            case False:
                return denied(waiting.id)
        return None

    def _next_question(self) -> list[Effect]:
        if self._asked is not None or not self._waiting:
            return []
        first = next(iter(self._waiting.values()))
        self._asked = first.id
        return [Send({"type": "question", "id": first.id})]


def answered(number: int, result: Any) -> Send:
    """Return the reply to a request that was granted."""
    return Send({"type": "reply", "id": number, "result": result})


def failed(number: int, error: str) -> Send:
    """Return the reply to a request that came to nothing."""
    return Send({"type": "reply", "id": number, "error": error})


def denied(number: int) -> Send:
    """Return the reply to a request that the user does not want."""
    return failed(number, "denied: the user does not allow it")
