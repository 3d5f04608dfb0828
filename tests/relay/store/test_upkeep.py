"""What keeps a database in bounds: its log, its copy during a vacuum, and what it forgets."""

import asyncio
import queue
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.logs import log
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import Database, open_engine
from bunker_relay.store.outcome import StoreError
from bunker_relay.store.query import select_events
from bunker_relay.store.store import FILE, Store
from bunker_relay.store.tools.transfer import export_events, vacuum
from bunker_relay.store.write import forget_old, save_all, too_many_old
from relay.store._saving import save
from support.wire import PATIENCE, Peer, Start, note

_MIB = 2**20
_DAY = 86_400
_NOW = 1_700_000_000


def _event(
    number: int, *, kind: int = 1, at: int = 0, content: str = "", expires: int | None = None
) -> Event:
    tags = () if expires is None else (("expiration", str(expires)),)
    return Event(f"{number:064x}", f"{number:064x}", at, kind, tags, content, "d" * 128)


def _fill(database: Database, *events: Event) -> None:
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
        save_all(connection, events)
    engine.dispose()


def test_an_export_holds_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody reads it, events are replaced: the log stays within its bound."""
    monkeypatch.setattr("bunker_relay.store.database.engine._LOG_BYTES", 2 * _MIB)
    database = tmp_path / FILE
    _fill(database, *(_event(number, at=number // 3) for number in range(250)))
    _, lines = export_events(database)
    exported = [next(lines)]
    engine = open_engine(database, writes=True)
    for version in range(40):
        with engine.begin() as connection:
            follows = _event(999, kind=3, at=10_000 + version, content="x" * _MIB)
            save_all(connection, [follows])
    # An export that held a snapshot would keep all of it: 40 MB and more.
    assert (tmp_path / f"{FILE}-wal").stat().st_size < 24 * _MIB
    engine.dispose()
    exported += lines
    assert len(exported) == 251
    assert exported == sorted(exported, key=lambda line: (line.count(b"x"), exported.index(line)))


def test_an_export_is_whole_and_in_order(database: Database) -> None:
    """By date and id, however many share a second, on both databases."""
    events = [_event(number * 7919 % 1_000, at=number // 400) for number in range(1_000)]
    _fill(database, *events)
    total, lines = export_events(database)
    assert total == 1_000
    expected = sorted(events, key=lambda event: (event.created_at, event.id))
    assert list(lines) == [event.to_json() for event in expected]


def _peaks(database: Path) -> tuple[int, int]:
    """Export and vacuum in a process of its own; return the most MiB that each held."""
    program = f"""
import pathlib, re, time
from bunker_relay.store.tools.transfer import export_events, vacuum
def peak():
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", text)[1]) // 1024
database = pathlib.Path({str(database)!r})
total, lines = export_events(database)
assert sum(1 for _ in lines) == total
exporting = peak()
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
heard = []
before, after = vacuum(database, int(time.time()), 0, heard.append)
assert heard[-1] == 1.0, heard
assert min(before, after) > 0.9 * total * 250_000
print(exporting, peak())
"""
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    exporting, vacuuming = map(int, result.stdout.split())
    assert [path.name for path in database.parent.iterdir()] == [FILE]
    return exporting, vacuuming


def test_an_export_and_a_vacuum_need_little_memory(tmp_path: Path) -> None:
    """Less than 120 MiB, and no more for 75 MB than for 25; the copy is in the data folder."""
    peaks = []
    for count in (100, 300):
        database = tmp_path / str(count) / FILE
        database.parent.mkdir()
        for start in range(0, count, 50):
            events = (_event(start + n, content=f"{start + n:05}" * 50_000) for n in range(50))
            _fill(database, *events)
        peaks.append(_peaks(database))
    print("MiB to export and to vacuum, 25 MB and 75 MB:", *peaks)
    for small, large in zip(*peaks, strict=True):
        assert large < small + 20
        assert large < 120


def test_a_vacuum_looks_at_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for the copy nothing is written, and the text says how much."""
    database = tmp_path / FILE
    _fill(database, *(_event(number, content="x" * 100_000) for number in range(40)))

    class Full:
        free = 1_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(StoreError, match=r"8 MiB of free space are needed in .* and 0 are there"):
        vacuum(database, 1, 0)


def test_what_has_versions_is_kept_however_old(database: Database) -> None:
    """A profile, a follow list, an article: written seldom, and the only one there is."""
    kinds = (0, 1, 3, 7, 10_002, 30_023)
    _fill(database, *(_event(kind, kind=kind) for kind in kinds))
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        assert not forget_old(connection, 100 * _DAY, 90)
        found = select_events(connection, [Filter()], 1, default=9, most=9)
    engine.dispose()
    assert {int(item.id, 16) for item in found} == {0, 3, 10_002, 30_023}


@pytest.mark.parametrize(
    ("keep_days", "since", "gone"),
    [
        (0, None, {1, 2, 3}),
        (0, _NOW - 2, {2, 3}),
        (0, _NOW, set()),
        (1, None, {1, 2, 3, 5}),
        (1, _NOW - 1, {3, 5}),
        (1, _NOW - 2, {2, 3, 5}),
        (2, None, {1, 2, 3}),
    ],
)
def test_what_has_ended_is_forgotten_in_its_second(
    tmp_path: Path, keep_days: int, since: int | None, gone: set[int]
) -> None:
    """What expires now has expired; what is kept for a day is kept for all of it.

    With `since` it is what has ended after that: a sweep looks at nothing twice.
    """
    database = tmp_path / FILE
    _fill(
        database,
        _event(1, at=_NOW, expires=_NOW - 2),
        _event(2, at=_NOW, expires=_NOW - 1),
        _event(3, at=_NOW, expires=_NOW),
        _event(4, at=_NOW, expires=_NOW + 1),
        _event(5, at=_NOW - _DAY - 1),
        _event(6, at=_NOW - _DAY),
        _event(7, at=_NOW),
    )
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        old = too_many_old(connection, _NOW, keep_days, 0)
        assert not forget_old(connection, _NOW, keep_days, since)
        left = connection.execute(text("SELECT id FROM events")).scalars().all()
    engine.dispose()
    assert {1, 2, 3, 4, 5, 6, 7} - {int.from_bytes(item) for item in left} == gone
    assert old == (4 if keep_days == 1 else 0), "over half of all is too much, and no less"


def test_half_of_all_is_not_too_many(tmp_path: Path) -> None:
    """One more would be."""
    database = tmp_path / FILE
    _fill(database, *(_event(number, at=_NOW, expires=_NOW + number % 2) for number in range(4)))
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        assert too_many_old(connection, _NOW, 0, 0) == 0
        assert too_many_old(connection, _NOW + 1, 0, 4) == 0
        assert too_many_old(connection, _NOW + 1, 0, 3) == 4
    engine.dispose()


def test_more_than_a_sweep_takes_is_left_for_the_next(tmp_path: Path) -> None:
    """It says that there may be more, until there is none."""
    database = tmp_path / FILE
    _fill(database, *(_event(number, expires=_NOW) for number in range(1_001)))
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        assert too_many_old(connection, _NOW, 0, 0) == 1_001
        assert [forget_old(connection, _NOW, 0) for _ in range(2)] == [True, False]
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 0
    engine.dispose()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the relay logs as an error; its sweeps follow each other at once."""
    said: list[str] = []
    monkeypatch.setattr(log, "error", lambda fact, **_: said.append(fact))
    monkeypatch.setattr("bunker_relay.store.store._SWEEP_SECONDS", 0.01)
    monkeypatch.setattr("bunker_relay.store.store._GO_ON_SECONDS", 0.0)
    return said


async def test_a_wrong_clock_deletes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """A sweep that would take more than half stops and says so once; a small one goes on."""
    now = int(time.time())
    _fill(database, *(_event(number, at=now - number) for number in range(1_500)))
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        assert too_many_old(connection, now, 1, 1_000) == 0
        assert too_many_old(connection, now + 366 * _DAY, 90, 1_000) == 1_500
        assert too_many_old(connection, now + 366 * _DAY, 90, 1_500) == 0, "few are never too many"
        assert too_many_old(connection, now + _DAY - 1_100, 1, 300) == 0, "a quarter"
    engine.dispose()
    monkeypatch.setattr(time, "time", lambda: float(now + 366 * _DAY))
    store = Store(database, keep_days=90)
    for _ in range(3):
        await save(store, _event(9_999))
    assert await store.count([Filter()], 1) == 1_501
    await store.close()
    assert len(said) == 1
    assert "is the clock right" in said[0]


class Busy(queue.SimpleQueue[Any]):
    """Jobs that never come to an end, as far as the writer can see."""

    def empty(self) -> bool:
        """Say that somebody waits."""
        return False


async def _left(store: Store, expected: int) -> None:
    """Return when so many events are left."""
    async with asyncio.timeout(PATIENCE):
        while await store.count([Filter()], 1) != expected:
            pass


@pytest.mark.parametrize("keep_days", [0, 1])
async def test_what_ends_at_one_second_is_no_surprise(
    database: Database, monkeypatch: pytest.MonkeyPatch, said: list[str], keep_days: int
) -> None:
    """All there is, 1,500 events, ends at one second: within an hour it is swept, in silence.

    It stayed, and every query looked at each event's expiration from then on. Nor does it stay
    where there is always somebody who writes.
    """
    now = int(time.time())
    at, expires = (now - _DAY, None) if keep_days else (now, now)
    _fill(database, *(_event(number, at=at, expires=expires) for number in range(1_500)))
    monkeypatch.setattr(time, "time", lambda: now + 3_500.0)
    monkeypatch.setattr(queue, "SimpleQueue", Busy)
    monkeypatch.setattr("bunker_relay.store.store._SWEEP_SECONDS", 3_600.0)
    store = Store(database, keep_days=keep_days)
    async with asyncio.timeout(PATIENCE):
        while await store.count([Filter()], 1) > 1:
            await save(store, _event(9_999, at=at, expires=expires))
    await store.close()
    assert said == []


async def test_beside_what_is_a_surprise_the_rest_is_swept(
    database: Database, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """By a clock that is a year ahead, what ends in that hour goes; what ended before stays."""
    now = int(time.time())
    year = 366 * _DAY
    _fill(
        database,
        *(_event(number, expires=now + number) for number in range(1_500)),
        *(_event(number, expires=now + year - 60) for number in range(2_000, 2_007)),
    )
    monkeypatch.setattr(time, "time", lambda: float(now + year))
    store = Store(database)
    await _left(store, 1_500)
    for number in range(2):  # each after another sweep
        await save(store, _event(number))
    await _left(store, 1_500)
    await store.close()
    assert len(said) == 1


async def test_what_is_too_old_is_refused_on_arrival(start: Start) -> None:
    """Instead of an OK for what the next sweep deletes; what has versions is taken."""
    relay = start(config="store.keep_days = 30")
    key = SecretKey.generate()
    old = int(time.time()) - 31 * _DAY
    async with Peer(relay.url) as peer:
        assert await peer.publish(note(key, created_at=old)) == (
            False,
            "invalid: too old, this relay keeps events for 30 days",
        )
        assert (await peer.publish(note(key, kind=0, created_at=old)))[0]
        assert (await peer.publish(note(key, created_at=old + 2 * _DAY)))[0]
