"""Asking the owner about a request that no grant covers. Silence is denial."""

import asyncio
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TextIO

from bunker_core.event import EventTemplate
from bunker_core.nip46 import Method

DEADLINE: Final = 120.0  # seconds that a person has; clients wait two to three minutes
_SHOWN_CHARACTERS: Final = 280


class Answer(Enum):
    """What the owner says."""

    DENY = "deny"
    ONCE = "once"
    ALWAYS = "always"  # for this client, method and kind


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is put to the owner."""

    client_name: str  # what the client calls itself, unverified; "" if it said nothing
    client_pubkey: str
    method: Method
    template: EventTemplate | None = None
    peer: str | None = None


class Approver(Protocol):
    """Someone who can be asked."""

    async def ask(self, question: Question) -> Answer:
        """Return the owner's answer; the caller sets the deadline by cancelling."""
        ...


class NobodyThere:
    """Denies, because there is no one to ask: the signer runs without a terminal."""

    async def ask(self, question: Question) -> Answer:  # noqa: ARG002 -- whatever it is
        return Answer.DENY


class TerminalApprover:
    """Asks at the terminal, one question at a time."""

    def __init__(self, source: TextIO = sys.stdin, target: TextIO = sys.stdout) -> None:
        self._source = source
        self._target = target
        self._turn = asyncio.Lock()

    async def ask(self, question: Question) -> Answer:
        async with self._turn:
            self._target.write(f"\n{describe(question)}\n[y] once  [a] always  [N] deny: ")
            self._target.flush()
            try:
                line = await self._read_line()
            except asyncio.CancelledError:
                self._target.write("\nno answer in time: denied\n")
                self._target.flush()
                raise
        return {"y": Answer.ONCE, "a": Answer.ALWAYS}.get(line.strip().lower()[:1], Answer.DENY)

    async def _read_line(self) -> str:
        # A reader on the descriptor, not a thread: a thread blocked in readline can't be cancelled
        # and would keep the process from ending.
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str] = loop.create_future()

        def ready() -> None:
            if not line.done():
                line.set_result(self._source.readline())

        loop.add_reader(self._source.fileno(), ready)
        try:
            return await line
        finally:
            loop.remove_reader(self._source.fileno())


def describe(question: Question) -> str:
    """Return the question in words, with nothing in it that could move the cursor."""
    name = f'"{_plain(question.client_name)}" (unverified)' if question.client_name else "A client"
    key = f"{question.client_pubkey[:4]}…{question.client_pubkey[-4:]}"
    if question.template is not None:
        content = _plain(question.template.content)
        tags = f", {len(question.template.tags)} tags" if question.template.tags else ""
        return (
            f"{name}, key {key}, wants to sign an event of kind {question.template.kind}{tags}:\n"
            f"  {content or '(no content)'}"
        )
    peer = f" with {question.peer[:4]}…{question.peer[-4:]}" if question.peer else ""
    verb = "read" if question.method.value.endswith("_decrypt") else "encrypt"
    return f"{name}, key {key}, wants to {verb} a message{peer} ({question.method.value})"


def _plain(text: str) -> str:
    shown = "".join(character if character.isprintable() else "·" for character in text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"
