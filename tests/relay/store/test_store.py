"""The store on a real SQLite file and a real PostgreSQL server."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy import event as hooks

from bunker_core.event import Event, parse_event_json
from bunker_core.filter import Filter
from bunker_core.kinds import Storage, storage
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import Database, hold, open_engine
from bunker_relay.store.outcome import Outcome, Stored, StoreError
from bunker_relay.store.query import count_events, select_events
from bunker_relay.store.store import FILE, Store
from bunker_relay.store.write import save_all
from relay.store._saving import closing_engine, numbered, save

NOW = 1_000


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """A fresh store."""
    store = Store(database)
    yield store
    await store.close()


@contextmanager
def _locked(database: Database) -> Iterator[None]:
    """Keep every writer out, as another process might."""
    with closing_engine(database) as connection:
        hold(connection)
        yield


def _count(database: Database, table: str = "events") -> int:
    engine = open_engine(database, writes=False)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return int(found)


async def _query(
    store: Store, filters: list[Filter], now: int, *, default: int, most: int
) -> list[Stored]:
    _, stored = await store.find(filters, now, default=default, most=most)
    return stored


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
    id=st.integers(0, 2**256 - 2).map(lambda number: f"{number:064x}"),
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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_EVENTS, max_size=12, unique_by=lambda event: event.id),
    st.lists(_FILTERS, min_size=1, max_size=3),
    st.data(),
)
def test_the_sql_agrees_with_matches(
    engine: Engine, events: list[Event], filters: list[Filter], data: st.DataObject
) -> None:
    """For random events and filters the database finds what `Filter.matches` lets through.

    In order, within each filter's limit, on every way that a plan may take, and COUNT agrees.
    """
    if events:
        ids = st.frozensets(st.sampled_from([event.id for event in events]), max_size=2)
        filters = [*filters, Filter(ids=data.draw(ids))]
    kept = sorted(_winners(events), key=lambda event: (-event.created_at, event.id))
    expected: set[str] = set()
    for item in filters:
        matching = [event.id for event in kept if item.matches(event)]
        expected.update(matching[: 5 if item.limit is None else item.limit])
    expired = data.draw(st.booleans())
    with engine.connect() as connection, connection.begin() as transaction:
        if expired:  # something that was not swept yet: the statements are others
            gone = replace(numbered(0), id="f" * 64, tags=(("expiration", "1"), ("t", "x")))
            save_all(connection, [gone])
        # In one go, or in several, which is to make no difference.
        cut = data.draw(st.integers(0, len(events)))
        save_all(connection, events[:cut])
        save_all(connection, events[cut:])
        with pytest.MonkeyPatch.context() as patched:
            for name, numbers in (("_MOST_PAIRS", [0, 99]), ("_FEW", [0, 99]), ("_MANY", [1, 99])):
                number = data.draw(st.sampled_from(numbers))
                patched.setattr(f"bunker_relay.store.query.{name}", number)
            found = select_events(connection, filters, NOW, default=5, most=10)
            counted = count_events(connection, filters, NOW)
        transaction.rollback()
    assert [item.id for item in found] == [event.id for event in kept if event.id in expected]
    by_id = {event.id: event for event in events}
    assert all(item.json == by_id[item.id].to_json() for item in found)
    assert counted == len([e for e in kept if any(item.matches(e) for item in filters)])


async def test_a_saved_event_is_committed(store: Store, database: Database) -> None:
    """When `done` is called, another process finds the event."""
    seen: list[int] = []

    def done(_outcome: object) -> None:
        seen.append(_count(database))
        future.set_result(None)

    future = asyncio.get_running_loop().create_future()
    store.save(numbered(1), done)
    await future
    assert seen == [1]


async def test_what_waits_is_committed_together(store: Store, database: Database) -> None:
    """While one commit is held up, all that comes waits for the next one, in order."""
    commits: list[object] = []
    hooks.listen(store._engine, "commit", commits.append)
    with _locked(database):
        saving = [asyncio.create_task(save(store, numbered(number))) for number in range(300)]
        await asyncio.sleep(0)  # each task runs up to its first wait
        assert store.waiting == 300
    assert await asyncio.gather(*saving) == [[Outcome.SAVED]] * 300
    assert len(commits) <= 3  # the one held up, a sweep, and all the rest
    assert store.waiting == 0


async def test_the_outcomes(store: Store) -> None:
    """Saved, duplicate, superseded and deleted, also within one commit."""
    old = numbered(1, kind=0, created_at=NOW - 1)
    new = numbered(2, kind=0)
    gone = numbered(3)
    request = numbered(4, kind=5, tags=(("e", gone.id),))
    assert await save(store, new, old, new, gone, request, gone, numbered(5)) == [
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
    monkeypatch.setattr("bunker_relay.store.store._MAX_WAITING", 0)
    with pytest.raises(StoreError, match="too many"):
        store.save(numbered(1), lambda _outcome: None)
    assert await store.count([Filter()], NOW) == 0


async def test_a_query_has_a_time_limit(store: Store) -> None:
    """A query that takes longer than `query_timeout` raises, and the next one works."""
    values = [f"{number:064x}" for number in range(3_000)]
    tagged = [numbered(n, tags=tuple(("e", value) for value in values[n::10])) for n in range(10)]
    await save(store, *tagged)
    heavy = Filter(tags=(("e", frozenset(values)),))
    assert len(await _query(store, [heavy], NOW, default=100, most=100)) == 10
    store.query_timeout = 0.0
    with pytest.raises(StoreError, match="query took too long"):
        await _query(store, [heavy], NOW, default=100, most=100)
    store.query_timeout = 5.0
    assert await store.count([heavy], NOW) == 10


async def test_the_time_may_end_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two statements or within any of them: the client is told, and in these words."""
    store = Store(tmp_path / FILE)
    events = [numbered(number, tags=(("t", "x"), ("t", "y"))) for number in range(200)]
    await save(store, *events)
    monkeypatch.setattr("bunker_relay.store.database.engine._PROGRESS_STEPS", 100)
    wanted = [Filter(kinds=frozenset({1}), tags=(("t", frozenset("xz")), ("t", frozenset("yz"))))]
    reasons = []
    for looks in itertools.count(1):
        left = iter([0.0] * looks)  # and then it is late
        clock = SimpleNamespace(monotonic=lambda left=left: next(left, inf))
        monkeypatch.setattr("bunker_relay.store.database.engine.time", clock)
        try:
            found = await _query(store, wanted, NOW, default=100, most=100)
        except StoreError as error:
            reasons.append(str(error))
        else:
            assert len(found) == 100
            break
    assert len(reasons) > 20
    assert set(reasons) == {"query took too long"}
    await store.close()


@pytest.mark.parametrize(
    ("size", "count", "first"),
    [(400, 120, 100), (3_000, 120, 78), (30_000, 20, 8), (300_000, 2, 0)],
)
async def test_an_answer_of_whatever_size_comes_whole(
    store: Store, size: int, count: int, first: int
) -> None:
    """What comes with the ids, what is read in pages, and what is a page by itself: all of it."""
    events = [numbered(number, content="x" * size) for number in range(count)]
    await save(store, *events)
    found, stored = await store.find([Filter()], NOW, default=100, most=1_000)
    assert len(stored) == first
    while len(stored) < len(found):
        indices, _ = found.page(len(stored))
        stored += await store.read(found, indices)
    expected = [(event.id, event.to_json()) for event in events[:100]]
    assert expected == stored
    assert [item.id for item in stored] == list(found.ids)


async def test_retention_and_expiry_sweep(database: Database) -> None:
    """What is older than `keep_days`, or has expired, leaves the database, its tags too."""
    now = int(time.time())
    store = Store(database)
    expiring = (("expiration", str(now - 1)), ("t", "x"))
    old = numbered(1, created_at=now - 3 * 86_400, tags=(("t", "x"),))
    fresh = numbered(3, created_at=now)
    await save(store, old, numbered(2, created_at=now, tags=expiring), fresh)
    await store.close()
    store = Store(database, keep_days=2)
    async with asyncio.timeout(10):
        while await store.count([Filter()], 0) != 1:
            pass
    assert [item.id for item in await _query(store, [Filter()], 0, default=9, most=9)] == [fresh.id]
    await store.close()
    assert _count(database, "tags") == 0


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """What is not a database is left alone, with an error that says what it is."""
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == b"not a database" * 100


def test_a_query_takes_no_longer_when_there_is_more(tmp_path: Path) -> None:
    """What a filter with a limit costs, counted in SQLite's own steps, does not grow."""
    engine = open_engine(tmp_path / FILE, writes=True)
    authors = [f"{number:064x}" for number in range(20)]
    filters = {
        "author": Filter(authors=frozenset(authors[:1]), kinds=frozenset({1}), limit=5),
        "profile": Filter(authors=frozenset(authors[:1]), limit=5),
        "feed": Filter(authors=frozenset(authors[:9]), kinds=frozenset({1, 7}), limit=10),
        "mentions": Filter(tags=(("p", frozenset(authors[:1])),), kinds=frozenset({1}), limit=5),
        "latest": Filter(kinds=frozenset({1}), limit=10),
        "all": Filter(limit=10),
    }

    def note(number: int) -> Event:
        return numbered(
            number,
            pubkey=authors[number % 20],
            created_at=NOW + number,
            kind=(1, 7)[number // 20 % 2],
            tags=(("p", authors[(number + number // 20) % 20]), ("t", "x")),
        )

    def steps(connection: Connection, item: Filter) -> int:
        taken = 0

        def step() -> None:
            nonlocal taken
            taken += 1

        raw = connection.connection.driver_connection
        raw.set_progress_handler(step, 10)  # type: ignore[union-attr]
        assert len(select_events(connection, [item], NOW, default=5, most=10)) == item.limit
        raw.set_progress_handler(None, 0)  # type: ignore[union-attr]
        return taken

    with engine.begin() as connection:
        migrate.prepare(connection)
        save_all(connection, [note(number) for number in range(4_000)])
        few = {name: steps(connection, item) for name, item in filters.items()}
        save_all(connection, [note(number) for number in range(4_000, 12_000)])
        many = {name: steps(connection, item) for name, item in filters.items()}
    engine.dispose()
    assert {name: many[name] for name in filters if many[name] > 1.5 * few[name] + 20} == {}


async def test_two_stores_share_a_database(database: Database) -> None:
    """Of two writers at once each sees what the other has saved: one version stays, no id twice."""
    stores = [Store(database), Store(database)]
    versions = [numbered(n, kind=10_002, created_at=NOW + n % 7) for n in range(1, 200)]
    notes = [numbered(n) for n in range(200, 400)]
    saved = await asyncio.gather(
        *(save(store, event) for event in (*versions, *notes) for store in stores)
    )
    assert not any(isinstance(outcome, StoreError) for (outcome,) in saved)
    outcomes = [outcome for (outcome,) in saved]
    assert outcomes[-400:].count(Outcome.SAVED) == 200
    assert outcomes[-400:].count(Outcome.DUPLICATE) == 200
    winner = min(versions, key=lambda event: (-event.created_at, event.id))
    for store in stores:
        found = await _query(store, [Filter(kinds=frozenset({10_002}))], NOW, default=9, most=9)
        assert [stored.id for stored in found] == [winner.id]
        assert await store.count([Filter()], NOW) == 201
        await store.close()


async def test_whatever_a_filter_names_is_data(store: Store) -> None:
    """NUL, quotes, wildcards and percent signs are found exactly, and nothing else is."""
    values = ["\x00", "x\x00", "x", "%", "_", "'", '"', "\\", "%s", "?", ":x", "\x00' OR 1=1 --"]
    await save(
        store, *(numbered(n, content=v, tags=(("d", v),), kind=1) for n, v in enumerate(values))
    )
    for number, value in enumerate(values):
        item = Filter(tags=(("d", frozenset({value})),))
        (found,) = await _query(store, [item], NOW, default=9, most=9)
        assert found.id == f"{number:064x}"
        assert parse_event_json(found.json).content == value
        assert await store.count([item], NOW) == 1


async def test_the_writer_outlives_a_defect(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one batch, its events are refused and the next one is saved."""

    def fail(*_arguments: object) -> None:
        raise RuntimeError("content of an event")

    with monkeypatch.context() as patched:
        patched.setattr("bunker_relay.store.store.save_all", fail)
        (outcome,) = await save(store, numbered(1))
    assert isinstance(outcome, StoreError)
    assert "content" not in str(outcome)
    assert await save(store, numbered(1)) == [Outcome.SAVED]
