"""The writing half of the store: what happens to events that arrive (NIP-01, NIP-09).

A batch is saved as if its events came one after another, but costs a handful of statements: what
is there already is asked for all of them at once, the rules are applied here, and the rows go in
together. Requests for deletion alone, which change what the rules say, are taken singly.
"""

# ruff: noqa: S608 -- the texts are ours, and every value is a bound parameter

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.engine import Connection

from bunker_core.event import Event, is_hex
from bunker_core.kinds import DELETION, GIFT_WRAP, Storage, storage
from bunker_core.nips import nip40
from bunker_relay.store.database.engine import hold, is_postgres
from bunker_relay.store.database.schema import address_key, events, tag_key, tags
from bunker_relay.store.outcome import Outcome

_TARGETS: Final = 1_000  # of a deletion request in one statement
_KIND_DIGITS: Final = 5  # 65535 is the last kind
_SWEEP_ROWS: Final = 1_000  # deleted in one transaction, some milliseconds
_EVENT: Final = {
    "seq": "bigint", "id": "bytea", "pubkey": "bytea", "created_at": "bigint", "kind": "int",
    "address": "bytea", "expires_at": "bigint", "json": "bytea",
}  # fmt: skip
_TAG: Final = {"tag": "bytea", "created_at": "bigint", "kind": "int", "event": "bigint"}

_Key = tuple[int, bytes]  # what decides between two versions: the lower one wins


def save_all(connection: Connection, batch: Iterable[Event]) -> list[Outcome]:
    """Save verified events that are not ephemeral in order, within the caller's transaction."""
    hold(connection)
    outcomes: list[Outcome] = []
    for is_request, group in groupby(batch, key=lambda event: event.kind == DELETION):
        if not is_request:
            outcomes += _save(connection, list(group))
            continue
        for request in group:
            outcomes += _save(connection, [request])
            if outcomes[-1] is Outcome.SAVED:
                _delete_for(connection, request)
    return outcomes


@dataclass(slots=True)
class _Version:
    """The event that an address has now; `seq` is None while it is in the same batch."""

    key: _Key
    seq: int | None


def _save(connection: Connection, batch: Sequence[Event]) -> list[Outcome]:
    ids = [bytes.fromhex(event.id) for event in batch]
    addresses = [address_of(event) for event in batch]
    known = {row[0] for row in _find(connection, "id FROM events", "id", ids)}
    versions = {
        address: _Version((-created_at, identifier), seq)
        for address, created_at, identifier, seq in _find(
            connection,
            "address, created_at, id, seq FROM events",
            "address",
            [address for address in addresses if address is not None],
        )
    }
    deleted = _deletions(connection, batch, ids, addresses)
    outcomes: list[Outcome] = []
    fresh: dict[bytes, tuple[Event, bytes | None]] = {}
    replaced: list[int] = []
    for event, identifier, address in zip(batch, ids, addresses, strict=True):
        if identifier in known:
            outcomes.append(Outcome.DUPLICATE)
            continue
        if deleted and _is_deleted(deleted, event, identifier, address):
            outcomes.append(Outcome.DELETED)
            continue
        if address is not None:
            key = (-event.created_at, identifier)
            rival = versions.get(address)
            # NIP-01: the latest stays; the lowest id wins a tie.
            if rival is not None and key > rival.key:
                outcomes.append(Outcome.SUPERSEDED)
                continue
            if rival is not None:
                known.discard(rival.key[1])
                if rival.seq is None:
                    del fresh[rival.key[1]]
                else:
                    replaced.append(rival.seq)
            versions[address] = _Version(key, None)
        known.add(identifier)
        fresh[identifier] = (event, address)
        outcomes.append(Outcome.SAVED)
    if replaced:
        connection.execute(delete(events).where(events.c.seq.in_(replaced)))
    if fresh:
        _insert(connection, fresh)
    return outcomes


def _insert(connection: Connection, fresh: dict[bytes, tuple[Event, bytes | None]]) -> None:
    last = connection.exec_driver_sql("SELECT max(seq) FROM events").scalar() or 0
    rows: list[tuple[Any, ...]] = []
    tag_rows: list[tuple[Any, ...]] = []
    for seq, (identifier, (event, address)) in enumerate(fresh.items(), last + 1):
        created_at, kind = event.created_at, event.kind
        rows.append(
            (
                seq, identifier, bytes.fromhex(event.pubkey), created_at, kind, address,
                nip40.expiration(event), event.to_json(),
            )
        )  # fmt: skip
        if event.tags:
            keys = {
                tag_key(tag[0], tag[1])
                for tag in event.tags
                if len(tag) > 1 and len(tag[0]) == 1 and tag[0].isascii() and tag[0].isalpha()
            }
            tag_rows += [(key, created_at, kind, seq) for key in keys]
    _insert_rows(connection, "events", _EVENT, rows)
    tag_rows.sort()  # in the order in which they will lie
    _insert_rows(connection, "tags", _TAG, tag_rows)


def _insert_rows(
    connection: Connection, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]
) -> None:
    """Insert `rows`; `columns` maps names to PostgreSQL's types."""
    if not rows:
        return
    names = ", ".join(columns)
    if is_postgres(connection):
        # One statement with a list for each column, where a row at a time is a message each.
        lists = ", ".join(f"%s::{kind}[]" for kind in columns.values())
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({names}) SELECT * FROM unnest({lists})",
            tuple([list(column) for column in zip(*rows, strict=True)]),
        )
        return
    marks = ", ".join("?" * len(columns))
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)


def _find(connection: Connection, what: str, column: str, values: Sequence[bytes]) -> Sequence[Any]:
    """Return the rows whose `column` is one of `values`."""
    if not values:
        return ()
    parameters: tuple[Any, ...]
    if is_postgres(connection):
        statement, parameters = f"{column} = ANY(%s::bytea[])", (list(values),)
    else:
        statement, parameters = f"{column} IN ({','.join('?' * len(values))})", tuple(values)
    return connection.exec_driver_sql(f"SELECT {what} WHERE {statement}", parameters).fetchall()


def _deletions(
    connection: Connection,
    batch: Sequence[Event],
    ids: Sequence[bytes],
    addresses: Sequence[bytes | None],
) -> dict[tuple[bytes, str], int]:
    """Return until when what its author asked to delete is deleted, by target and pubkey."""
    if batch[0].kind == DELETION:
        return {}  # NIP-09: a request against a request does nothing
    targets = [*ids, *(address for address in addresses if address is not None)]
    rows = _find(connection, "target, pubkey, until FROM deletions", "target", targets)
    return {(target, pubkey.hex()): until for target, pubkey, until in rows}


def _is_deleted(
    deleted: dict[tuple[bytes, str], int], event: Event, identifier: bytes, address: bytes | None
) -> bool:
    if (identifier, event.pubkey) in deleted:
        return True
    if event.kind == GIFT_WRAP:
        return any((identifier, pubkey) in deleted for pubkey in event.tag_values("p"))
    # The same second counts.
    return address is not None and deleted.get((address, event.pubkey), -1) >= event.created_at


def address_of(event: Event) -> bytes | None:
    """Return the digest of a replaceable or addressable event's address, None for other kinds."""
    match storage(event.kind):
        case Storage.REPLACEABLE:
            return address_key(event.kind, event.pubkey, "")
        case Storage.ADDRESSABLE:
            return address_key(event.kind, event.pubkey, (*event.tag_values("d"), "")[0])
        case _:
            return None


def _delete_for(connection: Connection, request: Event) -> None:
    """Delete what a deletion request names, as far as it is its author's own (NIP-09).

    Thousands of targets take a few statements: all other clients wait for this transaction.
    """
    author = bytes.fromhex(request.pubkey)
    ids = [bytes.fromhex(item) for item in request.tag_values("e") if is_hex(item, 64)]
    addresses = [_own_address(item, request.pubkey) for item in request.tag_values("a")]
    targets = list(dict.fromkeys(ids))
    for some in _portions(targets):
        connection.execute(
            delete(events).where(
                events.c.id.in_(some),
                events.c.pubkey == author,
                events.c.kind != DELETION,  # NIP-09: a request against a request does nothing
            )
        )
        # NIP-59: a wrap's author has thrown the key away, its recipient speaks for it.
        received = exists().where(
            tags.c.event == events.c.seq, tags.c.tag == tag_key("p", request.pubkey)
        )
        connection.execute(
            delete(events).where(events.c.id.in_(some), events.c.kind == GIFT_WRAP, received)
        )
    versioned = list(dict.fromkeys(address for address in addresses if address is not None))
    for some in _portions(versioned):
        connection.execute(
            delete(events).where(
                events.c.address.in_(some),
                events.c.created_at <= request.created_at,  # the same second counts
            )
        )
    for some in _portions(targets + versioned):
        _remember(connection, author, some, request.created_at)


def _own_address(text: str, pubkey: str) -> bytes | None:
    """Return the digest of an address that belongs to `pubkey`; None for what is none."""
    kind, _, rest = text.partition(":")
    owner, _, identifier = rest.partition(":")
    if owner != pubkey or len(kind) > _KIND_DIGITS or not (kind.isascii() and kind.isdecimal()):
        return None
    number = int(kind)
    return address_key(number, pubkey, identifier) if str(number) == kind else None


def _portions(targets: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(targets), _TARGETS):
        yield targets[start : start + _TARGETS]


def _remember(connection: Connection, author: bytes, targets: list[bytes], until: int) -> None:
    """Note that `targets`, each of them once, are deleted up to `until`."""
    parameters: tuple[Any, ...]
    if is_postgres(connection):
        source = "SELECT target, %s, %s FROM unnest(%s::bytea[]) AS target"
        parameters = author, until, targets
    else:
        marks = ",".join(["(?)"] * len(targets))
        # WHERE tells ON CONFLICT from a join's ON.
        source = f"SELECT column1, ?, ? FROM (VALUES {marks}) WHERE true"
        parameters = author, until, *targets
    connection.exec_driver_sql(
        f"INSERT INTO deletions (target, pubkey, until) {source}"
        " ON CONFLICT (target, pubkey) DO UPDATE SET until = excluded.until"
        " WHERE excluded.until > deletions.until",
        parameters,
    )


def forget_old(connection: Connection, now: int, keep_days: int, since: int | None = None) -> bool:
    """Delete some events that have expired or are older than `keep_days`, if that is not 0.

    With `since`, only those for which that became true after it. Whatever has versions stays,
    however old: a profile or a follow list is written seldom. Returns whether there may be more.
    """
    hold(connection)
    old = _old(now, keep_days, since)
    some = select(events.c.seq).where(old).limit(_SWEEP_ROWS).scalar_subquery()
    return connection.execute(delete(events).where(events.c.seq.in_(some))).rowcount == _SWEEP_ROWS


def too_many_old(connection: Connection, now: int, keep_days: int, few: int) -> int:
    """Return how many events were old by `now` if they are over half of all, else 0.

    Up to `few` are never too many. A clock that is set wrong makes everything old at once.
    """
    old = select(events.c.seq).where(_old(now, keep_days))
    some = select(func.count()).select_from(old.limit(few + 1).subquery())
    if (connection.scalar(some) or 0) <= few:
        return 0
    count = connection.scalar(select(func.count()).select_from(old.subquery())) or 0
    total = connection.scalar(select(func.count()).select_from(events)) or 0
    return count if 2 * count > total else 0


def _old(now: int, keep_days: int, since: int | None = None) -> ColumnElement[bool]:
    old = events.c.expires_at <= now
    if since is not None:
        old = and_(old, events.c.expires_at > since)
    if keep_days:
        kept = keep_days * 86_400
        too_old = events.c.created_at < now - kept
        if since is not None:
            too_old = and_(too_old, events.c.created_at >= since - kept)
        old = or_(old, and_(too_old, events.c.address.is_(None)))
    return old
