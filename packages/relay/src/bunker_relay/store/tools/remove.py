"""Events out of a store, by the owner's word. The relay may run at the same time."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import IO, Final

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.filter import Filter
from bunker_relay.store.database.engine import Database, explain_to_owner, hold, open_engine
from bunker_relay.store.database.schema import events
from bunker_relay.store.outcome import StoreError
from bunker_relay.store.query import count_events, select_events

_BATCH: Final = 500  # events in one commit: short, so that a running relay gets its turn


def count(database: Database, filters: Iterable[Filter]) -> int:
    """Return how many events any filter matches. Raises StoreError."""
    engine = open_engine(database, writes=False)
    try:
        with engine.connect() as connection:
            return count_events(connection, filters, int(time.time()))
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()


def take_out(database: Database, filters: Iterable[Filter], into: IO[bytes] | None = None) -> int:
    """Delete what any filter matches, whatever its `limit`, and return how many events that were.

    With `into` each is on disk there, a line of JSON, before it is deleted. Raises StoreError, and
    OSError.
    """
    wanted = [replace(item, limit=None) for item in filters]
    engine = open_engine(database, writes=True)
    count = 0
    try:
        while True:
            with engine.begin() as connection:
                hold(connection)
                found = select_events(
                    connection, wanted, int(time.time()), default=_BATCH, most=_BATCH
                )
                if not found:
                    return count
                if into is not None:
                    into.writelines(stored.json + b"\n" for stored in found)
                    into.flush()
                    os.fsync(into.fileno())
                ids = [bytes.fromhex(stored.id) for stored in found]
                connection.execute(delete(events).where(events.c.id.in_(ids)))
            count += len(found)
    except SQLAlchemyError as error:
        raise StoreError(explain_to_owner(error)) from error
    finally:
        engine.dispose()
