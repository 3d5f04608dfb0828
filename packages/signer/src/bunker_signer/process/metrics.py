"""What Prometheus is told. Labels are from closed sets: a stranger can't make new ones.

Counting is an addition to a plain number; the exposition is made, and Prometheus's library loaded,
when somebody asks: two megabytes that most signers never need.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from bunker_core.nips.nip46 import Method

_METHODS: Final = frozenset(method.value for method in Method)
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0)


class Metrics:
    """The numbers of one signer."""

    def __init__(self) -> None:
        self._requests: Final[Counter[tuple[str, str]]] = Counter()  # by method and outcome
        self._dropped: Final[Counter[str]] = Counter()
        self._replies: Final[Counter[str]] = Counter()
        self._took: Final = [0] * (len(_BUCKETS) + 1)  # the last: longer than all
        self._seconds = 0.0

    def count(self, method: str, error: str | None) -> None:
        """Count an answer; `error` is its text."""
        outcome = "ok" if error is None else error.partition(":")[0]
        self._requests[method if method in _METHODS else "other", outcome] += 1

    def drop(self, reason: str) -> None:
        """Count an event that gets no answer."""
        self._dropped[reason] += 1

    def took(self, seconds: float) -> None:
        """Record how long a request took."""
        seconds = max(0.0, seconds)
        self._took[bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def sent(self, *, delivered: bool) -> None:
        """Count a reply that was sent."""
        self._replies["delivered" if delivered else "undelivered"] += 1

    def text(self, *, waiting: int, relays: int, unlocked: Mapping[str, bool]) -> bytes:
        """Return all numbers in Prometheus' format, and how the signer stands.

        `waiting` requests wait for a person, `relays` are connected; `unlocked` tells of each key.
        """
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self._families(waiting, relays, unlocked)))
        return generate_latest(registry)

    def _families(self, waiting: int, relays: int, unlocked: Mapping[str, bool]) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )
        from prometheus_client.utils import floatToGoString

        requests = CounterMetricFamily(
            "bunker_signer_requests", "Requests answered", labels=("method", "outcome")
        )
        # Copies: it is made in a thread, while others are counted.
        for labels, number in tuple(self._requests.items()):
            requests.add_metric(labels, number)
        yield requests
        for name, label, text, numbers in (
            ("dropped", "reason", "Events left unanswered", self._dropped),
            ("replies", "result", "Replies sent", self._replies),
        ):
            family = CounterMetricFamily(f"bunker_signer_{name}", text, labels=(label,))
            for value, number in tuple(numbers.items()):
                family.add_metric((value,), number)
            yield family
        bounds = map(floatToGoString, (*_BUCKETS, float("inf")))
        yield HistogramMetricFamily(
            "bunker_signer_request_seconds",
            "Time from a request that wants the key to its answer, persons included",
            buckets=list(zip(bounds, accumulate(self._took), strict=True)),
            sum_value=self._seconds,
        )
        yield GaugeMetricFamily("bunker_signer_waiting", "Requests that wait for a person", waiting)
        yield GaugeMetricFamily("bunker_signer_relays", "Relays that are connected", relays)
        keys = GaugeMetricFamily(
            "bunker_signer_key_unlocked", "Whether the key is unlocked", labels=("key",)
        )
        for name, is_unlocked in unlocked.items():
            keys.add_metric((name,), is_unlocked)
        yield keys


class _Collected:
    """What a registry asks for its families."""

    def __init__(self, families: Iterator[Any]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        return self._families

    def describe(self) -> Iterator[Any]:
        """Say nothing when it is registered: the families are made once."""
        return iter(())
