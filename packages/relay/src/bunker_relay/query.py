"""The reading half of the store: a filter as SQL.

A filter's values reach the database only as bound parameters, never as text of a statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, union
from sqlalchemy.engine import Connection

from bunker_core.filter import Filter
from bunker_relay.outcome import Stored
from bunker_relay.schema import events, tag_key, tags


def select_events(
    connection: Connection, filters: Iterable[Filter], now: int, *, default: int, most: int
) -> list[Stored]:
    """Return what any filter matches, newest first, the lowest id first in a tie.

    Each filter brings at most its `limit`, or `default`, and never more than `most`.
    """
    found: dict[bytes, tuple[int, bytes, bytes]] = {}
    for item in filters:
        limit = default if item.limit is None else min(item.limit, most)
        if item.never or limit == 0:
            continue
        statement = (
            _matching(select(events.c.created_at, events.c.id, events.c.json), item, now)
            .order_by(events.c.created_at.desc(), events.c.id)
            .limit(limit)
        )
        for created_at, identifier, event_json in connection.execute(statement):
            found[identifier] = (-created_at, identifier, event_json)
    return [
        Stored(identifier.hex(), event_json) for _, identifier, event_json in sorted(found.values())
    ]


def count_events(connection: Connection, filters: Sequence[Filter], now: int) -> int:
    """Return how many events any filter matches; `limit` is ignored (NIP-45)."""
    parts = [_matching(select(events.c.seq), item, now) for item in filters if not item.never]
    if not parts:
        return 0
    matching = (parts[0] if len(parts) == 1 else union(*parts)).subquery()
    return connection.scalar(select(func.count()).select_from(matching)) or 0


def _matching(statement: Select[Any], item: Filter, now: int) -> Select[Any]:
    statement = statement.where(or_(events.c.expires_at.is_(None), events.c.expires_at > now))
    if item.ids is not None:
        statement = statement.where(_in(events.c.id, map(bytes.fromhex, item.ids)))
    if item.authors is not None:
        statement = statement.where(_in(events.c.pubkey, map(bytes.fromhex, item.authors)))
    if item.kinds is not None:
        statement = statement.where(_in(events.c.kind, item.kinds))
    if item.since is not None:
        statement = statement.where(events.c.created_at >= item.since)
    if item.until is not None:
        statement = statement.where(events.c.created_at <= item.until)
    for name, values in item.tags:
        keys = (tag_key(name, value) for value in values)
        statement = statement.where(
            events.c.seq.in_(select(tags.c.event).where(_in(tags.c.tag, keys)))
        )
    return statement


def _in(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    # Sorted: the same filter is the same statement, and neighbours in an index are read together.
    return column.in_(sorted(values))
