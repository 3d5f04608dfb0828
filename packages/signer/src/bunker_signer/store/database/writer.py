"""Group commit: what is to be written in one turn of the event loop is one transaction.

Every step of a request is written down before the next begins, and a commit costs more than what
is committed. Requests that arrive together share theirs: each hands its step in and goes on when
the transaction that holds it was committed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from bunker_signer.process.logs import get_logger
from bunker_signer.store.database.engine import Database, StoreError

T = TypeVar("T")
# Seconds that what nobody waits for may stay unwritten while nothing else is written.
SOON: Final = 0.1
# Steps in a transaction at most; a commit is shared well by so many.
GROUP: Final = 16
# SQLite's log is copied by a thread: SQLite would do it within a commit, and every request on the
# way would wait for the disk. Beside a copy a dozen requests take twice as long, so after so many
# steps it waits for so many seconds without any. If there is no such pause it begins all the same:
# 540 requests one by one, two steps each, take 7,300 of the 8,000 pages that the log may have, and
# the commit that reaches those copies what is left.
CHECKPOINT: Final = 256
PAUSE: Final = 0.2
LATEST: Final = 1_080

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something to write, and who is told what came of it, if anybody."""

    work: Callable[[Connection], Any]
    written: Callable[[Any], object] | None
    failed: Callable[[Exception], object] | None


class Writer:
    """Writes to `database` from one event loop, over a connection that stays open.

    A `work` is a function of a connection. It may be called again when another one of its group
    failed, so it changes nothing but the database; what follows from it is done by who waits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.persistent_connection()
        self._since_checkpoint = 0  # steps
        self._checkpoint: asyncio.Future[None] | None = None
        self._checkpoint_soon: asyncio.Handle | None = None
        self._copier = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._steps: deque[_Step] = deque()
        self._last_steps: deque[_Step] = deque()
        self._notes: deque[_Step] = deque()  # that nobody waits for
        self._flush: asyncio.Handle | None = None
        self._flush_soon: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """Copy the log now, so that what the first copy needs is there: a thread, a connection.

        Both are made in a millisecond of Python, for which a request would have to wait.
        """
        self.read(lambda _: None)  # or ours would be the connection that the thread leaves behind
        self._begin_checkpoint()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work`, one `Statement` at most, finds; raises StoreError."""
        return self._connection.read(work)

    async def write(self, work: Callable[[Connection], T], *, last: bool = False) -> T:
        """Return the result of `work` once it is committed; raises StoreError, and what it raises.

        What raises is not written, whatever else is in its group. `last` says that an answer can
        go when this is written: it comes before what only begins.
        """
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def written(result: T) -> None:
            if not outcome.done():
                outcome.set_result(result)

        def failed(error: Exception) -> None:
            if not outcome.done():
                outcome.set_exception(error)

        self.hand_in(work, written, failed, last=last)
        return await outcome

    def hand_in(
        self,
        work: Callable[[Connection], T],
        written: Callable[[T], object],
        failed: Callable[[Exception], object],
        *,
        last: bool = False,
    ) -> None:
        """As `write`, for who does not wait: calls one of the two, which must not raise.

        `written` is called as soon as the result is committed, in the same turn of the loop.
        """
        (self._last_steps if last else self._steps).append(_Step(work, written, failed))
        if self._flush is None:
            # In the next turn: what is being read from the relays now belongs to the same group.
            self._flush = asyncio.get_running_loop().call_soon(self._write_group)

    def write_soon(self, work: Callable[[Connection], object]) -> None:
        """Have `work` done with the next group, or a moment later; nothing waits for it."""
        self._notes.append(_Step(work, None, None))
        if self._flush is None and self._flush_soon is None:
            self._flush_soon = asyncio.get_running_loop().call_later(SOON, self._write_group)

    def flush(self) -> None:
        """Write all that waits, now."""
        for handle in (self._flush, self._flush_soon):
            if handle is not None:
                handle.cancel()
        self._flush = self._flush_soon = None
        while steps := self._group():
            self._commit(steps)

    def _write_group(self) -> None:
        """Write a group, and in the next turn the next one."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
        self._flush = self._flush_soon = None
        self._commit(self._group())
        self._checkpoint_if_due()
        if self._flush is None and (self._steps or self._last_steps or self._notes):
            self._flush = asyncio.get_running_loop().call_soon(self._write_group)

    def _group(self) -> list[_Step]:
        """Take half of what waits, so that the first are answered while the others are worked on.

        Were it all, every client would wait for the last one's answer, and then the signer for all
        of them to ask again: one process works at a time, and a core does nothing.
        """
        most = min(GROUP, (len(self._last_steps) + len(self._steps) + 1) // 2)
        steps: list[_Step] = []
        for waiting, room in (
            (self._last_steps, most),
            (self._steps, most),
            (self._notes, most + GROUP),  # they go along
        ):
            while waiting and len(steps) < room:
                steps.append(waiting.popleft())
        return steps

    def _commit(self, steps: list[_Step]) -> None:
        while steps:
            at: int | None = None
            results: list[Any] = []
            try:
                with self._connection.write() as connection:
                    for at, step in enumerate(steps):  # noqa: B007 -- read when it raises
                        results.append(step.work(connection))
                    at = None
            except Exception as error:  # noqa: BLE001 -- whoever waits gets it
                # One that can't be written is left out; if it was the commit, none was written.
                for step in steps if at is None else steps[at : at + 1]:
                    _fail(step, error)
                steps = [] if at is None else steps[:at] + steps[at + 1 :]
            else:
                self._since_checkpoint += len(steps)
                for step, result in zip(steps, results, strict=True):
                    if step.written is not None:
                        _tell(step.written, result)
                return

    def _checkpoint_if_due(self) -> None:
        running = self._checkpoint is not None and not self._checkpoint.done()
        if running or self._since_checkpoint < CHECKPOINT:
            return
        if self._since_checkpoint >= LATEST:
            self._since_checkpoint = 0
            if self._checkpoint_soon is not None:
                self._checkpoint_soon.cancel()
            # In the next turn: what was answered now is sent before.
            loop = asyncio.get_running_loop()
            self._checkpoint_soon = loop.call_soon(self._begin_checkpoint)
        elif self._checkpoint_soon is None:
            self._wait_for_pause()

    def _wait_for_pause(self) -> None:
        loop = asyncio.get_running_loop()
        self._checkpoint_soon = loop.call_later(PAUSE, self._paused, self._since_checkpoint)

    def _paused(self, steps: int) -> None:
        """Copy the log, if nothing was written since there were so many steps."""
        if steps == self._since_checkpoint:
            self._begin_checkpoint()
        else:
            self._wait_for_pause()

    def _begin_checkpoint(self) -> None:
        self._since_checkpoint = 0
        self._checkpoint_soon = None
        loop = asyncio.get_running_loop()
        self._checkpoint = loop.run_in_executor(self._copier, self._copy_log)

    def _copy_log(self) -> None:
        try:
            self._database.checkpoint()
        except StoreError as error:
            log.warning("the database's log was not copied", error=str(error))

    def close(self) -> None:
        """Write what waits, and close the connection."""
        self.flush()
        if self._checkpoint_soon is not None:
            self._checkpoint_soon.cancel()
        self._copier.shutdown(cancel_futures=True)
        self._connection.close()


def _fail(step: _Step, error: Exception) -> None:
    if step.failed is None:
        reason = str(error) if isinstance(error, StoreError) else type(error).__name__
        log.error("a note was not written", error=reason)
    else:
        _tell(step.failed, error)


def _tell(listener: Callable[[T], object], outcome: T) -> None:
    """Tell one of a group; what is wrong with it is not the others' fault."""
    try:
        listener(outcome)
    except Exception as error:  # noqa: BLE001
        # The type alone: a text could repeat what was to be signed.
        log.error("a written step was not followed", error=type(error).__name__)
