"""The writer against a plain model of NIP-01 and NIP-09, and what a hostile event costs others."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy import event as hooks

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.kinds import Storage, storage
from bunker_relay.store.database.engine import Database, open_engine
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.query import select_events
from bunker_relay.store.store import Store
from bunker_relay.store.write import save_all
from relay.store._saving import save

NOW = 1_000
_ALICE, _BOB = "a" * 64, "b" * 64
_DIGITS = "9" * 4_301  # one more than Python's int() takes


class Model:
    """What NIP-01 and NIP-09 say, with nothing but dictionaries."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.deleted: dict[tuple[object, str], int] = {}  # (id or address, author): until

    def save(self, event: Event) -> Outcome:
        """Take one event."""
        if event.id in self.events:
            return Outcome.DUPLICATE
        address = _address(event)
        if event.kind != 5:
            until = self.deleted.get((address, event.pubkey), -1)
            if (event.id, event.pubkey) in self.deleted or (
                address is not None and until >= event.created_at
            ):
                return Outcome.DELETED
        rivals = [item for item in self.events.values() if address and _address(item) == address]
        for rival in rivals:
            if (-rival.created_at, rival.id) < (-event.created_at, event.id):
                return Outcome.SUPERSEDED
            del self.events[rival.id]
        self.events[event.id] = event
        if event.kind == 5:
            self._delete_for(event)
        return Outcome.SAVED

    def _delete_for(self, request: Event) -> None:
        for target in request.tag_values("e"):
            if len(target) == 64 and set(target) <= set("0123456789abcdef"):
                named = self.events.get(target)
                if named is not None and named.pubkey == request.pubkey and named.kind != 5:
                    del self.events[target]
                self._remember(target, request)
        for target in request.tag_values("a"):
            kind, *rest = target.split(":", 2)
            if len(rest) == 2 and rest[0] == request.pubkey and kind in map(str, range(65_536)):
                address = (int(kind), *rest)
                for item in list(self.events.values()):
                    if _address(item) == address and item.created_at <= request.created_at:
                        del self.events[item.id]
                self._remember(address, request)

    def _remember(self, target: object, request: Event) -> None:
        key = target, request.pubkey
        self.deleted[key] = max(self.deleted.get(key, -1), request.created_at)


def _address(event: Event) -> tuple[int, str, str] | None:
    match storage(event.kind):
        case Storage.REPLACEABLE:
            return (event.kind, event.pubkey, "")
        case Storage.ADDRESSABLE:
            return (event.kind, event.pubkey, (*event.tag_values("d"), "")[0])
    return None


_IDS = [f"{number:064x}" for number in range(8)]
_KINDS = st.sampled_from([
    "0", "3", "5", "30000", "+30000", "-0", " 0", "0 ", "3e4", "30_000", "\u0663", "\u00b2", "",
    "65536", "00", "030000", _DIGITS, "x", "\x00",
])  # fmt: skip
_IDENTIFIERS = st.sampled_from(["", "", "x", "x:y", "'", "\x00"])
_ADDRESSES = st.builds(
    lambda kind, pubkey, name: f"{kind}:{pubkey}:{name}",
    st.sampled_from(["0", "30000"]) | _KINDS,
    st.sampled_from([_ALICE, _ALICE, _BOB, "", "\ud7ff"]),
    _IDENTIFIERS,
)
_E = st.tuples(st.just("e"), st.sampled_from([*_IDS, _IDS[1].upper(), "0" * 63, "", "\x00"]))
_THERE = st.sampled_from([f"0:{_ALICE}:", f"30000:{_ALICE}:", f"30000:{_ALICE}:x"])
_A = st.tuples(st.just("a"), _THERE | _ADDRESSES | _KINDS)
_OTHER = st.one_of(
    st.tuples(st.just("d"), _IDENTIFIERS),
    st.tuples(st.just("nonce"), st.just("1"), _KINDS),
    st.tuples(st.just("expiration"), st.sampled_from(["9999", _DIGITS, "-1", "x", ""])),
    st.tuples(st.sampled_from(["a", "e", "d", "p"])),
)


def _events(kinds: list[int], tags: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        id=st.sampled_from(_IDS),
        pubkey=st.sampled_from([_ALICE, _ALICE, _BOB]),
        created_at=st.integers(1, 3),
        kind=st.sampled_from(kinds),
        tags=st.lists(tags, max_size=4).map(tuple),
        content=st.just(""),
        sig=st.just("d" * 128),
    )


_EVENTS = _events([0, 1, 30_000], _OTHER) | _events([5], _E | _A | _OTHER)


@settings(max_examples=200, deadline=None)
@given(st.lists(_EVENTS, max_size=14), st.data())
def test_the_writer_agrees_with_a_plain_model(
    engine: Engine, events: list[Event], data: st.DataObject
) -> None:
    """Whatever the tags hold, and however the events are cut into commits."""
    model = Model()
    # An id is one event's: what comes again is the very same.
    first = {event.id: event for event in reversed(events)}
    events = [first[event.id] for event in events]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=2)))
    with engine.connect() as connection, connection.begin() as transaction:
        outcomes: list[Outcome] = []
        for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
            outcomes += save_all(connection, events[start:end])
        found = select_events(connection, [Filter()], 1, default=99, most=99)
        orphans = connection.execute(
            text("SELECT count(*) FROM tags WHERE event NOT IN (SELECT seq FROM events)")
        ).scalar_one()
        transaction.rollback()
    assert outcomes == [model.save(event) for event in events]
    assert {item.id for item in found} == set(model.events)
    assert orphans == 0


_HOSTILE = [
    "",
    "x",
    "+0",
    "-0",
    " 0",
    "0 ",
    "00",
    "0_0",
    "\u0660",
    "\u00b2",
    "65536",
    _DIGITS,
    "\x00",
]


@pytest.mark.parametrize("kind", _HOSTILE)
def test_an_address_of_no_kind_names_nothing(engine: Engine, kind: str) -> None:
    """What Python would take for a number, or fail on, deletes nothing and harms nobody."""
    profile = _event(1, kind=0)
    request = _event(2, kind=5, tags=(("a", f"{kind}:{_ALICE}:"), ("e", "x")))
    with engine.connect() as connection, connection.begin() as transaction:
        assert save_all(connection, [profile, request, _event(3)]) == [Outcome.SAVED] * 3
        assert len(select_events(connection, [Filter()], 1, default=9, most=9)) == 3
        transaction.rollback()


def test_a_request_reaches_up_to_its_own_date(engine: Engine) -> None:
    """A version of later survives, and an older request takes nothing back from a newer one."""
    address = f"30000:{_ALICE}:x"
    versions = [_dated(number, 30_000, number, ("d", "x")) for number in (1, 2, 3, 4)]
    with engine.connect() as connection, connection.begin() as transaction:
        for request in (_dated(12, 5, 2, ("a", address)), _dated(11, 5, 1, ("a", address))):
            assert save_all(connection, [request]) == [Outcome.SAVED]
        assert save_all(connection, versions[:3]) == [
            Outcome.DELETED,
            Outcome.DELETED,
            Outcome.SAVED,
        ]
        assert (
            save_all(connection, [_dated(13, 5, 2, ("a", address)), versions[3]])
            == [Outcome.SAVED] * 2
        )
        found = select_events(connection, [Filter(kinds=frozenset({30_000}))], 1, default=9, most=9)
        assert [item.id for item in found] == [versions[3].id]
        request = _dated(14, 5, 3, ("a", address), ("e", f"{12:064x}"))
        assert save_all(connection, [request]) == [Outcome.SAVED]
        found = select_events(connection, [Filter()], 1, default=9, most=9)
        assert {int(item.id, 16) for item in found} == {4, 11, 12, 13, 14}
        transaction.rollback()


def test_a_request_deletes_what_is_its_authors_own(engine: Engine) -> None:
    """By address up to its date, by id, and a gift wrap that it received; nothing of others."""

    def bobs(number: int, kind: int, *tags: tuple[str, ...]) -> Event:
        return Event(f"{number:064x}", _BOB, 2, kind, tags, "", "d" * 128)

    gone = [
        _dated(1, 30_000, 2, ("d", "x")),  # the same second counts
        _dated(2, 1, 3),
        bobs(3, 1_059, ("p", _ALICE)),
    ]
    kept = [
        _dated(4, 30_000, 2, ("d", "y")),
        _dated(5, 0, 3),  # newer
        _dated(6, 5, 2, ("e", f"{99:064x}")),
        bobs(7, 30_000, ("d", "x")),
        bobs(8, 1, ("p", _ALICE)),
        bobs(9, 1_059, ("p", _BOB)),
        bobs(10, 1_059, ("e", _ALICE)),
    ]
    addresses = (f"30000:{_ALICE}:x", f"30000:{_BOB}:x", f"0:{_ALICE}:")
    targets = [("e", event.id) for event in (*gone[1:], *kept[2:])]
    request = _dated(11, 5, 2, *targets, *(("a", address) for address in addresses))
    with engine.connect() as connection, connection.begin() as transaction:
        assert set(save_all(connection, [*gone, *kept, request])) == {Outcome.SAVED}
        found = select_events(connection, [Filter()], 9, default=99, most=99)
        assert {item.id for item in found} == {item.id for item in (*kept, request)}
        first = _dated(12, 30_000, 0, ("d", "z"))  # as early as can be, beside what is deleted
        assert save_all(connection, [*gone, first]) == [Outcome.DELETED] * 3 + [Outcome.SAVED]
        transaction.rollback()


def test_a_tag_of_one_letter_is_found_by_whatever_it_says(engine: Engine) -> None:
    """Its value need not be ASCII, or one letter, or followed by anything."""
    event = _event(1, tags=(("t", "k\u00e4se"), ("title", "k\u00e4se"), ("x",), ("1", "k\u00e4se")))
    with engine.connect() as connection, connection.begin() as transaction:
        assert save_all(connection, [event]) == [Outcome.SAVED]
        for name, times in (("t", 1), ("x", 0)):
            asked = [Filter(tags=((name, frozenset({"k\u00e4se"})),))]
            assert len(select_events(connection, asked, NOW, default=9, most=9)) == times
        rows = connection.execute(text("SELECT count(*) FROM tags")).scalar_one()
        assert rows == 1
        transaction.rollback()


@pytest.mark.parametrize("together", [True, False])
def test_a_replaced_event_that_comes_again_is_superseded(engine: Engine, together: bool) -> None:
    """Also within its own batch: its author learns that it is not kept, not that it is there."""
    old, new = (_dated(number, 0, number) for number in (1, 2))
    batch = [old, new, old, new]
    with engine.connect() as connection, connection.begin() as transaction:
        batches = [batch] if together else [[event] for event in batch]
        outcomes = [outcome for some in batches for outcome in save_all(connection, some)]
        assert outcomes == [
            Outcome.SAVED,
            Outcome.SAVED,
            Outcome.SUPERSEDED,
            Outcome.DUPLICATE,
        ]
        transaction.rollback()


def _dated(number: int, kind: int, created_at: int, *tags: tuple[str, ...]) -> Event:
    return Event(f"{number:064x}", _ALICE, created_at, kind, tags, "", "d" * 128)


def _event(number: int, kind: int = 1, tags: tuple[tuple[str, ...], ...] = ()) -> Event:
    return Event(f"{number:064x}", _ALICE, NOW, kind, tags, "", "d" * 128)


async def test_an_event_that_fails_fails_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that came with it, before and after, are saved."""

    def fussy(connection: object, batch: list[Event]) -> list[Outcome]:
        if any(event.content == "poison" for event in batch):
            raise ValueError("Exceeds the limit for integer string conversion")
        return save_all(connection, batch)  # type: ignore[arg-type]

    monkeypatch.setattr("bunker_relay.store.store.save_all", fussy)
    store = Store(database)
    events = [_event(number) for number in range(40)]
    events[17] = Event(f"{17:064x}", _BOB, NOW, 1, (), "poison", "d" * 128)
    outcomes = await save(store, *events)
    failed = [number for number, found in enumerate(outcomes) if found is not Outcome.SAVED]
    assert failed == [17]
    assert isinstance(outcomes[17], StoreError)
    assert await store.count([Filter()], NOW) == 39
    await store.close()


async def test_a_locked_database_is_not_tried_event_by_event(tmp_path: Path) -> None:
    """What fails for all of them is tried once for all of them."""
    store = Store(tmp_path / "relay.sqlite3", busy_timeout=0.2)
    other = open_engine(tmp_path / "relay.sqlite3", writes=True)
    with other.begin():
        began = time.monotonic()
        outcomes = await save(store, *(_event(number) for number in range(100)))
        assert time.monotonic() - began < 5.0, "a hundred times 0.2 s would be 20"
    assert {str(outcome) for outcome in outcomes} == {"database is locked"}
    other.dispose()
    await store.close()


@pytest.mark.parametrize("there", [False, True])
def test_thousands_of_targets_take_a_few_statements(engine: Engine, there: bool) -> None:
    """3,300 of them, whether they are there or not: 7,000 statements held up everybody."""
    targets = [f"{number:064x}" for number in range(10_000, 13_300)]
    statements: list[str] = []

    def saw(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    with engine.connect() as connection, connection.begin() as transaction:
        if there:
            save_all(connection, [_event(int(target, 16)) for target in targets])
        hooks.listen(engine, "before_cursor_execute", saw)
        try:
            request = _event(1, 5, tuple(("e", target) for target in targets))
            assert save_all(connection, [request]) == [Outcome.SAVED]
        finally:
            hooks.remove(engine, "before_cursor_execute", saw)
        found = select_events(connection, [Filter()], NOW, default=9_999, most=9_999)
        assert [item.id for item in found] == [request.id]
        assert save_all(connection, [_event(10_000), _event(13_299)]) == [Outcome.DELETED] * 2
        transaction.rollback()
    assert len(statements) < 20
