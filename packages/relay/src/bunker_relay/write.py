"""The writing half of the store: what happens to an event that arrives (NIP-01, NIP-09)."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import and_, delete, insert, or_, select
from sqlalchemy.engine import Connection

from bunker_core.event import Event, is_hex
from bunker_core.kinds import DELETION, Storage, storage
from bunker_relay import nip40
from bunker_relay.outcome import Outcome
from bunker_relay.schema import address_key, deletions, events, tag_key, tags

_SWEEP_ROWS: Final = 1_000  # deleted in one transaction, some milliseconds


def save_all(connection: Connection, batch: Iterable[Event]) -> list[Outcome]:
    """Save verified events in order, within the caller's transaction."""
    return [save(connection, event) for event in batch]


def save(connection: Connection, event: Event) -> Outcome:
    """Save one verified event that is not ephemeral."""
    identifier = bytes.fromhex(event.id)
    if connection.scalar(select(events.c.seq).where(events.c.id == identifier)) is not None:
        return Outcome.DUPLICATE
    address = address_of(event)
    if event.kind != DELETION and _is_deleted(connection, event, address):
        return Outcome.DELETED
    if address is not None:
        rival = connection.execute(
            select(events.c.seq, events.c.created_at, events.c.id).where(
                events.c.address == address
            )
        ).one_or_none()
        if rival is not None:
            # NIP-01: the latest stays; the lowest id wins a tie.
            if (-event.created_at, identifier) > (-rival.created_at, rival.id):
                return Outcome.SUPERSEDED
            connection.execute(delete(events).where(events.c.seq == rival.seq))
    seq = connection.execute(
        insert(events).values(
            id=identifier,
            pubkey=bytes.fromhex(event.pubkey),
            created_at=event.created_at,
            kind=event.kind,
            address=address,
            expires_at=nip40.expiration(event),
            json=event.to_json(),
        )
    ).inserted_primary_key
    if seq is None:
        raise AssertionError  # an insert of one row has a primary key
    keys = {
        tag_key(tag[0], tag[1])
        for tag in event.tags
        if len(tag) > 1 and len(tag[0]) == 1 and tag[0].isascii() and tag[0].isalpha()
    }
    if keys:
        connection.execute(insert(tags), [{"tag": key, "event": seq[0]} for key in keys])
    if event.kind == DELETION:
        _delete_for(connection, event)
    return Outcome.SAVED


def address_of(event: Event) -> bytes | None:
    """Return the digest of a replaceable or addressable event's address, None for other kinds."""
    match storage(event.kind):
        case Storage.REPLACEABLE:
            return address_key(event.kind, event.pubkey, "")
        case Storage.ADDRESSABLE:
            return address_key(event.kind, event.pubkey, (*event.tag_values("d"), "")[0])
        case _:
            return None


def _is_deleted(connection: Connection, event: Event, address: bytes | None) -> bool:
    targets = deletions.c.target == bytes.fromhex(event.id)
    if address is not None:
        targets = or_(
            targets,
            and_(deletions.c.target == address, deletions.c.until >= event.created_at),
        )
    found = select(deletions.c.until).where(
        deletions.c.pubkey == bytes.fromhex(event.pubkey), targets
    )
    return connection.execute(found.limit(1)).first() is not None


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
    known = and_(deletions.c.pubkey == author, deletions.c.target == target)
    before = connection.scalar(select(deletions.c.until).where(known))
    if before is None:
        connection.execute(insert(deletions).values(pubkey=author, target=target, until=until))
    elif before < until:
        connection.execute(deletions.update().where(known).values(until=until))


def forget_old(connection: Connection, now: int, keep_days: int) -> bool:
    """Delete some events that have expired or are older than `keep_days`, if that is not 0.

    Returns whether there may be more.
    """
    old = events.c.expires_at <= now
    if keep_days:
        old = or_(old, events.c.created_at < now - keep_days * 86_400)
    some = select(events.c.seq).where(old).limit(_SWEEP_ROWS).scalar_subquery()
    return connection.execute(delete(events).where(events.c.seq.in_(some))).rowcount == _SWEEP_ROWS
