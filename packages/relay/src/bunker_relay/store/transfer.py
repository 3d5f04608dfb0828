"""Events as JSON lines: out of a store and into it. The relay may run at the same time.

What goes wrong is for the owner at the terminal, so errors say it in the database's own words.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, parse_event_json, verify
from bunker_core.kinds import is_ephemeral
from bunker_relay.store import migrate
from bunker_relay.store.engine import Database, explain_to_owner, open_engine
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.schema import events, metadata, tags
from bunker_relay.store.write import forget_old, save_all

_BATCH: Final = 500  # events in one commit: short, so that a running relay gets its turn


@dataclass(slots=True)
class Tally:
    """What an import made of the lines it read."""

    saved: int = 0
    known: int = 0  # here already, superseded or deleted by their author
    refused: int = 0  # not an event, signature wrong, or ephemeral


def export_events(database: Database) -> tuple[int, Iterator[bytes]]:
    """Return how many events there are, and them, oldest first, one JSON text each.

    Raises StoreError, also while it is iterated.
    """
    engine = open_engine(database, writes=False)

    def lines() -> Iterator[bytes]:
        try:
            with engine.connect() as connection:
                statement = select(events.c.json).order_by(events.c.created_at, events.c.id)
                yield from connection.execution_options(yield_per=_BATCH).scalars(statement)
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


def import_events(database: Database, lines: Iterable[bytes]) -> Iterator[Tally]:
    """Save the event of each line that holds one, and yield the tally after every commit.

    Ids and signatures are checked, so a file from anywhere will do. Raises StoreError.
    """
    engine = open_engine(database, writes=True)
    tally = Tally()
    remaining = iter(lines)
    try:
        with engine.begin() as connection:
            migrate.prepare(connection)
        while batch := list(islice(remaining, _BATCH)):
            accepted = [event for event in map(_read, batch) if event is not None]
            with engine.begin() as connection:
                outcomes = save_all(connection, accepted)
            tally.saved += outcomes.count(Outcome.SAVED)
            tally.known += len(outcomes) - outcomes.count(Outcome.SAVED)
            tally.refused += len(batch) - len(accepted)
            yield tally
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()


def vacuum(database: Database, now: int, keep_days: int) -> tuple[int, int]:
    """Delete what is expired or too old, give the space back; return bytes before and after.

    Raises StoreError.
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
        if isinstance(database, Path):
            statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
        else:
            statements = [f"VACUUM (FULL, ANALYZE) {', '.join(metadata.tables)}"]
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:  # outside of any transaction
                connection.exec_driver_sql(statement)
        return before, _size(engine, database)
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()


def _size(engine: Engine, database: Database) -> int:
    """Return how many bytes the events take, with their indices."""
    if isinstance(database, Path):
        return database.stat().st_size
    tables = " + ".join(f"pg_total_relation_size('{table}')" for table in metadata.tables)
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT {tables}").scalar_one())


def _read(line: bytes) -> Event | None:
    try:
        event = verify(parse_event_json(line))
    except InvalidEvent:
        return None
    return None if is_ephemeral(event.kind) else event
