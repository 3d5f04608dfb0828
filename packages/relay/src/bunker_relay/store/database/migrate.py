"""Bring a database to the version of this program.

A fresh one is made whole, without loading Alembic, which takes as long as all the rest of the
start; a test holds that both ways give the same tables.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.engine import Connection

from bunker_core.local.systemd import notify
from bunker_relay.logs import log
from bunker_relay.store.database.engine import hold, is_postgres
from bunker_relay.store.database.schema import metadata
from bunker_relay.store.outcome import StoreError

_SIGN: Final = 5.0  # seconds between two signs of life while it is at work
_LINE: Final = 10.0  # seconds between two lines in the log
_PATIENCE: Final = 30_000_000  # microseconds that a sign asks for

VERSION: Final = "0002"


class NewerDatabase(StoreError):
    """The database was written by a later version of this program."""


def prepare(connection: Connection) -> None:
    """Make or upgrade the tables; raises NewerDatabase."""
    hold(connection)  # relays that share a database may start at the same moment
    found = _version(connection)
    if found is None:
        metadata.create_all(connection, checkfirst=False)
        connection.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
        )
        connection.execute(
            text("INSERT INTO alembic_version (version_num) VALUES (:version)"),
            {"version": VERSION},
        )
    elif found > VERSION:
        raise NewerDatabase(
            f"the database has version {found}, this program knows {VERSION}: upgrade the program"
        )
    elif found < VERSION:
        log.info(
            "bringing the database up to date; the relay serves when that is done, which takes"
            " minutes for a million events",
            version=found,
            to=VERSION,
        )
        with _telling(time.monotonic()):
            upgrade(connection)
        log.info("the database is up to date", version=VERSION)


@contextmanager
def _telling(began: float) -> Iterator[None]:
    """Say now and then that it goes on: to the log, and to systemd, which would give up waiting."""
    done = threading.Event()

    def tell() -> None:
        told = began
        while not done.wait(_SIGN):
            notify(f"EXTEND_TIMEOUT_USEC={_PATIENCE}\nSTATUS=bringing the database up to date")
            if time.monotonic() - told >= _LINE:
                told = time.monotonic()
                log.info("still bringing the database up to date", seconds=round(told - began))

    thread = threading.Thread(target=tell, name="store-migration", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations that are missing up to `revision`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _version(connection: Connection) -> str | None:
    """Return what Alembic wrote down, None if it never did."""
    if is_postgres(connection):
        has_table = "SELECT to_regclass('alembic_version')"
    else:
        has_table = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    if connection.exec_driver_sql(has_table).scalar() is None:
        return None
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(version or "")
