"""The store on a real SQLite file."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, inspect, select
from sqlalchemy import event as hooks

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.kinds import Storage, storage
from bunker_relay import migrate
from bunker_relay.engine import open_engine
from bunker_relay.outcome import Outcome, StoreError
from bunker_relay.query import count_events, select_events
from bunker_relay.schema import metadata, tags
from bunker_relay.store import FILE, Store
from bunker_relay.write import save_all

NOW = 1_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A fresh store."""
    store = Store(tmp_path / FILE)
    yield store
    await store.close()


async def _save(store: Store, *events: Event) -> list[Outcome | StoreError]:
    futures = [asyncio.get_running_loop().create_future() for _ in events]
    for event, future in zip(events, futures, strict=True):
        store.save(event, future.set_result)
    return list(await asyncio.gather(*futures))


def _event(number: int, **fields: object) -> Event:
    event = Event(f"{number:064x}", "b" * 64, NOW, 1, (), "", "d" * 128)
    return replace(event, **fields)  # type: ignore[arg-type]


# A small world, so that filters and events meet: few keys, kinds, times and tags.
_KEYS = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])
_VALUES = st.sampled_from(["", "x", "X", "x\x00", "%", "a" * 64, "b" * 64, "☂", "'"])
_NAMES = st.sampled_from(["e", "p", "t", "d", "T", "long", "-", "é"])
_TAGS = st.lists(
    st.one_of(
        st.tuples(_NAMES, _VALUES),
        st.tuples(_NAMES),
        st.tuples(_NAMES, _VALUES, _VALUES),
        st.just(()),
    ),
    max_size=3,
).map(tuple)
_EVENTS = st.builds(
    Event,
    id=st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
    pubkey=_KEYS,
    created_at=st.integers(0, 2),  # few seconds and addresses: ties are to be common
    kind=st.sampled_from([0, 1, 7, 10002, 30000, 40000]),
    tags=_TAGS,
    content=st.just(""),
    sig=st.just("d" * 128),
)
_FILTERS = st.builds(
    Filter,
    ids=st.none(),
    authors=st.none() | st.frozensets(_KEYS, max_size=2),
    kinds=st.none() | st.frozensets(st.sampled_from([0, 1, 7, 30000]), max_size=3),
    tags=st.dictionaries(
        st.sampled_from("eptdT"), st.frozensets(_VALUES, max_size=3), max_size=2
    ).map(lambda found: tuple(sorted(found.items()))),
    since=st.none() | st.integers(-1, 7),
    until=st.none() | st.integers(-1, 7),
    limit=st.none() | st.integers(0, 4),
)


def _winners(events: list[Event]) -> list[Event]:
    """Say in Python which of `events`, saved in order, NIP-01 keeps."""
    kept: dict[object, Event] = {}
    for event in events:
        match storage(event.kind):
            case Storage.REPLACEABLE:
                key: object = (event.kind, event.pubkey)
            case Storage.ADDRESSABLE:
                key = (event.kind, event.pubkey, (*event.tag_values("d"), "")[0])
            case _:
                key = event.id
        rival = kept.get(key)
        if rival is None or (-event.created_at, event.id) < (-rival.created_at, rival.id):
            kept[key] = event
    return list(kept.values())


@pytest.fixture(scope="module")
def empty_engine() -> Iterator[Engine]:
    """A database in memory with the tables, for transactions that are rolled back."""
    engine = open_engine(Path(":memory:"), writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
    yield engine
    engine.dispose()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_EVENTS, max_size=12, unique_by=lambda event: event.id),
    st.lists(_FILTERS, min_size=1, max_size=3),
    st.data(),
)
def test_the_sql_agrees_with_matches(
    empty_engine: Engine, events: list[Event], filters: list[Filter], data: st.DataObject
) -> None:
    """For random events and filters the database finds what `Filter.matches` lets through.

    In order, within each filter's limit, and COUNT agrees.
    """
    if events:
        ids = st.frozensets(st.sampled_from([event.id for event in events]), max_size=2)
        filters = [*filters, Filter(ids=data.draw(ids))]
    kept = sorted(_winners(events), key=lambda event: (-event.created_at, event.id))
    expected: set[str] = set()
    for item in filters:
        matching = [event.id for event in kept if item.matches(event)]
        expected.update(matching[: 5 if item.limit is None else item.limit])
    with empty_engine.connect() as connection, connection.begin() as transaction:
        save_all(connection, events)
        found = select_events(connection, filters, NOW, default=5, most=10)
        counted = count_events(connection, filters, NOW)
        transaction.rollback()
    assert [item.id for item in found] == [event.id for event in kept if event.id in expected]
    by_id = {event.id: event for event in events}
    assert all(item.json == by_id[item.id].to_json() for item in found)
    assert counted == len([e for e in kept if any(item.matches(e) for item in filters)])


async def test_a_saved_event_is_committed(store: Store, tmp_path: Path) -> None:
    """When `done` is called, another process finds the event."""
    seen: list[int] = []

    def done(_outcome: object) -> None:
        database = sqlite3.connect(tmp_path / FILE)
        seen.append(database.execute("SELECT count(*) FROM events").fetchone()[0])
        database.close()
        future.set_result(None)

    future = asyncio.get_running_loop().create_future()
    store.save(_event(1), done)
    await future
    assert seen == [1]


async def test_what_waits_is_committed_together(store: Store, tmp_path: Path) -> None:
    """While one commit is held up, all that comes waits for the next one, in order."""
    commits: list[object] = []
    hooks.listen(store._engine, "commit", commits.append)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        saving = [asyncio.create_task(_save(store, _event(number))) for number in range(300)]
        await asyncio.sleep(0)  # each task runs up to its first wait
        assert store.waiting == 300
        database.execute("COMMIT")
    assert await asyncio.gather(*saving) == [[Outcome.SAVED]] * 300
    assert len(commits) <= 3  # the one held up, a sweep, and all the rest
    assert store.waiting == 0


async def test_the_outcomes(store: Store) -> None:
    """Saved, duplicate, superseded and deleted, also within one commit."""
    old = _event(1, kind=0, created_at=NOW - 1)
    new = _event(2, kind=0)
    gone = _event(3)
    request = _event(4, kind=5, tags=(("e", gone.id),))
    assert await _save(store, new, old, new, gone, request, gone, _event(5)) == [
        Outcome.SAVED,
        Outcome.SUPERSEDED,
        Outcome.DUPLICATE,
        Outcome.SAVED,
        Outcome.SAVED,
        Outcome.DELETED,
        Outcome.SAVED,
    ]


async def test_too_many_waiting_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of the writer is bounded, and a refused event is not saved later."""
    monkeypatch.setattr("bunker_relay.store._MAX_WAITING", 0)
    with pytest.raises(StoreError, match="too many"):
        store.save(_event(1), lambda _outcome: None)
    assert await store.count([Filter()], NOW) == 0


async def test_a_query_has_a_time_limit(store: Store) -> None:
    """A query that takes longer than `query_timeout` raises, and the next one works."""
    values = [f"{number:064x}" for number in range(3_000)]
    tagged = [_event(n, tags=tuple(("e", value) for value in values[n::10])) for n in range(10)]
    await _save(store, *tagged)
    heavy = Filter(tags=(("e", frozenset(values)),))
    assert len(await store.query([heavy], NOW, default=100, most=100)) == 10
    store.query_timeout = 0.0
    with pytest.raises(StoreError, match="query took too long"):
        await store.query([heavy], NOW, default=100, most=100)
    store.query_timeout = 5.0
    assert await store.count([heavy], NOW) == 10


async def test_retention_and_expiry_sweep(tmp_path: Path) -> None:
    """What is older than `keep_days`, or has expired, leaves the file, its tags too."""
    now = int(time.time())
    store = Store(tmp_path / FILE)
    expiring = (("expiration", str(now - 1)), ("t", "x"))
    old = _event(1, created_at=now - 3 * 86_400, tags=(("t", "x"),))
    fresh = _event(3, created_at=now)
    await _save(store, old, _event(2, created_at=now, tags=expiring), fresh)
    await store.close()
    store = Store(tmp_path / FILE, keep_days=2)
    async with asyncio.timeout(10):
        while await store.count([Filter()], 0) != 1:
            pass
    assert [item.id for item in await store.query([Filter()], 0, default=9, most=9)] == [fresh.id]
    await store.close()
    engine = open_engine(tmp_path / FILE, writes=False)
    with engine.connect() as connection:
        assert connection.execute(select(tags)).all() == []
    engine.dispose()


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """What is not a database is left alone, with an error that says what it is."""
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == b"not a database" * 100


def test_migrations_make_what_a_fresh_database_has(tmp_path: Path) -> None:
    """Alembic from nothing to head gives the tables of `schema`, and prepare is idempotent."""
    engine = open_engine(tmp_path / "migrated", writes=True)
    with engine.begin() as connection:
        migrate.upgrade(connection)
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        assert differences == []
        migrate.prepare(connection)
        migrated = _shape(connection)
    engine.dispose()
    engine = open_engine(tmp_path / "fresh", writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
        migrate.prepare(connection)
        migrate.upgrade(connection)
        assert _shape(connection) == migrated
    engine.dispose()


def _shape(connection: object) -> object:
    found = inspect(connection)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            sorted((i["name"] or "", tuple(i["column_names"])) for i in found.get_indexes(table)),
            [key["options"] for key in found.get_foreign_keys(table)],
        )
        for table in found.get_table_names()
    }


async def test_a_database_of_the_future_is_refused(tmp_path: Path) -> None:
    """A file that a later version has written is not touched."""
    await Store(tmp_path / FILE).close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="upgrade the program"):
        Store(tmp_path / FILE)


async def test_the_writer_outlives_a_defect(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one batch, its events are refused and the next one is saved."""

    def fail(*_arguments: object) -> None:
        raise RuntimeError("content of an event")

    with monkeypatch.context() as patched:
        patched.setattr("bunker_relay.store.save_all", fail)
        (outcome,) = await _save(store, _event(1))
    assert isinstance(outcome, StoreError)
    assert "content" not in str(outcome)
    assert await _save(store, _event(1)) == [Outcome.SAVED]
