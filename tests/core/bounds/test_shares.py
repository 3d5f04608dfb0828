"""How much of something each of many holds."""

import pytest

from bunker_core.bounds.shares import Shares


def test_nobody_holds_more_than_the_bound() -> None:
    """What would be too much is not taken at all, and another key has its own share."""
    shares: Shares[str] = Shares()
    assert shares.take("a", 6, 10)
    assert not shares.take("a", 5, 10)
    assert shares.take("a", 4, 10)
    assert shares.take("b", 10, 10)
    assert not shares.take("c", 11, 10)
    assert (shares.total(), len(shares)) == (20, 2)


def test_what_is_given_back_is_free_again() -> None:
    """And a key that holds nothing is forgotten."""
    shares: Shares[str] = Shares()
    assert shares.take("a", 6, 10)
    assert shares.take("a", 4, 10)
    shares.give_back("a", 6)
    assert shares.total() == 4
    assert shares.take("a", 6, 10)
    shares.give_back("a", 10)
    assert (shares.total(), len(shares)) == (0, 0)
    with pytest.raises(KeyError):
        shares.give_back("a", 1)
