"""The readers: addresses take turns, and nobody waits longer than the deadline."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from bunker_relay.store.database.engine import TooSlow
from bunker_relay.store.readers import Readers


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    """As many threads as a relay has, and as many of them for each address."""
    readers = Readers()
    yield readers
    readers.close()


async def test_what_is_read_is_returned_or_raised(readers: Readers) -> None:
    """From a thread of its own."""
    name = await readers.run("a", lambda: threading.current_thread().name, 5.0)
    assert name.startswith("store-reader-")

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await readers.run("a", fail, 5.0)


async def test_an_address_keeps_no_other_waiting(readers: Readers) -> None:
    """With 60 slow queries of one, the query of another is read at once."""
    go_on = threading.Event()
    slow = [asyncio.create_task(readers.run("a", go_on.wait, 60.0)) for _ in range(60)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await readers.run("b", lambda: "other", 5.0) == "other"
    assert not any(task.done() for task in slow)
    go_on.set()
    assert all(await asyncio.gather(*slow))


async def test_addresses_take_turns() -> None:
    """Of two that wait, neither goes first twice."""
    readers = Readers(1, 1)
    order: list[str] = []
    go_on = threading.Event()
    first = asyncio.create_task(readers.run("x", go_on.wait, 60.0))
    await asyncio.sleep(0)
    waiting = [
        asyncio.create_task(readers.run(key, lambda key=key: order.append(key), 60.0))  # type: ignore[misc]
        for key in "aaabbc"
    ]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *waiting)
    assert "".join(order) == "abcaba"
    readers.close()


async def test_the_deadline_runs_from_arrival() -> None:
    """What was not begun by then fails, and is not begun later."""
    readers = Readers(1, 1)
    go_on = threading.Event()
    first = asyncio.create_task(readers.run("a", go_on.wait, 60.0))
    await asyncio.sleep(0)
    began = time.monotonic()
    late: list[str] = []
    with pytest.raises(TooSlow):
        await readers.run("a", lambda: late.append("begun"), 0.05)
    assert time.monotonic() - began < 5.0
    cancelled = asyncio.create_task(readers.run("a", lambda: late.append("cancelled"), 60.0))
    await asyncio.sleep(0)
    cancelled.cancel()
    go_on.set()
    assert await first
    assert await readers.run("a", lambda: "next", 5.0) == "next"
    assert late == []
    readers.close()
