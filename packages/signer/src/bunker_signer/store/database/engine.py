"""The database: SQLite in the data directory by default, PostgreSQL by URL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import Table

from bunker_core.errors import BunkerError
from bunker_signer.store.database.cache import Cache
from bunker_signer.store.database.schema import create_all

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SQLiteInsert

FILE_NAME: Final = "signer.sqlite3"  # in the data directory
HEAD: Final = "0002"  # the newest migration; a test holds it against the folder

_WRITE: Final = "bunker_write"
# Pages of 4 KiB that SQLite's log may grow to before a commit has to copy them into the database
# itself, some ten milliseconds for each thousand. `checkpoint` does it beside.
_LONGEST_LOG: Final = 8000

T = TypeVar("T")


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
        dialect = self._engine.dialect
        # Statements of the request path raise the driver's own.
        self._errors = (SQLAlchemyError, dialect.loaded_dbapi.Error)
        if dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure)
            event.listen(self._engine, "begin", _begin)
        try:
            self._migrate()
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise StoreError(f"database {self._shown} can't be used: {_cause(error)}") from None
        except StoreError:
            self._engine.dispose()
            raise

    @property
    def directory(self) -> Path | None:
        """Where SQLite writes; None for another database."""
        name = self._engine.url.database
        return Path(name).parent if self._engine.dialect.name == "sqlite" and name else None

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

    def checkpoint(self) -> None:
        """Copy what SQLite has in its log into the database; from any thread, beside a writer.

        It waits for the disk, as a commit does that finds the log too long. Nothing depends on it.
        """
        if self._engine.dialect.name != "sqlite":
            return
        try:
            connection = self._engine.raw_connection()  # no transaction: within one it is refused
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                connection.close()
        except self._errors as error:
            raise _failed(error) from None

    def persistent_connection(self) -> "PersistentConnection":
        """Return a connection that stays open, for one thread that is often here."""
        return PersistentConnection(self._engine.execution_options(**{_WRITE: True}), self._errors)

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        try:
            engine = self._engine.execution_options(**{_WRITE: write})
            with engine.begin() as connection:
                yield connection
        except self._errors as error:
            raise _failed(error) from None

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if _version(connection) == HEAD:
                return
        with self._engine.execution_options(**{_WRITE: True}).begin() as connection:
            found = _version(connection)  # another process may have been here
            if found is None:
                # A fresh one is made whole: Alembic takes as long to load as all the rest.
                create_all(connection)
                connection.exec_driver_sql(
                    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
                )
                stamp = text("INSERT INTO alembic_version (version_num) VALUES (:head)")
                connection.execute(stamp, {"head": HEAD})
            elif found > HEAD:
                raise StoreError(
                    f"the database {self._shown} has version {found}, this program knows {HEAD}: "
                    "upgrade the program"
                )
            elif found != HEAD:
                from bunker_signer.store.database.migrations import upgrade

                upgrade(connection)


def _version(connection: Connection) -> str | None:
    """Return what Alembic wrote down, None if it never did."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")


class PersistentConnection:
    """One open connection: taking it from the pool and giving it back takes longer than a look."""

    def __init__(self, engine: Engine, errors: tuple[type[Exception], ...]) -> None:
        self._engine = engine
        self._errors = errors
        self._connection: Connection | None = None
        self._cache: Final = Cache()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """As `Database.write`."""
        try:
            connection = self._opened()
            with _begun(connection):
                self._cache.compare(connection)
                yield connection
                self._cache.settle(connection)
        except self._errors as error:
            self.close(broken=True)
            raise _failed(error) from None
        except BaseException:
            self._cache.forget()  # what was read and rolled back
            raise

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which runs one `Statement`; raises StoreError."""
        try:
            connection = self._opened()
            try:
                self._cache.compare(connection)
                return work(connection)
            finally:
                # SQLite reads without a transaction. The driver of PostgreSQL has begun one that
                # SQLAlchemy does not know of.
                if connection.dialect.name != "sqlite":
                    connection.connection.rollback()
        except self._errors as error:
            self.close(broken=True)
            raise _failed(error) from None

    def close(self, *, broken: bool = False) -> None:
        """Give the connection back; one that is `broken` is used by nobody again.

        The next call opens another: a server that was restarted knows nothing of this one.
        """
        if self._connection is None:
            return
        self._cache.detach(self._connection)
        if broken:
            self._connection.invalidate()
        self._connection.close()
        self._connection = None

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._cache.attach(self._connection)
        return self._connection


@contextmanager
def _begun(connection: Connection) -> Iterator[None]:
    """Have a transaction that writes in the block, in SQLite without SQLAlchemy's way to one.

    That way takes as long as four statements. A work that uses SQLAlchemy makes it think that it
    has begun one of its own: `_begin` begins none within ours.
    """
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield
        driver.execute("COMMIT")
    except BaseException:
        driver.rollback()
        raise
    finally:
        if connection.in_transaction():
            connection.rollback()  # nothing any more: ours is over


def insert(connection: Connection, table: Table) -> "SQLiteInsert | PostgresInsert":
    """Return an INSERT that knows ON CONFLICT, in the words of the database at hand."""
    if connection.dialect.name == "sqlite":
        return sqlite_insert(table)
    # Imported here: a signer with SQLite can do without its three megabytes of memory.
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(table)


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun in `_begin`, not by the driver
    # WAL lets `bunker signer` write beside a running signer; the timeout makes it wait its turn.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "busy_timeout=5000",
        f"wal_autocheckpoint={_LONGEST_LOG}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that reads before it writes has to say so at once: two that find out later
    # that both want to write can't both go on, and one of them would fail.
    driver: Any = connection.connection.dbapi_connection
    if driver.in_transaction:
        return  # a line's, see `_begun`
    write = connection.get_execution_options().get(_WRITE)
    driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _failed(error: Exception) -> StoreError:
    return StoreError(f"the signer's database failed: {_cause(error)}")


def _cause(error: Exception) -> str:
    # SQLAlchemy's own text repeats the statement with its parameters
    driver = getattr(error, "orig", error if not isinstance(error, SQLAlchemyError) else None)
    text = str(driver or type(error).__name__)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
