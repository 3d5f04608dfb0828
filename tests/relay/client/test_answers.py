"""The room for answers: bounded by address and in all, and whoever stalls loses it."""

import asyncio

import pytest

from bunker_relay.client import answers
from bunker_relay.client.answers import Answers
from bunker_relay.store.outcome import StoreError


def _nobody() -> None:
    raise AssertionError("nobody has stalled")


async def test_an_address_has_its_own_bound() -> None:
    """Its next answer waits for one before it; another address does not."""
    room = Answers(per_address=20_000, total=200_000)
    first, second, other = (room.open(name, _nobody) for name in ("a", "a", "b"))
    with first, other:
        await first.make_room(15_000, 1.0)
        await other.make_room(20_000, 1.0)
        assert room.size == 35_000
        waiting = asyncio.create_task(second.make_room(15_000, 30.0))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    with second:
        assert room.size == 15_000
    assert room.size == 0


async def test_a_larger_page_takes_more_room() -> None:
    """Room that is held is counted once."""
    room = Answers(per_address=20_000, total=200_000)
    with room.open("a", _nobody) as answer:
        await answer.make_room(10_000, 1.0)
        await answer.make_room(5_000, 1.0)
        await answer.make_room(20_000, 1.0)
        assert room.size == 20_000


async def test_without_room_in_time_an_answer_fails() -> None:
    """The client is told, and may ask again."""
    room = Answers(per_address=20_000, total=200_000)
    with room.open("a", _nobody) as first, room.open("a", _nobody) as second:
        await first.make_room(20_000, 0.0)
        with pytest.raises(StoreError, match="do not read"):
            await second.make_room(1, 0.0)


async def test_who_takes_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has stalled longest is dropped, and who goes on taking is not."""
    monkeypatch.setattr(answers, "_STALLED", 0.0)
    dropped: list[str] = []
    room = Answers(per_address=20_000, total=200_000)
    stuck = room.open("a", _nobody)
    taking = room.open("a", lambda: dropped.append("taking"))
    elsewhere = room.open("b", lambda: dropped.append("elsewhere"))
    await elsewhere.make_room(10_000, 1.0)
    await stuck.make_room(10_000, 1.0)
    await taking.make_room(10_000, 1.0)

    def drop() -> None:
        dropped.append("stuck")
        room.free(stuck)  # as the end of its connection does

    stuck.drop = drop
    taking.progressed()
    with room.open("a", _nobody) as late:
        await late.make_room(10_000, 30.0)
    assert dropped == ["stuck"]
