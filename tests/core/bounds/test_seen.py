"""seen.py: which ids were seen of late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.bounds.seen import SeenIds


@given(st.integers(1, 6), st.lists(st.integers(0, 30).map(str)))
def test_it_remembers_at_least_what_it_promises(capacity: int, identifiers: list[str]) -> None:
    """The last `capacity` new ids are known, twice as many at most, and none is invented."""
    seen = SeenIds(capacity)
    added: list[str] = []
    for identifier in identifiers:
        known = identifier in seen
        assert seen.add(identifier) is not known
        if not known:
            added.append(identifier)
        assert all(recent in seen for recent in added[-capacity:])
        assert sum(str(number) in seen for number in range(31)) <= 2 * capacity
        assert identifier in seen


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_memory_of_nothing_is_refused(capacity: int) -> None:
    """A capacity below one would let every double through."""
    with pytest.raises(ValueError, match="at least 1"):
        SeenIds(capacity)


def test_an_old_id_is_forgotten() -> None:
    """Memory is bounded: after twice the capacity of new ids the first one is new again."""
    seen = SeenIds(2)
    assert [seen.add(identifier) for identifier in "aabcdea"] == [
        True,
        False,
        True,
        True,
        True,
        True,
        True,
    ]
