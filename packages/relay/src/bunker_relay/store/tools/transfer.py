"""Events as JSON lines: out of a store and into it. The relay may run at the same time.

What goes wrong is for the owner at the terminal, so errors say it in the database's own words.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, func, select, tuple_
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import Database, explain_to_owner, open_engine
from bunker_relay.store.database.schema import events, metadata, tags
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.tools.texts import read_event
from bunker_relay.store.write import forget_old, save_all

_MIB: Final = 1_048_576  # bytes
_PAGE: Final = 100  # events read at once: some megabytes at most, and often far less
_LOOK: Final = 1.0  # seconds between two looks at how far a vacuum is
_TEMP_FOLDER: Final = "SQLITE_TMPDIR"
_REASONS: Final = 5  # that are kept
_BATCH: Final = 500  # events in one commit: short, so that a running relay gets its turn


@dataclass(slots=True)
class Tally:
    """What an import made of the lines it read."""

    saved: int = 0
    known: int = 0  # here already, superseded or deleted by their author
    refused: int = 0  # not an event, signature wrong, ephemeral, or beyond the limits
    reasons: list[tuple[int, str]] = field(
        default_factory=list
    )  # number of the text, the first few

    def refuse(self, number: int, reason: str) -> None:
        """Count what is not taken, and keep the first reasons."""
        self.refused += 1
        if len(self.reasons) < _REASONS:
            self.reasons.append((number, reason))


def export_events(database: Database) -> tuple[int, Iterator[bytes]]:
    """Return how many events there are, and them, oldest first, one JSON text each.

    Page by page: whoever takes them slowly keeps no snapshot, and no log grows meanwhile. Raises
    StoreError, also while it is iterated.
    """
    engine = open_engine(database, writes=False)

    def lines() -> Iterator[bytes]:
        at: tuple[int, bytes] | None = None
        try:
            while True:
                page = _page(engine, at)
                if not page:
                    return
                at = page[-1][:2]
                yield from (event_json for _, _, event_json in page)
                del page  # before the next: one may have 100 MB
        except SQLAlchemyError as error:
            raise StoreError(explain_to_owner(error)) from error
        finally:
            engine.dispose()

    try:
        with engine.connect() as connection:
            total = connection.scalar(select(func.count()).select_from(events)) or 0
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    return total, lines()


def import_events(
    database: Database,
    texts: Iterable[tuple[int, bytes]],
    refusal: Callable[[Event], str] = lambda _: "",
) -> Iterator[Tally]:
    """Save the event of each text that holds one, and yield the tally after every commit.

    The texts are numbered, for the reasons. Ids and signatures are checked, so a file from anywhere
    will do (see `texts`); `refusal` says why one is not wanted, or "". Raises StoreError.
    """
    engine = open_engine(database, writes=True)
    tally = Tally()
    remaining = iter(texts)
    try:
        with engine.begin() as connection:
            migrate.prepare(connection)
        while batch := list(islice(remaining, _BATCH)):
            accepted = []
            for number, text in batch:
                try:
                    event = read_event(text)
                    if reason := refusal(event):
                        tally.refuse(number, reason)
                    else:
                        accepted.append(event)
                except InvalidEvent as error:
                    tally.refuse(number, str(error))
            with engine.begin() as connection:
                outcomes = save_all(connection, accepted)
            tally.saved += outcomes.count(Outcome.SAVED)
            tally.known += len(outcomes) - outcomes.count(Outcome.SAVED)
            yield tally
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()


def vacuum(
    database: Database,
    now: int,
    keep_days: int,
    progressed: Callable[[float], None] = lambda _: None,
) -> tuple[int, int]:
    """Delete what is expired or too old, give the space back; return bytes before and after.

    SQLite writes the database anew beside the old one: `progressed` hears which part of that is
    done, by the disk that it takes. Raises StoreError, at once where the disk has no room for it.
    """
    engine = open_engine(database, writes=True)
    try:
        before = _size(engine, database)
        more = True
        while more:
            with engine.begin() as connection:
                more = forget_old(connection, now, keep_days)
        with engine.begin() as connection:  # what an older version may have left behind
            known = select(events.c.seq)
            connection.execute(delete(tags).where(tags.c.event.not_in(known)))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # outside of any transaction
            if isinstance(database, Path):
                _write_anew(connection, database, progressed)
            else:
                names = ", ".join(metadata.tables)
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {names}")
        return before, _size(engine, database)
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()


def _write_anew(
    connection: Connection, database: Path, progressed: Callable[[float], None]
) -> None:
    """Run VACUUM with its copy in the data folder, not in memory and not in a small /tmp."""
    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    unused = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    page = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    wanted = 2 * (used - unused) * page  # the copy, and the log through which it comes back
    free = shutil.disk_usage(database.parent).free
    if free < wanted:
        raise StoreError(
            f"{wanted // _MIB + 1} MiB of free space are needed in {database.parent}, and"
            f" {free // _MIB} are there; nothing was written"
        )
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            taken = free - shutil.disk_usage(database.parent).free
            progressed(min(0.99, max(0.0, taken / (wanted or 1))))

    before = os.environ.get(_TEMP_FOLDER)
    os.environ[_TEMP_FOLDER] = str(database.parent)  # SQLite asks for it at each temporary file
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        connection.exec_driver_sql("PRAGMA temp_store = FILE")
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        ended.set()
        watcher.join()
        if before is None:
            del os.environ[_TEMP_FOLDER]
        else:
            os.environ[_TEMP_FOLDER] = before
    progressed(1.0)


def _page(engine: Engine, after: tuple[int, bytes] | None) -> list[tuple[int, bytes, bytes]]:
    """Return date, id and JSON of the events that follow `after`, in a transaction of its own."""
    place = tuple_(events.c.created_at, events.c.id)
    wanted = select(events.c.created_at, events.c.id, events.c.json)
    if after is not None:
        # The date alone too: of a comparison of rows SQLite uses no index of dates.
        wanted = wanted.where(events.c.created_at >= after[0], place > after)
    wanted = wanted.order_by(events.c.created_at, events.c.id).limit(_PAGE)
    with engine.connect() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(wanted)]


def _size(engine: Engine, database: Database) -> int:
    """Return how many bytes the events take, with their indices."""
    if isinstance(database, Path):
        return database.stat().st_size
    tables = " + ".join(f"pg_total_relation_size('{table}')" for table in metadata.tables)
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT {tables}").scalar_one())
