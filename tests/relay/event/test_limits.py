"""Token buckets and addresses."""

import pytest

from bunker_relay.config import Rate
from bunker_relay.event.limits import Addresses, Buckets


def test_a_bucket_is_full_then_refills() -> None:
    """`burst` at once, then `per_second`, and never more than `burst`."""
    buckets = Buckets(Rate(per_second=2, burst=5))
    assert [buckets.take("a", 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert buckets.take("b", 100.0)  # each key has its own
    assert not buckets.take("a", 100.4)
    assert buckets.take("a", 100.5)
    assert not buckets.take("a", 100.5)
    assert [buckets.take("a", 1_000.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    """The wall clock may be set; a bucket then waits, and does not go into debt."""
    buckets = Buckets(Rate(per_second=1, burst=2))
    assert buckets.take("a", 1_000.0)
    assert buckets.take("a", 10.0)
    assert not buckets.take("a", 10.0)
    assert buckets.take("a", 11.0)


def test_what_is_given_back_was_not_taken() -> None:
    """A token that is given back can be taken again, and never makes more than `burst`."""
    buckets = Buckets(Rate(per_second=1, burst=2))
    for _ in range(5):
        assert buckets.take("a", 10.0)
        buckets.give_back("a")
    assert [buckets.take("a", 10.0) for _ in range(3)] == [True, True, False]


def test_buckets_are_bounded() -> None:
    """A million addresses do not fill the memory."""
    buckets = Buckets(Rate(per_second=1, burst=1))
    for number in range(200_000):
        buckets.take(str(number), 0.0)
    assert len(buckets._young) + len(buckets._old) <= 100_000


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
