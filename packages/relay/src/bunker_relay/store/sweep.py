"""What the store forgets by itself: events that have expired or are too old."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from bunker_relay.logs import log
from bunker_relay.store.write import forget_old, too_many_old

_SUSPICIOUS: Final = 1_000  # events that the end of their time may take at once, whatever there is
_NEAR: Final = 3_600  # seconds since when an end is no surprise: the relay may have been off


@dataclass(frozen=True, slots=True)
class _Sweep:
    """What is to be deleted, however often others have to write before it is."""

    now: int
    steady: float
    keep_days: int
    since: int | None  # what was old by then stays


class Sweeper:
    """Deletes a little at a time, in the writer's thread."""

    def __init__(self, engine: Engine, steady: float) -> None:
        """`steady` is a time in seconds that no clock changes, as it is for `go_on`."""
        self._engine = engine
        self._swept_at = steady  # of the latest sweep that left nothing
        self._kept = True  # whether the last sweep deleted what it was to
        self._under_way: _Sweep | None = None

    def go_on(self, now: int, steady: float, keep_days: int, waiting: Callable[[], bool]) -> bool:
        """Delete what is old by `now`, until others are `waiting` to write; tell whether they are.

        What an earlier sweep would have taken, if the clock was right then, and is over half of
        all, stays until the owner has looked. That is found out once a sweep, in which nothing is
        deleted that was not old at its beginning.
        """
        sweep, self._under_way = self._under_way, None
        try:
            if sweep is None or sweep.keep_days != keep_days:
                sweep = self._begin(now, steady, keep_days)
            while True:
                with self._engine.begin() as connection:
                    # The clock may have been set right meanwhile.
                    more = forget_old(connection, min(now, sweep.now), keep_days, sweep.since)
                if not more:
                    self._swept_at = sweep.steady
                    return False
                if waiting():
                    self._under_way = sweep
                    return True
        except SQLAlchemyError:
            return False  # locked or full: the next round tries again

    def _begin(self, now: int, steady: float, keep_days: int) -> _Sweep:
        near = now - int(steady - self._swept_at) - _NEAR
        with self._engine.connect() as connection:
            count = too_many_old(connection, near, keep_days, _SUSPICIOUS)
        if count and self._kept:
            log.error(
                "more than half of all events had expired or were too old an hour ago already:"
                " they are not deleted; is the clock right? If so, run `bunker relay vacuum`",
                events=count,
            )
        self._kept = not count
        return _Sweep(now, steady, keep_days, near if count else None)
