"""Asking the owner about requests that no grant covers. Silence is denial.

An approver is anyone who can be asked: the terminal, another shell, a web page. `Approvals` puts
each question to all of them at once and takes the first answer. Requests that arrive together, of
one client, method and kind, are one question: who is asked twenty times reads none.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Protocol

from bunker_core.bounds.shares import Shares
from bunker_core.describe import Asked, Description, Known, describe
from bunker_core.describe.description import LOGIN_TAGS
from bunker_core.event import EventTemplate
from bunker_core.nips.nip46 import Method
from bunker_signer.policy import Action
from bunker_signer.process.logs import get_logger

DEADLINE: Final = 120.0  # seconds that a person has; clients wait two to three minutes
# Seconds in which what arrives counts as together. Who comes later is another question: what the
# owner has not seen they have not approved.
GATHER: Final = 0.1
MAX_WAITING: Final = 100  # requests of one client that may wait for answers
# Requests in one question: as many as every approver shows in full. An answer is for what was
# shown; what is more is asked next.
TOGETHER: Final = 20

log = get_logger(__name__)


class Verdict(Enum):
    """What the owner says."""

    DENY = "deny"
    ONCE = "once"
    ALWAYS = "always"  # for this client, method and kind (or peer)
    NEVER = "never"  # the same, but no


@dataclass(frozen=True, slots=True)
class Answer:
    """The owner's answer. For ALWAYS, `seconds` and `uses` limit the grant."""

    verdict: Verdict
    by: str  # who or what answered, for the audit log
    seconds: int | None = None
    uses: int | None = None

    @property
    def allows(self) -> bool:
        return self.verdict in (Verdict.ONCE, Verdict.ALWAYS)


@dataclass(frozen=True, slots=True)
class Item:
    """One request in a question. Content stays out of reprs."""

    action: Action
    request: str  # its digest in the journal
    template: EventTemplate | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)  # what would be encrypted


def _nothing(_: "Question") -> Known:
    return Known()


@dataclass(frozen=True, slots=True)
class Question:
    """What the owner is asked. All items are of one client, method and kind (or peer)."""

    id: str
    key_name: str
    client_pubkey: str
    client_name: str  # what the client calls itself, unverified; "" if it said nothing
    items: tuple[Item, ...]
    asked_at: float  # Unix seconds
    deadline: float  # Unix seconds
    # What is known of the owner now; it can be more in a moment, when their relays have answered.
    known: Callable[["Question"], Known] = field(default=_nothing, repr=False, compare=False)

    def description(self, now: float) -> Description:
        """Return what everybody who is asked is shown; `now` is Unix seconds."""
        return describe(
            self.action.method,
            [Asked(item.template, item.text) for item in self.items],
            now=now,
            kind=self.action.kind,
            peer=self.action.peer,
            known=self.known(self),
        )

    @property
    def action(self) -> Action:
        return self.items[0].action

    @property
    def method(self) -> Method:
        return self.action.method

    @property
    def template(self) -> EventTemplate | None:
        """The first event that is to be signed, None for encryption."""
        return self.items[0].template


class Approver(Protocol):
    """Someone who can be asked."""

    async def ask(self, question: Question) -> Answer:
        """Return the owner's answer, or never; it is cancelled at the deadline.

        One that only passes the question on (a notification) waits for its cancellation.
        """
        ...


def _share(answer: Answer, position: int, together: int) -> Answer | None:
    """Return the answer for one of several requests that were asked about together.

    So many uses count what was asked: those are allowed, the first with the rule for what is left.
    None for those beyond, which are asked about again.
    """
    uses = answer.uses or 0
    if position >= uses:
        return None
    if position == 0:
        return replace(answer, uses=max(0, uses - together))
    return Answer(Verdict.ONCE, answer.by)


class TooMany(Exception):
    """The client has too many requests waiting already."""


@dataclass(slots=True)
class _Burst:
    """Requests that gather before they are asked as one."""

    client_name: str
    seconds: float
    items: list[Item]
    answer: asyncio.Future[Answer | None]


class Approvals:
    """Where requests wait for the owner. Without approvers everything is denied at once."""

    def __init__(
        self,
        approvers: Sequence[Approver],
        *,
        gather: float = GATHER,
        known: Callable[[Question], Known] = _nothing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`known` tells what a question is described by, beside the requests themselves."""
        self._approvers = tuple(approvers)
        self._known = known
        self._gather = gather
        self._clock = clock
        self._bursts: dict[tuple[str, str, Action], _Burst] = {}
        self._asked: dict[tuple[str, str, Action], dict[asyncio.Task[None], _Burst]] = {}
        self._waiting: Shares[tuple[str, str]] = Shares()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for an answer."""
        return self._waiting.total()

    @property
    def attended(self) -> bool:
        """Whether there is anyone to ask."""
        return bool(self._approvers)

    async def ask(
        self, key_name: str, client_pubkey: str, client_name: str, item: Item, seconds: float
    ) -> Answer | None:
        """Return the owner's answer, or None when nobody gave one within `seconds`.

        Raises TooMany.
        """
        if not self._approvers:
            return Answer(Verdict.DENY, "nobody to ask")
        client = (key_name, client_pubkey)
        if not self._waiting.take(client, 1, MAX_WAITING):
            raise TooMany
        end = self._clock() + seconds
        try:
            while True:
                burst = self._join(key_name, client_pubkey, client_name, item, seconds)
                answer = await asyncio.shield(burst.answer)
                if answer is None or answer.uses is None or not answer.allows:
                    return answer
                share = _share(answer, burst.items.index(item), len(burst.items))
                if share is not None:
                    return share
                seconds = max(0.0, end - self._clock())
        finally:
            self._waiting.give_back(client, 1)

    async def close(self) -> None:
        """Stop asking. Nobody gets an answer: the requests are in the journal."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _join(
        self, key_name: str, client_pubkey: str, client_name: str, item: Item, seconds: float
    ) -> _Burst:
        group = (key_name, client_pubkey, item.action)
        burst = self._bursts.get(group)
        if burst is not None and len(burst.items) < TOGETHER:
            burst.items.append(item)
            burst.seconds = min(burst.seconds, seconds)
            return burst
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        burst = _Burst(client_name, seconds, [item], answer)
        self._bursts[group] = burst
        task = asyncio.create_task(self._put(group, burst))
        self._tasks.add(task)
        self._asked.setdefault(group, {})[task] = burst
        task.add_done_callback(lambda done: self._forget(group, done))
        return burst

    def _forget(self, group: tuple[str, str, Action], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._asked[group].pop(task)
        if not self._asked[group]:
            del self._asked[group]

    def _settle_alike(
        self, group: tuple[str, str, Action], burst: _Burst, answer: Answer | None
    ) -> None:
        """Answer what is alike, and asked already, by a rule that the owner just made."""
        if answer is None or answer.verdict not in (Verdict.ALWAYS, Verdict.NEVER):
            return
        # So many uses are counted by the store; a login is allowed for one host alone.
        if answer.uses is not None or group[2].kind in LOGIN_TAGS:
            return
        verdict = Verdict.ONCE if answer.allows else Verdict.DENY
        for task, other in self._asked[group].items():
            if other is not burst and not other.answer.done():
                other.answer.set_result(Answer(verdict, answer.by))
                task.cancel()

    async def _put(self, group: tuple[str, str, Action], burst: _Burst) -> None:
        """Gather, then ask."""
        try:
            await asyncio.sleep(self._gather)
            if self._bursts.get(group) is burst:  # not the next one, when this one was full
                del self._bursts[group]
            key_name, client_pubkey, _ = group
            now = self._clock()
            question = Question(
                secrets.token_hex(3),
                key_name,
                client_pubkey,
                burst.client_name,
                tuple(burst.items),
                now,
                now + burst.seconds,
                self._known,
            )
            answer = await self._first_answer(question, burst.seconds)
            burst.answer.set_result(answer)
            self._settle_alike(group, burst, answer)
        finally:
            if not burst.answer.done():
                burst.answer.cancel()

    async def _first_answer(self, question: Question, seconds: float) -> Answer | None:
        asking = {asyncio.create_task(approver.ask(question)) for approver in self._approvers}
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        open_questions = set(asking)
        try:
            while open_questions:
                done, open_questions = await asyncio.wait(
                    open_questions,
                    timeout=max(0.0, end - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    return None
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    log.error("approver failed", question=question.id, error=type(error).__name__)
            return Answer(Verdict.DENY, "no approver works")
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
