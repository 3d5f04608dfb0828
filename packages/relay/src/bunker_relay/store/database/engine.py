"""The database as the store opens it: a file of SQLite, or PostgreSQL at a URL.

Both kinds of engine behave alike to the rest of the store. A writer is alone: SQLite's lock is
taken when a transaction begins, PostgreSQL's by `hold`. A reader sees one state of the database
for the whole of its transaction. Errors are told by `explain`.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy import event as hooks
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from bunker_core.local.extras import how_to_install
from bunker_relay.store.outcome import StoreError

Database = Path | str  # a file of SQLite, or a URL of PostgreSQL

_PROGRESS_STEPS: Final = 10_000  # instructions of SQLite between two looks at the clock
_TOO_SLOW: Final = "query took too long"
_LOCK: Final = 24_133  # of PostgreSQL's advisory locks, the one that this store's writers share
_CACHE: Final = {True: 16_384, False: 4_096}  # KiB of SQLite's pages, for a writer, for a reader
_GRACE: Final = 1.0  # seconds beyond a deadline that PostgreSQL has to keep to it
_READER_PATIENCE: Final = 2.0  # seconds
_LOG_BYTES: Final = 67_108_864  # of SQLite's write-ahead log on disk, but while a reader needs it
_CHECKPOINT_PAGES: Final = 4_000  # 16 MB of log: a commit of hundreds of events is some megabytes

_SQLITE_OUTAGES: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES: Final = {
    "57014": _TOO_SLOW,
    "55P03": "database is locked",
    "53100": "database or disk is full",
}


class TooSlow(Exception):
    """The time for a query is up."""


def open_engine(
    database: Database, *, writes: bool, busy_timeout: float = 5.0, patience: float | None = None
) -> Engine:
    """Return an engine for `database`; raises StoreError when there is no driver for it.

    It waits `busy_timeout` seconds for a lock that another process holds, and `patience` seconds
    for any answer of PostgreSQL: a server may take connections and never answer. None waits for
    ever.
    """
    if isinstance(database, Path):
        return _open_sqlite(database, writes=writes, busy_timeout=busy_timeout)
    return _open_postgres(database, writes=writes, busy_timeout=busy_timeout, patience=patience)


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """Wait for ever for what is done in the block, such as a migration."""
    if not is_postgres(connection):
        yield
        return
    raw: Any = connection.connection.driver_connection
    patience, raw.patience = raw.patience, None
    try:
        yield
    finally:
        raw.patience = patience


@contextmanager
def sqlite(connection: Connection) -> Iterator[sqlite3.Connection]:
    """Yield the driver's own connection, whose statements cost half; errors are SQLAlchemy's."""
    raw: Any = connection.connection.driver_connection
    try:
        yield raw
    except sqlite3.Error as error:
        raise DBAPIError.instance("", None, error, sqlite3.Error) from error


def is_postgres(connection: Connection) -> bool:
    """Tell which of the two it is."""
    return connection.dialect.name == "postgresql"


def hold(connection: Connection) -> None:
    """Be the only writer of all processes that share the database, until the transaction ends.

    What a write depends on (is it there, is it deleted, which version is newer) then stays true
    until its commit. SQLite's transactions of a writer are so from their first moment.
    """
    if is_postgres(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


@contextmanager
def deadline(connection: Connection, end: float) -> Iterator[Callable[[], None]]:
    """Interrupt whatever the database does on `connection` at `end`, of the monotonic clock.

    Yields what to call between two statements: it raises TooSlow.
    """

    def check() -> None:
        if time.monotonic() > end:
            raise TooSlow

    if is_postgres(connection):
        # 0 would be for ever. Ends with the transaction.
        left = max(1, int((end - time.monotonic()) * 1000))
        server: Any = connection.connection.driver_connection
        patience = server.patience
        server.patience = left / 1000 + _GRACE  # should it not keep to its own
        try:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {left}")
            yield check
        finally:
            server.patience = patience
        return
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(lambda: time.monotonic() > end, _PROGRESS_STEPS)
    try:
        yield check
    finally:
        raw.set_progress_handler(None, 0)


def is_outage(error: Exception) -> bool:
    """Tell whether the database as a whole can't be used: other events would fare no better."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_OUTAGES
    return isinstance(error, OperationalError) or error.connection_invalidated


def explain(error: Exception) -> str:
    """Say what failed, in words that any client may read.

    Without the statement and its parameters, which SQLAlchemy would show, and without the
    address, user and values that PostgreSQL's own messages name.
    """
    if isinstance(error, TooSlow):
        return _TOO_SLOW
    if not isinstance(error, DBAPIError):
        return type(error).__name__
    if isinstance(error.orig, sqlite3.Error):
        cause = str(error.orig)
        return _TOO_SLOW if cause == "interrupted" else cause
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in _SQLSTATES:
        return _SQLSTATES[state]
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return "database is not available"
    return type(error).__name__


def explain_to_owner(error: Exception) -> str:
    """Say what failed, with the database's own first line; libpq names no password in it."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else ""
    return cause.strip().partition("\n")[0] or explain(error)


def _open_sqlite(path: Path, *, writes: bool, busy_timeout: float) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": busy_timeout, "check_same_thread": False}
    )

    @hooks.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins, not the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an OK survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE[writes]}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")

    @hooks.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return
        # A writer takes the lock at once, instead of failing half-way.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _open_postgres(
    url: str, *, writes: bool, busy_timeout: float, patience: float | None
) -> Engine:
    milliseconds = max(1, int(busy_timeout * 1000))
    options = f"-c lock_timeout={milliseconds}"
    if not writes:
        # A plan for any limit and any date would be a bad one, and compiling it takes longer than
        # nearly every query.
        options += " -c plan_cache_mode=force_custom_plan -c jit=off"
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    timeout = busy_timeout if writes else min(busy_timeout, _READER_PATIENCE)
    try:
        engine = create_engine(
            parsed,
            # A reader's statements all see what the first one saw, as in SQLite.
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            pool_pre_ping=True,  # the server may have been restarted since
            connect_args={
                "connect_timeout": max(2, round(timeout)),  # libpq's least
                "tcp_user_timeout": max(milliseconds, 2_000),  # a host that has vanished
                "options": f"{parsed.query.get('options', '')} {options}",
                "application_name": "bunker-relay",
            },
        )
        from bunker_relay.store.database.postgres import connect
    except ImportError as error:
        raise StoreError(
            f"PostgreSQL needs a driver: {how_to_install('nostr-bunker-relay', 'postgres')}"
        ) from error

    @hooks.listens_for(engine, "do_connect")
    def _on_connect(_dialect: object, _record: object, _args: object, options: Any) -> Any:
        return connect(patience, **options)

    return engine
