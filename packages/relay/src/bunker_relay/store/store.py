"""The store: events that are meant to be kept, in SQLite or PostgreSQL through SQLAlchemy.

One thread writes and commits once for all that wait; a few threads read. The event loop waits for
neither: `save` answers through a callback, and only after the commit. Several processes may have
the same database open: one of them writes at a time (`engine.hold`).
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_relay.logs import defect, log
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import (
    Database,
    TooSlow,
    deadline,
    explain,
    explain_to_owner,
    is_outage,
    open_engine,
    unhurried,
)
from bunker_relay.store.outcome import Found, Outcome, Stored, StoreError
from bunker_relay.store.query import Check, count_events, find_events, read_events
from bunker_relay.store.readers import Readers
from bunker_relay.store.sweep import Sweeper
from bunker_relay.store.write import save_all

FILE: Final = "relay.sqlite3"
_MAX_BATCH: Final = 500  # events in one commit
_MAX_WAITING: Final = 20_000  # events that wait for the writer, some 20 MB
_SWEEP_SECONDS: Final = 60.0
_GO_ON_SECONDS: Final = 1.0  # after a sweep that left something, as others had to write
_PATIENCE: Final = 2.0  # seconds for an answer of PostgreSQL, beside those for a lock
_CLOSING: Final = 30.0  # seconds

_T = TypeVar("_T")
Done = Callable[[Outcome | StoreError], None]


@dataclass(frozen=True, slots=True)
class _Job:
    event: Event
    done: Done


class Store:
    """The events of one relay, used from the event loop's thread.

    `query_timeout` (seconds) and `keep_days` (0: for ever) may be changed at any time.
    """

    def __init__(
        self,
        database: Database,
        *,
        query_timeout: float = 5.0,
        busy_timeout: float = 5.0,
        keep_days: int = 0,
    ) -> None:
        """Open `database`, a file or a URL, and make its tables. Raises StoreError."""
        self.query_timeout = query_timeout
        self.keep_days = keep_days
        self.waiting = 0  # events on their way to the writer
        self._loop = asyncio.get_running_loop()
        self._engine = open_engine(
            database, writes=True, busy_timeout=busy_timeout, patience=busy_timeout + _PATIENCE
        )
        self._read_engine = open_engine(
            database, writes=False, busy_timeout=busy_timeout, patience=min(busy_timeout, _PATIENCE)
        )
        try:
            with self._engine.begin() as connection, unhurried(connection):
                migrate.prepare(connection)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise StoreError(explain_to_owner(error)) from error
        except StoreError:
            self._engine.dispose()
            raise
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Held from a commit until the loop is told of it, and while a reader takes its snapshot:
        # what a query returns has been announced before, so it can be told from a live event.
        self._publishing = threading.Lock()
        self._closing = False
        self._ended = asyncio.Event()  # the writer has ended
        self._sweeper = Sweeper(self._engine, time.monotonic())
        self._broken = False  # the database failed while closing: do not wait for it again
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._writer.start()
        self._readers = Readers()

    def save(self, event: Event, done: Done) -> None:
        """Save a verified event; `done` is called on the loop once it is committed, or failed.

        Raises StoreError, and calls nothing, when too many wait already.
        """
        if self.waiting >= _MAX_WAITING:
            raise StoreError("too many events wait to be stored")
        self.waiting += 1
        self._jobs.put(_Job(event, done))

    async def find(
        self,
        filters: Iterable[Filter],
        now: int,
        *,
        default: int,
        most: int,
        readers: frozenset[str] | None = None,
        key: str = "",
    ) -> tuple[Found, list[Stored]]:
        """Find what matches, and the first page of it (see `query.find_events`).

        `key` is the address that takes its turn. Raises StoreError when the database fails or the
        time is up.
        """

        def read(connection: Connection, check: Check) -> tuple[Found, list[Stored]]:
            return find_events(
                connection, filters, now, default=default, most=most, readers=readers, check=check
            )

        return await self._read(read, key)

    async def read(self, found: Found, indices: range, *, key: str = "") -> list[Stored]:
        """Read some of what was found; raises StoreError."""
        return await self._read(lambda connection, _: read_events(connection, found, indices), key)

    async def count(
        self,
        filters: Sequence[Filter],
        now: int,
        *,
        readers: frozenset[str] | None = None,
        key: str = "",
    ) -> int:
        """Return how many events match; raises StoreError."""
        return await self._read(
            lambda connection, _: count_events(connection, filters, now, readers=readers), key
        )

    async def announced(self) -> None:
        """Return when the loop has been told of every commit so far, and has called `done`."""

        def wait_for_commit() -> None:
            if self._publishing.acquire(timeout=_PATIENCE):
                self._publishing.release()

        await self._loop.run_in_executor(None, wait_for_commit)
        await asyncio.sleep(0)

    async def close(self, seconds: float = _CLOSING) -> None:
        """Commit what waits, as far as the database does it within `seconds`, and close it."""
        self._closing = True
        self._jobs.put(None)
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            # Its thread ends with the process. Nothing of it was acknowledged.
            log.error(
                "the database does not answer; what waited is not stored", events=self.waiting
            )
        self._readers.close()
        self._read_engine.dispose()
        self._engine.dispose()

    async def _read(self, read: Callable[[Connection, Check], _T], key: str) -> _T:
        end = time.monotonic() + self.query_timeout  # from now on, not from its turn

        def run() -> _T:
            with (
                self._read_engine.connect() as connection,
                deadline(connection, end) as check,
            ):
                # A commit may hang, on another host's disk.
                if not self._publishing.acquire(timeout=max(0.0, end - time.monotonic())):
                    raise TooSlow
                try:  # takes the snapshot
                    connection.exec_driver_sql("SELECT seq FROM events LIMIT 1")
                finally:
                    self._publishing.release()
                return read(connection, check)

        try:
            return await self._readers.run(key, run, self.query_timeout)
        except (SQLAlchemyError, TooSlow) as error:
            raise StoreError(explain(error)) from error

    def _write_loop(self) -> None:
        swept_at, pause = 0.0, 0.0
        while True:
            if time.monotonic() - swept_at > pause:
                swept_at = time.monotonic()
                pause = _GO_ON_SECONDS if self._sweep() else _SWEEP_SECONDS
            try:
                jobs = self._next_batch()
            except queue.Empty:
                continue
            if not jobs:
                self._tell(self._ended.set)
                return
            self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        outcomes: Sequence[Outcome | StoreError]
        if self._broken:
            outcomes = [StoreError("shutting down")] * len(jobs)
            self._tell(self._finish, jobs, outcomes)
            return
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                outcomes = save_all(connection, [job.event for job in jobs])
                with self._publishing:
                    transaction.commit()
                    self._tell(self._finish, jobs, outcomes)
        except Exception as error:  # noqa: BLE001 -- the only writer has to live, whatever comes
            if len(jobs) > 1 and not is_outage(error):
                # One event of them is at fault: it alone is to fail.
                half = len(jobs) // 2
                self._commit(jobs[:half])
                self._commit(jobs[half:])
                return
            if not is_outage(error):
                defect("an event could not be saved", error)
            self._broken = self._closing and is_outage(error)
            outcomes = [StoreError(explain(error))] * len(jobs)
            self._tell(self._finish, jobs, outcomes)

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the loop call something; it may have ended while the database did not answer."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _next_batch(self) -> list[_Job]:
        """Return what waits, at least one job; nothing when the store closes.

        Raises queue.Empty when nothing comes for a while.
        """
        jobs: list[_Job] = []
        job = self._jobs.get(timeout=_SWEEP_SECONDS)
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MAX_BATCH:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
        if jobs:
            self._jobs.put(None)  # these first, then the end
        return jobs

    def _finish(self, jobs: list[_Job], outcomes: Sequence[Outcome | StoreError]) -> None:
        self.waiting -= len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.done(outcome)

    def _sweep(self) -> bool:
        """Delete what is old, a little at a time; tell whether others had to write meanwhile."""
        return self._sweeper.go_on(
            int(time.time()), time.monotonic(), self.keep_days, lambda: not self._jobs.empty()
        )
