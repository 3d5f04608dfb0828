"""Events as JSON lines: out of a store and into it. The relay may run at the same time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, parse_event_json, verify
from bunker_core.kinds import is_ephemeral
from bunker_relay import migrate
from bunker_relay.engine import explain, open_engine
from bunker_relay.outcome import Outcome, StoreError
from bunker_relay.schema import events, tags
from bunker_relay.write import forget_old, save_all

_BATCH: Final = 500  # events in one commit: short, so that a running relay gets its turn


@dataclass(slots=True)
class Tally:
    """What an import made of the lines it read."""

    saved: int = 0
    known: int = 0  # here already, superseded or deleted by their author
    refused: int = 0  # not an event, signature wrong, or ephemeral


def export_events(path: Path) -> tuple[int, Iterator[bytes]]:
    """Return how many events there are, and them, oldest first, one JSON text each.

    Raises StoreError, also while it is iterated.
    """
    engine = open_engine(path, writes=False)

    def lines() -> Iterator[bytes]:
        try:
            with engine.connect() as connection:
                statement = select(events.c.json).order_by(events.c.created_at, events.c.id)
                yield from connection.execution_options(yield_per=_BATCH).scalars(statement)
        except SQLAlchemyError as error:
            raise StoreError(explain(error)) from error
        finally:
            engine.dispose()

    try:
        with engine.connect() as connection:
            total = connection.scalar(select(func.count()).select_from(events)) or 0
    except SQLAlchemyError as error:
        raise StoreError(explain(error)) from error
    return total, lines()


def import_events(path: Path, lines: Iterable[bytes]) -> Iterator[Tally]:
    """Save the event of each line that holds one, and yield the tally after every commit.

    Ids and signatures are checked, so a file from anywhere will do. Raises StoreError.
    """
    engine = open_engine(path, writes=True)
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
        raise StoreError(explain(error)) from error
    except migrate.NewerDatabase as error:
        raise StoreError(str(error)) from error
    finally:
        engine.dispose()


def vacuum(path: Path, now: int, keep_days: int) -> tuple[int, int]:
    """Delete what is expired or too old, give the space back; return bytes before and after.

    Raises StoreError.
    """
    engine = open_engine(path, writes=True)
    before = path.stat().st_size
    try:
        more = True
        while more:
            with engine.begin() as connection:
                more = forget_old(connection, now, keep_days)
        with engine.begin() as connection:  # what an older version may have left behind
            known = select(events.c.seq)
            connection.execute(delete(tags).where(tags.c.event.not_in(known)))
        raw = engine.raw_connection()
        try:
            raw.execute("VACUUM")  # outside of any transaction
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()
    except SQLAlchemyError as error:
        raise StoreError(explain(error)) from error
    finally:
        engine.dispose()
    return before, path.stat().st_size


def _read(line: bytes) -> Event | None:
    try:
        event = verify(parse_event_json(line))
    except InvalidEvent:
        return None
    return None if is_ephemeral(event.kind) else event
