"""The approver who sits at the terminal of `bunker signer run`."""

import asyncio
import sys
import termios
import time
from collections.abc import Callable
from typing import TextIO

from bunker_signer.approvers.describe import describe
from bunker_signer.request.approval import Answer, Question, Verdict

_ANSWERS = {"y": Verdict.ONCE, "a": Verdict.ALWAYS, "x": Verdict.NEVER}


class TerminalApprover:
    """Asks at the terminal, one question at a time."""

    def __init__(
        self,
        source: TextIO = sys.stdin,
        target: TextIO = sys.stdout,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._target = target
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, question: Question) -> Answer:
        async with self._one_at_a_time:
            left = max(0, round(question.deadline - self._clock()))
            # What was typed before is no answer to what was not shown yet.
            termios.tcflush(self._source, termios.TCIFLUSH)
            self._say(
                f"\n{describe(question, self._clock())}\n"
                f"{left} s left: [y] once  [a] always  [x] never  [N] deny: "
            )
            try:
                line = await self._read_line()
            except asyncio.CancelledError:
                self._say("\nanswered elsewhere, or no answer in time\n")
                raise
        return Answer(_ANSWERS.get(line.strip().lower()[:1], Verdict.DENY), "terminal")

    def _say(self, text: str) -> None:
        self._target.write(text)
        self._target.flush()

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
