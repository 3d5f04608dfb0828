"""The cork joins what one turn of the loop brings, and drops a client that does not read."""

import asyncio

import pytest

from bunker_relay.client.cork import Cork, Corks, header
from bunker_relay.client.outbox import WINDOW, Unread
from bunker_relay.event.limits import Budget

MOST = 1_000


class Transport(asyncio.Transport):
    """A socket whose kernel takes nothing more once `stuck`."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.waiting = 0
        self.stuck = False
        self.limits: tuple[int | None, int | None] = (None, None)

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.writes.append(data)
        if self.stuck:
            self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)


class Corked:
    """A cork, its transport, and how often it ran over."""

    def __init__(self, corks: Corks | None = None) -> None:
        self.transport = Transport()
        self.overflows = 0
        self.cork = Cork(
            corks or Corks(),
            self.transport,
            MOST,
            self._overflow,
            Unread(Budget(2**30, 2**30), "a"),
        )

    def _overflow(self) -> None:
        self.overflows += 1


async def turn() -> None:
    """Let one turn of the loop pass."""
    await asyncio.sleep(0)


async def test_all_frames_of_a_turn_are_one_write() -> None:
    """In order, each with its header; the next turn's are another write."""
    one = Corked()
    one.cork.put(b"a")
    one.cork.put(b"b" * 126)
    assert one.transport.writes == []
    await turn()
    assert one.transport.writes == [b"\x81\x01a\x81\x7e\x00\x7e" + b"b" * 126]
    one.cork.put(b"c")
    await turn()
    assert one.transport.writes[1:] == [b"\x81\x01c"]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_header_is_the_one_of_the_rfc(length: int, expected: bytes) -> None:
    """RFC 6455, section 5.2: the shortest form that holds the length."""
    assert header(length) == expected


async def test_each_client_gets_its_own_write() -> None:
    """Corks of one turn do not mix."""
    corks = Corks()
    one, other = Corked(corks), Corked(corks)
    one.cork.put(b"1")
    other.cork.put(b"2")
    one.cork.put(b"3")
    await turn()
    assert one.transport.writes == [b"\x81\x011\x81\x013"]
    assert other.transport.writes == [b"\x81\x012"]


async def test_a_client_that_does_not_read_is_dropped_once_and_alone() -> None:
    """What the kernel does not take counts, with what is corked."""
    corks = Corks()
    deaf, other = Corked(corks), Corked(corks)
    deaf.transport.stuck = True
    for _ in range(8):
        deaf.cork.put(b"x" * 200)
        other.cork.put(b"x" * 200)
        await turn()
    assert (deaf.overflows, deaf.cork.closed) == (1, True)
    assert (other.overflows, other.cork.closed) == (0, False)
    assert len(other.transport.writes) == 8


async def test_a_turn_may_bring_no_more_than_the_room() -> None:
    """The cap holds within a turn too, before anything was written."""
    one = Corked()
    for _ in range(6):
        one.cork.put(b"x" * 200)
    assert one.overflows == 1
    await turn()
    assert one.transport.writes == []


async def test_what_subscriptions_hold_back_counts() -> None:
    """Reserved bytes take room, and give it back."""
    one = Corked()
    one.cork.reserve(900)
    one.cork.reserve(-900)
    one.cork.put(b"x" * 200)
    assert one.overflows == 0
    one.cork.reserve(900)
    assert one.overflows == 1


async def test_drained_waits_for_half_of_the_room() -> None:
    """A sender of stored events goes on when the client has read."""
    one = Corked()
    one.transport.stuck = True
    one.cork.put(b"x" * 600)
    await turn()
    assert one.cork.crowded
    waiter = asyncio.create_task(one.cork.drained())
    await turn()
    assert not waiter.done()
    one.transport.waiting = 0
    one.cork.wake()
    await waiter
    assert one.transport.limits == (MOST // 2, MOST // 8)


async def test_taken_waits_until_nearly_all_has_left() -> None:
    """The next page of an answer is read when the client has the one before."""
    corks = Corks()
    transport = Transport()
    cork = Cork(corks, transport, 8 * WINDOW, lambda: None, Unread(Budget(2**30, 2**30), "a"))
    transport.stuck = True
    cork.put(b"x" * (WINDOW + 1))
    waiter = asyncio.create_task(cork.taken())
    await turn()
    await turn()
    assert not waiter.done()
    assert not cork.crowded
    transport.waiting = WINDOW // 4
    cork.wake()
    await waiter
    assert transport.limits == (WINDOW, WINDOW // 4)
    transport.waiting = WINDOW + 1
    waiter = asyncio.create_task(cork.taken())
    await turn()
    cork.close()
    await waiter


async def test_nothing_leaves_a_closed_cork() -> None:
    """Neither what was corked nor what comes later."""
    one = Corked()
    one.cork.put(b"x")
    one.cork.close()
    one.cork.put(b"y")
    await turn()
    assert one.transport.writes == []
    assert one.cork.size == 0


async def test_flushed_does_not_wait_for_the_turn() -> None:
    """A goodbye goes out at once."""
    one = Corked()
    one.cork.put(b"x")
    await one.cork.flushed()
    assert one.transport.writes == [b"\x81\x01x"]


async def test_what_all_corks_hold_is_bounded() -> None:
    """What the kernels do not take counts once it is much, and no more when it is taken."""
    budget = Budget(per_key=3 * WINDOW, total=100 * WINDOW)
    dropped: list[int] = []
    transports = [Transport(), Transport()]
    together = Corks()
    corks = [
        Cork(together, transport, 50 * WINDOW, lambda n=n: dropped.append(n), Unread(budget, "a"))  # type: ignore[misc]
        for n, transport in enumerate(transports)
    ]
    for transport, cork in zip(transports, corks, strict=True):
        transport.stuck = True
        cork.put(b"x" * (WINDOW // 2))
    await turn()
    assert budget.used == 0
    corks[0].put(b"x" * (2 * WINDOW))
    await turn()
    assert 2 * WINDOW < budget.used < 3 * WINDOW
    corks[1].put(b"x" * WINDOW)
    await turn()
    assert dropped == [1]
    transports[0].waiting = WINDOW // 4
    corks[0].wake()
    assert budget.used == 0
    assert not corks[0].closed
