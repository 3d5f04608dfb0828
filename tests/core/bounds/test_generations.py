"""What was put or used of late, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.bounds.generations import Generations


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["put", "use", "get"]), st.integers(0, 30))),
)
def test_it_keeps_what_it_promises(capacity: int, steps: list[tuple[str, int]]) -> None:
    """The last `capacity` keys are there, with their newest value, and twice as many at most."""
    kept: Generations[int] = Generations(capacity)
    latest: list[str] = []  # the last touched key last, each once
    values: dict[str, int] = {}
    for count, (step, number) in enumerate(steps, 1):
        key = str(number)
        if step == "put":
            kept.put(key, count)
            values[key] = count
        there = key in kept
        found = {"put": kept.get, "use": kept.use, "get": kept.get}[step](key)
        assert found == (values[key] if there else None)
        if step == "put" or (step == "use" and found is not None):
            latest = [*(other for other in latest if other != key), key]
        assert all(kept.get(recent) == values[recent] for recent in latest[-capacity:])
        assert len(kept) == len(list(kept.values())) <= 2 * capacity
        assert len(kept) == sum(str(number) in kept for number in range(31))


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_memory_of_nothing_is_refused(capacity: int) -> None:
    """A capacity below one would let every double through."""
    with pytest.raises(ValueError, match="at least 1"):
        Generations(capacity)


def test_an_old_key_is_forgotten() -> None:
    """Memory is bounded: after twice the capacity of new keys the first one is gone."""
    kept: Generations[bool] = Generations(2)
    for key in "abcde":
        kept.put(key, True)
    assert [key in kept for key in "abcde"] == [False, False, True, True, True]
    assert kept.get("a") is None
