"""The database: SQLite in the data directory by default, PostgreSQL by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import Insert as SQLiteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import Table

from bunker_core.errors import BunkerError

FILE_NAME: Final = "signer.sqlite3"  # in the data directory
HEAD: Final = "0001"  # the newest migration; a test holds it against the folder

_WRITE: Final = "bunker_write"


class StoreError(BunkerError):
    """The signer's database can't be read or written."""


class Database:
    """A migrated database. Every block is one transaction; all failures are StoreErrors."""

    def __init__(self, url: str | Path) -> None:
        """Open `url`, a path of an SQLite file or an SQLAlchemy URL, and bring it up to date."""
        self._shown = str(url).rpartition("@")[2]  # a password must not reach a message
        try:
            self._engine = create_engine(f"sqlite:///{url}" if isinstance(url, Path) else url)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise StoreError(f"database {self._shown} can't be used: {error}") from None
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure)
            event.listen(self._engine, "begin", _begin)
        try:
            self._migrate()
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise StoreError(f"database {self._shown} can't be used: {_cause(error)}") from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database."""
        with self._transaction(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose changes are all made at the end of the block, or none."""
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        try:
            engine = self._engine.execution_options(**{_WRITE: write})
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the signer's database failed: {_cause(error)}") from None

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if inspect(connection).has_table("alembic_version"):
                version = connection.scalar(text("SELECT version_num FROM alembic_version"))
                if version == HEAD:
                    return
        # Imported here: most starts have nothing to do, and alembic takes its time to load.
        from bunker_signer.migrations import upgrade

        with self._engine.execution_options(**{_WRITE: True}).begin() as connection:
            upgrade(connection)


@cache
def insert_or_nothing(dialect_name: str, table: Table) -> SQLiteInsert | PostgresInsert:
    """Return an INSERT that leaves alone what is there, built once."""
    statement = sqlite_insert if dialect_name == "sqlite" else postgres_insert
    return statement(table).on_conflict_do_nothing()


def insert(connection: Connection, table: Table) -> SQLiteInsert | PostgresInsert:
    """Return an INSERT that knows ON CONFLICT, in the words of the database at hand."""
    if connection.dialect.name == "sqlite":
        return sqlite_insert(table)
    return postgres_insert(table)


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun in `_begin`, not by the driver
    # WAL lets `bunker signer` write beside a running signer; the timeout makes it wait its turn.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that reads before it writes has to say so at once: two that find out later
    # that both want to write can't both go on, and one of them would fail.
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _cause(error: SQLAlchemyError) -> str:
    # SQLAlchemy's own text repeats the statement with its parameters
    text = str(getattr(error, "orig", None) or type(error).__name__)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
