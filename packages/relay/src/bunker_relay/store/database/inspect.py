"""A look at a database before a relay begins to work with it."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bunker_relay.store.database.engine import Database, explain_to_owner, open_engine
from bunker_relay.store.outcome import StoreError

_SMALL: Final = 33_554_432  # bytes that are read through in a tenth of a second
# What waiting does not mend.
_SQLITE: Final = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
)
_READ_ONLY: Final = "25006"  # PostgreSQL's read_only_sql_transaction, as on a standby


def inspect(database: Database) -> str:
    """Write to a database that has its tables; return what is in the way just now, or "".

    Raises StoreError for what will not pass by itself: it can't be written, or is damaged. A small
    file is read through; damage in a large one shows when a query meets it.
    """
    engine = open_engine(database, writes=True)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        if isinstance(database, Path) and database.stat().st_size <= _SMALL:
            with engine.connect() as connection:
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
            if found != "ok":
                raise StoreError(f"the database is damaged ({' '.join(found.split())})")
    except SQLAlchemyError as error:
        said = explain_to_owner(error)
        if not _stays(error):
            return said
        raise StoreError(said) from error
    finally:
        engine.dispose()
    return ""


def _stays(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return True
    if isinstance(error.orig, sqlite3.Error):
        return _code(error.orig) in _SQLITE
    return getattr(error.orig, "sqlstate", None) == _READ_ONLY


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part
