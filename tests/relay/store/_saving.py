"""Events into a running store, and a connection beside it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection

from bunker_core.event import Event
from bunker_relay.store.database.engine import Database, open_engine
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.store import Store


async def save(store: Store | None, *events: Event) -> list[Outcome | StoreError]:
    """Save all at once; return what the store says of each."""
    assert store is not None
    futures = [asyncio.get_running_loop().create_future() for _ in events]
    for event, future in zip(events, futures, strict=True):
        store.save(event, future.set_result)
    return list(await asyncio.gather(*futures))


def numbered(number: int, **fields: object) -> Event:
    """Return an event that nobody signed, its id a number."""
    event = Event(f"{number:064x}", "b" * 64, 1_000, 1, (), "", "d" * 128)
    return replace(event, **fields)  # type: ignore[arg-type]


@contextmanager
def closing_engine(database: Database) -> Iterator[Connection]:
    """A connection of our own, its changes committed."""
    engine = open_engine(database, writes=True)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
