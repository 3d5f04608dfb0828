"""The writing half of the store: what happens to events that arrive (NIP-01, NIP-09).

A batch is saved as if its events came one after another, but costs a handful of statements: what
is there already is asked for all of them at once, the rules are applied here, and the rows go in
together. Requests for deletion alone, which change what the rules say, are taken singly.
"""

# ruff: noqa: S608 -- the texts are ours, and every value is a bound parameter

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import and_, delete, insert, or_, select
from sqlalchemy.engine import Connection

from bunker_core.event import Event, is_hex
from bunker_core.kinds import DELETION, Storage, storage
from bunker_core.nips import nip40
from bunker_relay.store.engine import hold, is_postgres
from bunker_relay.store.outcome import Outcome
from bunker_relay.store.schema import address_key, deletions, events, tag_key

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
    """Delete what a deletion request names, as far as it is its author's own (NIP-09)."""
    author = bytes.fromhex(request.pubkey)
    for event_id in request.tag_values("e"):
        if is_hex(event_id, 64):
            target = bytes.fromhex(event_id)
            connection.execute(
                delete(events).where(
                    events.c.id == target,
                    events.c.pubkey == author,
                    events.c.kind != DELETION,  # NIP-09: a request against a request does nothing
                )
            )
            _remember(connection, author, target, request.created_at)
    for address in request.tag_values("a"):
        kind, _, rest = address.partition(":")
        pubkey, _, identifier = rest.partition(":")
        if pubkey == request.pubkey and kind.isascii() and kind.isdecimal():
            target = address_key(int(kind), pubkey, identifier)
            connection.execute(
                delete(events).where(
                    events.c.address == target,
                    events.c.created_at <= request.created_at,  # the same second counts
                )
            )
            _remember(connection, author, target, request.created_at)


def _remember(connection: Connection, author: bytes, target: bytes, until: int) -> None:
    known = and_(deletions.c.target == target, deletions.c.pubkey == author)
    before = connection.scalar(select(deletions.c.until).where(known))
    if before is None:
        connection.execute(insert(deletions).values(pubkey=author, target=target, until=until))
    elif before < until:
        connection.execute(deletions.update().where(known).values(until=until))


def forget_old(connection: Connection, now: int, keep_days: int) -> bool:
    """Delete some events that have expired or are older than `keep_days`, if that is not 0.

    Returns whether there may be more.
    """
    hold(connection)
    old = events.c.expires_at <= now
    if keep_days:
        old = or_(old, events.c.created_at < now - keep_days * 86_400)
    some = select(events.c.seq).where(old).limit(_SWEEP_ROWS).scalar_subquery()
    return connection.execute(delete(events).where(events.c.seq.in_(some))).rowcount == _SWEEP_ROWS
