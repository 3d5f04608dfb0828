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
    requests_refused: int = 0  # over HTTP: answered with 429
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
    bus_sent: int = 0  # events given to other workers or hosts
    bus_received: int = 0
    bus_malformed: int = 0  # what came was no event, or one that does not hold
    bus_lost: int = 0  # times that another worker, or the bus, was lost


Figures = Callable[[], dict[str, dict[str, float]]]


class MetricsServer:
    """Serves /metrics from a thread of its own."""

    def __init__(self, figures: Figures, host: str, port: int) -> None:
        """Listen at once; raises OSError.

        `figures` gives counters and gauges of each worker by its number, "" for the only one.
        """
        # Imported here: most relays run without it.
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(_Collector(figures))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = self._figures()
        counters = {field.name for field in fields(Counters)}
        names = {name: None for figures in found.values() for name in figures}  # in order
        for name in names:
            words = name.replace("_", " ")
            kind, text = (
                (CounterMetricFamily, f"{words} since the start")
                if name in counters
                else (GaugeMetricFamily, f"{words} now")
            )
            labels = [] if "" in found else ["worker"]
            family = kind(f"bunker_relay_{name}", text, labels=labels)
            for worker, figures in found.items():
                if name in figures:
                    family.add_metric([worker] if worker else [], figures[name])
            yield family

    def describe(self) -> Iterator[Any]:
        """Say nothing before the first question: nobody is there yet to answer it."""
        return iter(())
