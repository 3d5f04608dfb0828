"""sweep.py: what is old goes a little at a time, and is counted once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_relay.logs import log
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import open_engine
from bunker_relay.store.query import select_events
from bunker_relay.store.sweep import Sweeper
from bunker_relay.store.write import save_all

NOW = 1_700_000_000
_DAY = 86_400


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database of which ten events are deleted in one transaction, and two are suspicious."""
    monkeypatch.setattr("bunker_relay.store.write._SWEEP_ROWS", 10)
    monkeypatch.setattr("bunker_relay.store.sweep._SUSPICIOUS", 2)
    engine = open_engine(Path(":memory:"), writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
    yield engine
    engine.dispose()


def _fill(engine: Engine, *ends: int) -> None:
    """Store an event for each of these times, which are written 90 days before."""
    with engine.begin() as connection:
        save_all(
            connection,
            [
                Event(f"{n:064x}", f"{n:064x}", end - 90 * _DAY, 1, (), "", "d" * 128)
                for n, end in enumerate(ends, 1)
            ],
        )


def _left(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(select_events(connection, [Filter()], NOW, default=99, most=99))


def _waits() -> bool:
    return True


def test_beside_a_writer_what_is_old_is_counted_once(engine: Engine) -> None:
    """Of a backlog that five rounds take; each of them counted all of it anew."""
    _fill(engine, *[NOW - 100 * _DAY] * 45, *[NOW + _DAY] * 50)
    counts: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "count(" in statement.lower():
            counts.append(statement)

    sweeper = Sweeper(engine, 0.0)
    left = []
    for second in range(5):
        under_way = sweeper.go_on(NOW + second, float(second), 90, _waits)
        left.append(_left(engine))
        assert under_way == (second < 4)
    assert left == [85, 75, 65, 55, 50]
    assert len(counts) == 3
    assert not sweeper.go_on(NOW + 60, 60.0, 90, _waits)
    assert len(counts) == 4, "the next sweep looks again: not one too many"


def test_a_clock_that_jumps_in_the_middle_of_a_sweep_takes_nothing_more(engine: Engine) -> None:
    """Forward it would have everything old at once, and nobody looks again before the end."""
    _fill(engine, *[NOW - _DAY] * 25, *[NOW + _DAY] * 30)
    sweeper = Sweeper(engine, 0.0)
    assert sweeper.go_on(NOW, 0.0, 90, _waits)
    while sweeper.go_on(NOW + 366 * _DAY, 1.0, 90, _waits):
        pass
    assert _left(engine) == 30


def test_a_clock_that_is_set_right_in_the_middle_of_a_sweep_keeps_the_rest(engine: Engine) -> None:
    """Of what was old by the wrong time alone."""
    _fill(engine, *[NOW + 60 * _DAY] * 25, *[NOW + 600 * _DAY] * 30)
    sweeper = Sweeper(engine, 0.0)
    assert sweeper.go_on(NOW + 100 * _DAY, 0.0, 90, _waits)
    assert not sweeper.go_on(NOW, 1.0, 90, _waits)
    assert _left(engine) == 45


def test_a_longer_time_to_keep_counts_at_once(engine: Engine) -> None:
    """The owner has changed it while a sweep was under way, which stops there."""
    _fill(engine, *[NOW - _DAY] * 25, *[NOW + _DAY] * 30)
    sweeper = Sweeper(engine, 0.0)
    assert sweeper.go_on(NOW, 0.0, 90, _waits)
    assert not sweeper.go_on(NOW, 1.0, 365, _waits)
    assert _left(engine) == 45


def test_a_shorter_time_to_keep_is_looked_at_anew(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a sweep is under way: what it would take is not what was counted."""
    said: list[str] = []
    monkeypatch.setattr(log, "error", lambda fact, **_: said.append(fact))
    _fill(engine, *[NOW - 300 * _DAY] * 30, *[NOW - 10 * _DAY] * 60)
    sweeper = Sweeper(engine, 0.0)
    assert sweeper.go_on(NOW, 0.0, 365, _waits)
    assert not sweeper.go_on(NOW, 1.0, 90, _waits)
    assert (_left(engine), len(said)) == (80, 1)


def test_what_ended_since_the_last_sweep_is_no_surprise(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many; what ended an hour before that stays, and is said once."""
    said: list[str] = []
    monkeypatch.setattr(log, "error", lambda fact, **_: said.append(fact))
    _fill(engine, *[NOW + 4_000] * 5)
    sweeper = Sweeper(engine, 0.0)
    assert not sweeper.go_on(NOW, 10.0, 90, _waits)
    assert not sweeper.go_on(NOW + 10_000, 2_000.0, 90, _waits)
    assert not sweeper.go_on(NOW + 10_000, 2_000.0, 90, _waits)
    assert (_left(engine), len(said)) == (5, 1)
    assert not sweeper.go_on(NOW + 8_000, 2_100.0, 90, _waits)
    assert _left(engine) == 5, "the hour is counted from the sweep before"
    assert not sweeper.go_on(NOW + 8_000, 3_500.0, 90, _waits)
    assert (_left(engine), len(said)) == (0, 1)
