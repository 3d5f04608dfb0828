"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from bunker_core.bounds.rate import KEYS, Buckets, FixedRate, TokenBucket


@given(
    st.floats(0.1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 2), max_size=60),
)
def test_never_more_than_the_rate_allows(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    """From its first use on, a bucket gives `burst` tokens and `per_second` more a second."""
    bucket = TokenBucket(per_second, burst)
    now, taken = 1_000.0, 0
    for pause in pauses:
        now += pause
        could = bucket.holds(now)
        assert bucket.take(now) is could  # looking takes nothing
        taken += could
        assert taken <= burst + (now - 1_000.0) * per_second + 1e-6


def test_a_bucket_is_full_then_refills() -> None:
    """`burst` at once, then `per_second`, and never more than `burst`."""
    buckets = Buckets(FixedRate(per_second=2, burst=5))
    assert [buckets.take("a", 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert buckets.take("b", 100.0)  # each key has its own
    assert not buckets.take("a", 100.4)
    assert buckets.take("a", 100.5)
    assert not buckets.take("a", 100.5)
    assert [buckets.take("a", 1_000.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    """The wall clock may be set; a bucket then waits, and does not go into debt."""
    buckets = Buckets(FixedRate(per_second=1, burst=2))
    assert buckets.take("a", 1_000.0)
    assert buckets.take("a", 10.0)
    assert not buckets.take("a", 10.0)
    assert buckets.take("a", 11.0)


def test_what_is_given_back_was_not_taken() -> None:
    """A token that is given back can be taken again, and never makes more than `burst`."""
    buckets = Buckets(FixedRate(per_second=1, burst=2))
    for _ in range(5):
        assert buckets.take("a", 10.0)
        buckets.give_back("a")
    assert [buckets.take("a", 10.0) for _ in range(3)] == [True, True, False]
    bucket = TokenBucket(per_second=1, burst=9)
    assert [bucket.take(10.0) for _ in range(5)] == [True] * 5
    assert bucket.give_back()
    assert [bucket.take(10.0) for _ in range(6)] == [True] * 5 + [False]


def test_buckets_are_bounded() -> None:
    """A million addresses do not fill the memory."""
    buckets = Buckets(FixedRate(per_second=1, burst=1))
    for number in range(200_000):
        buckets.take(str(number), 0.0)
    assert KEYS <= len(buckets) <= 2 * KEYS


def test_an_unused_key_is_looked_at_for_nothing() -> None:
    """Who only asks whether a stranger may try remembers no stranger."""
    buckets = Buckets(FixedRate(per_second=1, burst=1))
    assert buckets.holds("a", 0.0)
    assert len(buckets) == 0
    assert buckets.take("a", 0.0)
    assert not buckets.holds("a", 0.0)
    assert buckets.holds("a", 1.0)


def test_a_key_in_use_is_not_forgotten() -> None:
    """Whoever comes by with many other keys does not fill the bucket of one that is in use."""
    buckets = Buckets(FixedRate(per_second=1e-9, burst=1), keys=10)
    assert buckets.take("mine", 0.0)
    for number in range(100):
        buckets.take(str(number), 0.0)
        assert not buckets.take("mine", 0.0)


def test_a_new_rate_keeps_what_was_taken() -> None:
    """A reload of the settings is no way to fill a bucket, and a smaller one holds less."""
    buckets = Buckets(FixedRate(per_second=1, burst=4))
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True] * 4
    assert buckets.take("b", 0.0)
    buckets.configure(FixedRate(per_second=2, burst=2))
    assert not buckets.take("a", 0.0)
    assert [buckets.take("a", 0.5) for _ in range(2)] == [True, False]
    assert [buckets.take("b", 0.5) for _ in range(3)] == [True, True, False]
    assert [buckets.take("new", 0.5) for _ in range(3)] == [True, True, False]
