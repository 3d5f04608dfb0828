"""pool/backoff.py: the pauses between two tries."""

from bunker_core.pool.backoff import Backoff


def test_delays_double_up_to_the_longest_and_start_over() -> None:
    """Without jitter a delay is twice the one before, never above the longest."""
    backoff = Backoff(first=1, longest=6, uniform=lambda _, high: high)
    assert [backoff.delay() for _ in range(5)] == [1, 2, 4, 6, 6]
    backoff.reset()
    assert backoff.delay() == 1


def test_jitter_shortens_a_delay_by_half_at_most() -> None:
    """A thousand clients of one relay come back spread over half of the delay."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    backoff = Backoff(first=2, longest=100, uniform=uniform)
    assert backoff.delay() == 1
    assert backoff.delay() == 2
    assert asked == [(1, 2), (2, 4)]


def test_a_connection_that_worked_for_a_moment_eases_the_next_delay() -> None:
    """After some failures and a short success the next delay is bounded, and doubles again."""
    backoff = Backoff(first=1, longest=30, uniform=lambda _, high: high)
    backoff.ease(2)
    assert backoff.delay() == 1  # never lengthened
    assert [backoff.delay() for _ in range(3)] == [2, 4, 8]
    backoff.ease(2)
    assert [backoff.delay() for _ in range(2)] == [2, 4]


def test_a_relay_that_worked_is_tried_often_for_an_hour() -> None:
    """Away for a minute or an hour less a second: two seconds at most; then the delays grow."""
    backoff = Backoff(first=1, longest=30, uniform=lambda _, high: high)
    assert [backoff.delay(away) for away in (0, 1, 3, 60, 3599)] == [1, 2, 2, 2, 2]
    assert [backoff.delay(3600) for _ in range(5)] == [4, 8, 16, 30, 30]
