"""What a measure gives: samples, with what the relay and the load generator used meanwhile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.machine import Usage, usage
from bench.relay.relays import Target


@dataclass(slots=True)
class Sample:
    """One figure of one run. `relay_cpu` and `generator_cpu` are shares of a core."""

    measure: str
    relay: str
    value: float
    unit: str
    run: int = 0
    rss: float = 0.0  # MiB, of the relay
    relay_cpu: float = 0.0
    generator_cpu: float = 0.0
    limit: float = 0.0  # what the machine would give, in the same unit
    values: tuple[float, ...] = ()  # of a latency: every one, for the percentiles of all runs


@dataclass(slots=True)
class Reading:
    """What was used between the two ends of `metered`."""

    seconds: float = 0.0
    rss: float = 0.0
    relay_cpu: float = 0.0
    generator_cpu: float = 0.0

    def sample(self, measure: str, target: Target, value: float, unit: str) -> Sample:
        """Return a figure that was taken in this time."""
        return Sample(
            measure,
            target.name,
            value,
            unit,
            rss=self.rss,
            relay_cpu=self.relay_cpu,
            generator_cpu=self.generator_cpu,
        )


@contextmanager
def metered(target: Target) -> Iterator[Reading]:
    """Fill the reading when the block ends."""
    reading = Reading()
    relay = usage(target.pid) if target.pid else None
    before = usage(os.getpid(), family=False)
    yield reading
    after = usage(os.getpid(), family=False)
    reading.seconds = after.at - before.at
    reading.generator_cpu = _share(before, after)
    if relay is not None:
        end = usage(target.pid)
        reading.rss = end.rss / 2**20
        reading.relay_cpu = _share(relay, end)


def _share(before: Usage, after: Usage) -> float:
    return (after.cpu - before.cpu) / max(after.at - before.at, 1e-9)
