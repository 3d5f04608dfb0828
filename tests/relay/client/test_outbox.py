"""The outbox on a loop, with a client that reads when it is told to."""

import asyncio

import pytest

from bunker_relay.client.outbox import WINDOW, Outbox, Unread
from bunker_relay.event.limits import Budget


def _unread() -> Unread:
    return Unread(Budget(2**30, 2**30), "a")


class Reader:
    """Takes a frame for every `read`."""

    def __init__(self, max_bytes: int) -> None:
        self.got: list[bytes] = []
        self.overflows: list[int] = []  # the size at each
        self._may_read = asyncio.Semaphore(0)
        self.outbox = Outbox(self._send, max_bytes, self._overflowed, _unread())

    async def _send(self, frame: bytes) -> None:
        await self._may_read.acquire()
        self.got.append(frame)

    def _overflowed(self) -> None:
        self.overflows.append(self.outbox.size)

    def read(self, count: int) -> None:
        for _ in range(count):
            self._may_read.release()


async def test_frames_are_sent_in_order() -> None:
    """First in, first out, and an outbox without work has no task."""
    reader = Reader(1_000)
    for number in range(5):
        reader.outbox.put(b"%d" % number)
    reader.read(5)
    await reader.outbox.flushed()
    assert reader.got == [b"0", b"1", b"2", b"3", b"4"]
    assert reader.outbox.size == 0
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_full_outbox_overflows_once() -> None:
    """Beyond the bound everything is dropped, once, and nothing is taken any more."""
    reader = Reader(100)
    for _ in range(10):
        reader.outbox.put(b"x" * 10)
    assert not reader.overflows
    for _ in range(3):
        reader.outbox.put(b"x")
    assert len(reader.overflows) == 1
    reader.read(10)
    await reader.outbox.flushed()
    assert reader.got == []


async def test_what_is_reserved_counts() -> None:
    """Frames that a subscription holds back fill the outbox too, until they are given back."""
    reader = Reader(100)
    reader.outbox.reserve(90)
    reader.outbox.put(b"x" * 10)
    reader.outbox.reserve(-90)
    reader.outbox.put(b"x" * 90)
    assert not reader.overflows
    reader.outbox.reserve(1)
    assert len(reader.overflows) == 1


async def test_drained_waits_for_half_of_the_room() -> None:
    """A sender that waits goes on when half is free, or when the outbox is closed."""
    for closes in (False, True):
        reader = Reader(100)
        for _ in range(10):
            reader.outbox.put(b"x" * 10)
        waiting = asyncio.create_task(reader.outbox.drained())
        reader.read(4)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.shield(waiting)
        assert len(reader.got) == 4
        if closes:
            reader.outbox.close()
        else:
            reader.read(1)
        async with asyncio.timeout(5):
            await waiting


async def test_a_client_that_has_gone_closes_the_outbox() -> None:
    """When the send fails, what waits is dropped and nobody is left waiting."""

    async def fail(_frame: bytes) -> None:
        raise OSError

    outbox = Outbox(fail, 100, lambda: None, _unread())
    outbox.put(b"x" * 60)
    async with asyncio.timeout(5):
        await outbox.drained()
        await outbox.flushed()
    assert outbox.closed


async def test_what_all_clients_leave_unread_is_bounded() -> None:
    """By address and in all: who leaves more than is left is dropped, and gives its part back."""
    budget = Budget(per_key=3 * WINDOW, total=100 * WINDOW)
    dropped: list[str] = []
    stuck = asyncio.Event()

    async def send(_frame: bytes) -> None:
        await stuck.wait()

    def outbox(name: str, address: str) -> Outbox:
        unread = Unread(budget, address)
        return Outbox(send, 50 * WINDOW, lambda: dropped.append(name), unread)

    first, second, other = outbox("1", "a"), outbox("2", "a"), outbox("3", "b")
    for item in (first, second, other):
        item.put(b"x" * WINDOW)
    assert budget.used == 0, "a little is not counted"
    for item in (first, other):
        item.put(b"x" * WINDOW)
    assert budget.used == 4 * WINDOW
    second.put(b"x" * WINDOW)
    assert (dropped, second.closed) == (["2"], True)
    first.close()
    assert budget.used == 2 * WINDOW
    stuck.set()
    await other.flushed()
    assert budget.used == 0
