"""The SQLite database as the store opens it, and what its errors say."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, text
from sqlalchemy import event as hooks
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

_PROGRESS_STEPS: Final = 10_000  # instructions of SQLite between two looks at the clock


def open_engine(path: Path, *, writes: bool, busy_timeout: float = 5.0) -> Engine:
    """Return an engine for the database file at `path`.

    It waits `busy_timeout` seconds for a lock that another process holds.
    """
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": busy_timeout, "check_same_thread": False}
    )

    @hooks.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins, not the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an OK survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @hooks.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A writer takes the lock at once, instead of failing half-way.
        connection.execute(text("BEGIN IMMEDIATE" if writes else "BEGIN"))

    return engine


@contextmanager
def deadline(connection: Connection, seconds: float) -> Iterator[None]:
    """Interrupt whatever SQLite does on `connection` after `seconds`."""
    raw: Any = connection.connection.driver_connection
    end = time.monotonic() + seconds
    raw.set_progress_handler(lambda: time.monotonic() > end, _PROGRESS_STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def explain(error: Exception) -> str:
    """Say what failed without the statement and its parameters, which SQLAlchemy would show."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
    return "query took too long" if cause == "interrupted" else cause
