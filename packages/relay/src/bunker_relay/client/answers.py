"""Answers on their way to clients: what is read ahead of them is bounded, by address and in all.

A query's answer may be hundreds of megabytes. It is read page by page, and the next page only when
the client has taken the one before; each such query holds room for its page. Where there is none
left, whoever has taken nothing for some seconds is hung up on.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from bunker_relay.event.limits import Budget
from bunker_relay.store.outcome import PAGE_BYTES, StoreError

PER_ADDRESS: Final = 100 * PAGE_BYTES
TOTAL: Final = 640 * PAGE_BYTES  # 160 MiB, of which a quarter is for what is small (see `Budget`)
_STALLED: Final = 5.0  # seconds without progress, after which others may have the room
_LOOK: Final = 1.0  # seconds between two looks at who has stalled


class Answers:
    """The room for the pages of all queries of a relay."""

    def __init__(self, per_address: int = PER_ADDRESS, total: int = TOTAL) -> None:
        """`per_address` and `total` are bytes."""
        self._loop = asyncio.get_running_loop()
        self._budget = Budget(per_address, total)
        self._open: OrderedDict[Answer, None] = OrderedDict()  # the longest without progress first
        self._freed = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that are taken."""
        return self._budget.used

    def open(self, address: str, drop: Callable[[], None]) -> "Answer":
        """Begin an answer to a client of `address`; `drop` ends its connection."""
        return Answer(self, address, drop)

    async def make_room(self, answer: "Answer", size: int, patience: float) -> None:
        """Let `answer` hold `size` bytes; raises StoreError when `patience` (seconds) is over."""
        end = self._loop.time() + patience
        while not self._budget.take(answer.address, size - answer.size):
            self._drop_stalled(answer.address)
            left = end - self._loop.time()
            if left <= 0:
                raise StoreError("too many answers wait for clients that do not read them")
            try:
                async with asyncio.timeout(min(left, _LOOK)):
                    await self._freed.wait()
            except TimeoutError:
                continue
        answer.size = size
        self.progressed(answer)

    def progressed(self, answer: "Answer") -> None:
        """Note that the client has taken what it was sent."""
        answer.progressed_at = self._loop.time()
        self._open[answer] = None
        self._open.move_to_end(answer)

    def free(self, answer: "Answer") -> None:
        """Give back what `answer` holds."""
        if answer.size:
            self._budget.give_back(answer.address, answer.size)
            answer.size = 0
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()
        self._open.pop(answer, None)

    def _drop_stalled(self, address: str) -> None:
        """Hang up on who keeps `address` from its room: its own clients, or anybody."""
        latest = self._loop.time() - _STALLED
        own = self._budget.is_full_for(address)
        for answer in list(self._open):
            if answer.progressed_at > latest:
                return
            if answer.size and (not own or answer.address == address):
                answer.drop()
                return


class Answer:
    """One query's answer; as a context manager, it gives its room back at the end."""

    __slots__ = ("_answers", "address", "drop", "progressed_at", "size")

    def __init__(self, answers: Answers, address: str, drop: Callable[[], None]) -> None:
        self.address = address
        self.drop = drop
        self.size = 0  # bytes of room
        self.progressed_at = 0.0
        self._answers = answers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answers.free(self)

    async def make_room(self, size: int, patience: float) -> None:
        """Hold `size` bytes from now on; raises StoreError when there is none in time."""
        if size > self.size:
            await self._answers.make_room(self, size, patience)

    def progressed(self) -> None:
        """Note that the client has taken what it was sent."""
        self._answers.progressed(self)
