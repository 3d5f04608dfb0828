"""What the relay counts, and Prometheus's page of it on a port of its own.

Counting is an addition to a plain integer; the exposition is made when somebody asks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True)
class Counters:
    """Since the start of the process."""

    connections: int = 0  # accepted
    connections_refused: int = 0
    messages: int = 0
    events_accepted: int = 0
    events_refused: int = 0
    events_muted: int = 0  # ephemeral, and nobody was listening
    events_delivered: int = 0
    events_held: int = 0  # in the grace buffer
    queries: int = 0
    queries_failed: int = 0
    slow_clients_closed: int = 0
    offenders_closed: int = 0
    store_errors: int = 0


class MetricsServer:
    """Serves /metrics from a thread; `gauges` gives name and value of what goes up and down."""

    def __init__(
        self, counters: Counters, gauges: Callable[[], dict[str, float]], host: str, port: int
    ) -> None:
        """Listen at once; raises OSError."""
        # Imported here: most relays run without it.
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(_Collector(counters, gauges))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, counters: Counters, gauges: Callable[[], dict[str, float]]) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for field in fields(Counters):
            name = f"bunker_relay_{field.name}"
            text = f"{field.name.replace('_', ' ')} since the start"
            yield CounterMetricFamily(name, text, value=getattr(self._counters, field.name))
        for key, value in self._gauges().items():
            yield GaugeMetricFamily(f"bunker_relay_{key}", f"{key.replace('_', ' ')} now", value)
