"""What Prometheus is told. Labels are from closed sets: a stranger can't make new ones."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bunker_core.nips.nip46 import Method

_METHODS: Final = frozenset(method.value for method in Method)
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 120)


class Metrics:
    """The numbers of one signer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bunker_signer_requests",
            "Requests answered",
            ("method", "outcome"),
            registry=self.registry,
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._dropped = Counter(
            "bunker_signer_dropped", "Events left unanswered", ("reason",), registry=self.registry
        )
        self._seconds = Histogram(
            "bunker_signer_request_seconds",
            "Time from a request that wants the key to its answer, persons included",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._replies = Counter(
            "bunker_signer_replies", "Replies sent", ("result",), registry=self.registry
        )
        self.waiting = Gauge(
            "bunker_signer_waiting", "Requests that wait for a person", registry=self.registry
        )
        self.relays = Gauge(
            "bunker_signer_relays", "Relays that are connected", registry=self.registry
        )
        self.key_state = Gauge(
            "bunker_signer_key_unlocked",
            "Whether the key is unlocked",
            ("key",),
            registry=self.registry,
        )

    def count(self, method: str, error: str | None) -> None:
        """Count an answer; `error` is its text."""
        outcome = "ok" if error is None else error.partition(":")[0]
        labels = method if method in _METHODS else "other", outcome
        counter = self._counters.get(labels)
        if counter is None:  # looking one up by its labels costs more than counting
            counter = self._counters[labels] = self._requests.labels(*labels)
        counter.inc()

    def drop(self, reason: str) -> None:
        """Count an event that gets no answer."""
        self._dropped.labels(reason).inc()

    def took(self, seconds: float) -> None:
        """Record how long a request took."""
        self._seconds.observe(max(0.0, seconds))

    def sent(self, *, delivered: bool) -> None:
        """Count a reply that was sent."""
        self._replies.labels("delivered" if delivered else "undelivered").inc()

    def text(self) -> bytes:
        """Return all numbers in Prometheus' format."""
        return generate_latest(self.registry)
