"""Events into a running store."""

import asyncio

from bunker_core.event import Event
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.store import Store


async def save(store: Store | None, *events: Event) -> list[Outcome | StoreError]:
    """Save all at once; return what the store says of each."""
    assert store is not None
    futures = [asyncio.get_running_loop().create_future() for _ in events]
    for event, future in zip(events, futures, strict=True):
        store.save(event, future.set_result)
    return list(await asyncio.gather(*futures))
