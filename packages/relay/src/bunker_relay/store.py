"""The store: events that are meant to be kept, in SQLite through SQLAlchemy.

One thread writes and commits once for all that wait; a few threads read. The event loop waits for
neither: `save` answers through a callback, and only after the commit.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy import event as hooks
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_relay.query import Stored, count_events, select_events
from bunker_relay.schema import events, metadata
from bunker_relay.write import Outcome, save_all

FILE: Final = "relay.sqlite3"
_MAX_BATCH: Final = 500  # events in one commit
_MAX_WAITING: Final = 20_000  # events that wait for the writer, some 20 MB
_BUSY_TIMEOUT: Final = 5.0  # seconds that a write waits for another process's lock
_READERS: Final = 4
_PROGRESS_STEPS: Final = 10_000  # instructions of SQLite between two looks at the clock

_T = TypeVar("_T")


class StoreError(Exception):
    """The database can't be used just now; the text is fit for an OK or a CLOSED."""


Done = Callable[[Outcome | StoreError], None]


@dataclass(frozen=True, slots=True)
class _Job:
    event: Event
    done: Done


class Store:
    """The events of one relay, used from the event loop's thread."""

    def __init__(self, path: Path, *, query_timeout: float = 5.0) -> None:
        """Open the database file at `path`, or make it. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._query_timeout = query_timeout
        self._engine = _engine(path, begin="BEGIN IMMEDIATE")
        self._read_engine = _engine(path, begin="BEGIN")
        try:
            with self._engine.begin() as connection:
                metadata.create_all(connection)
        except SQLAlchemyError as error:
            raise StoreError(_cause(error)) from error
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        # Held from a commit until the loop is told of it, and while a reader takes its snapshot:
        # what a query returns has been announced before, so it can be told from a live event.
        self._publishing = threading.Lock()
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._writer.start()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")

    def save(self, event: Event, done: Done) -> None:
        """Save a verified event; `done` is called on the loop once it is committed, or failed."""
        if self._waiting >= _MAX_WAITING:
            done(StoreError("too many events wait to be stored"))
            return
        self._waiting += 1
        self._jobs.put(_Job(event, done))

    async def query(
        self, filters: Iterable[Filter], now: int, *, default: int, most: int
    ) -> list[Stored]:
        """Return what matches, see `query.select_events`.

        Raises StoreError when the database fails or the time is up.
        """
        return await self._read(
            lambda connection: select_events(connection, filters, now, default=default, most=most)
        )

    async def count(self, filters: Sequence[Filter], now: int) -> int:
        """Return how many events match; raises StoreError."""
        return await self._read(lambda connection: count_events(connection, filters, now))

    async def close(self) -> None:
        """Commit what waits and close the database."""
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._read_engine.dispose()
        self._engine.dispose()

    async def _read(self, read: Callable[[Connection], _T]) -> _T:
        def run() -> _T:
            with (
                self._read_engine.connect() as connection,
                _deadline(connection, self._query_timeout),
            ):
                with self._publishing:
                    connection.execute(select(events.c.seq).limit(1))  # takes the snapshot
                return read(connection)

        try:
            return await self._loop.run_in_executor(self._readers, run)
        except SQLAlchemyError as error:
            raise StoreError(_cause(error)) from error

    def _write_loop(self) -> None:
        while jobs := self._next_batch():
            outcomes: Sequence[Outcome | StoreError]
            try:
                with self._engine.connect() as connection, connection.begin() as transaction:
                    outcomes = save_all(connection, [job.event for job in jobs])
                    with self._publishing:
                        transaction.commit()
                        self._loop.call_soon_threadsafe(self._finish, jobs, outcomes)
            except SQLAlchemyError as error:
                outcomes = [StoreError(_cause(error))] * len(jobs)
                self._loop.call_soon_threadsafe(self._finish, jobs, outcomes)

    def _next_batch(self) -> list[_Job]:
        """Return what waits, at least one job; nothing when the store closes."""
        jobs: list[_Job] = []
        job = self._jobs.get()
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
        self._waiting -= len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.done(outcome)


def _engine(path: Path, *, begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT, "check_same_thread": False}
    )

    @hooks.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins, not the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an OK survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @hooks.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # IMMEDIATE for the writer: take the lock at once, instead of failing half-way.
        connection.execute(text(begin))

    return engine


@contextmanager
def _deadline(connection: Connection, seconds: float) -> Iterator[None]:
    """Interrupt whatever SQLite does on `connection` after `seconds`."""
    raw: Any = connection.connection.driver_connection
    end = time.monotonic() + seconds
    raw.set_progress_handler(lambda: time.monotonic() > end, _PROGRESS_STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _cause(error: SQLAlchemyError) -> str:
    """Say what failed without the statement and its parameters, which SQLAlchemy would show."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
    return "query took too long" if cause == "interrupted" else cause
