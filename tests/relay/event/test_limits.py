"""Whose rate limits a connection counts for."""

import pytest

from bunker_relay.event.limits import Addresses, Budget


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "key"),
    [
        ("192.0.2.1", "", (), "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", (), "192.0.2.1"),  # nobody asked it
        ("10.0.0.1", "198.51.100.7", ("10.0.0.0/8",), "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", ("10.0.0.0/8",), "198.51.100.7"),  # forged left
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", ("10.0.0.0/8",), "198.51.100.7"),  # two proxies
        ("10.0.0.1", "junk", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, junk", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "", ("10.0.0.0/8",), "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "", (), "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", (), "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", (), "192.0.2.1"),
        ("fe80::1%eth0", "", (), "fe80::/64"),
        ("::1", "2001:db8:9:9::1", ("::1/128",), "2001:db8:9:9::/64"),
        ("", "198.51.100.7", ("0.0.0.0/0",), "unknown"),
    ],
)
def test_whose_address_counts(
    peer: str, forwarded: str, trusted: tuple[str, ...], key: str
) -> None:
    """The peer's, or what trusted proxies say from the right; IPv6 by its /64."""
    headers = [(b"x-forwarded-for", part.encode()) for part in forwarded.split(";") if part]
    scope = {"client": (peer, 1), "headers": headers}
    assert Addresses(trusted).key(scope) == key


def test_many_headers_are_one_list() -> None:
    """Several X-Forwarded-For headers are read as one, in order."""
    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"198.51.100.7")]
    scope = {"client": ("10.0.0.1", 1), "headers": headers}
    assert Addresses(("10.0.0.1/32",)).key(scope) == "198.51.100.7"


def test_a_budget_is_bounded_by_key_and_in_all() -> None:
    """What one key has taken is missing to it alone, and what all have taken to everybody."""
    budget = Budget(per_key=50_000, total=120_000)
    assert budget.take("a", 40_000)
    assert not budget.take("a", 10_001)
    assert budget.take("b", 50_000)
    assert not budget.take("c", 9_000), "the last quarter is for small pieces"
    assert budget.take("c", 8_000)
    assert budget.used == 98_000
    budget.give_back("a", 40_000)
    assert budget.take("c", 9_000)
    for key, size in (("b", 50_000), ("c", 17_000)):
        budget.give_back(key, size)
    assert budget.used == 0
    with pytest.raises(KeyError):
        budget.give_back("a", 1)
