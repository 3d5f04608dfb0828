"""A filter as SQL: text and parameters, without a database at hand.

A filter's values reach the database only as bound parameters, never as text of a statement. On
SQLite, which keeps no statistics, INDEXED BY and CROSS JOIN name the way; PostgreSQL's planner
finds it by itself.
"""

# ruff: noqa: S608 -- the texts are ours, and every value is a bound parameter

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from bunker_core.filter import Filter
from bunker_core.kinds import MESSAGES
from bunker_relay.store.database.schema import tag_key

_LATEST: Final = 2**63 - 1


class Way(Enum):
    """The index that leads to what a filter matches; the value is what SQLite is told."""

    ID = ""
    TAG = " NOT INDEXED"  # by `seq`, which the tags give
    AUTHOR_KIND = " INDEXED BY ix_events_author_kind"
    AUTHOR = " INDEXED BY ix_events_author"
    KIND = " INDEXED BY ix_events_kind"
    DATE = " INDEXED BY ix_events_created_at"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a filter is answered; the first of `tags` leads if that is the way."""

    item: Filter
    way: Way
    tags: tuple[tuple[str, frozenset[str]], ...]
    readers: frozenset[str] | None = None  # for whom alone messages are found; None for anyone

    @property
    def sources(self) -> list[list[Any]]:
        """What the sources are the product of: nothing, for all events."""
        match self.way:
            case Way.TAG:
                return [_keys(*self.tags[0])]
            case Way.AUTHOR_KIND:
                return [_raw(self.item.authors), sorted(self.item.kinds or ())]
            case Way.AUTHOR:
                return [_raw(self.item.authors)]
            case Way.KIND:
                return [sorted(self.item.kinds or ())]
            case _:
                return []


@dataclass(slots=True)
class SQL:
    """A statement's parameters, collected in the order in which they stand in its text."""

    postgres: bool
    values: list[Any] = field(default_factory=list)

    def value(self, value: Any) -> str:
        """Return the mark of one parameter."""
        self.values.append(value)
        return "%s" if self.postgres else "?"

    def any(self, column: str, values: Sequence[Any]) -> str:
        """Return the condition that `column` holds one of `values`."""
        if self.postgres:
            return f"{column} = ANY({self.array(values)})"
        self.values.extend(values)
        return f"{column} IN ({','.join('?' * len(values))})"

    def array(self, values: Sequence[Any]) -> str:
        """Return the mark of an array, which only PostgreSQL has."""
        kind = "int" if isinstance(values[0], int) else "bytea"
        return f"{self.value(list(values))}::{kind}[]"

    def hint(self, way: Way) -> str:
        """Return what only SQLite has to be told."""
        return "" if self.postgres else way.value


def matching(sql: SQL, plan: Plan, expired: int | None) -> str:
    """Return a statement for the `seq` of all that a filter matches.

    `expired` is the time since when what has an end has expired, None if there is no such event.
    """
    item = plan.item
    where: list[str] = []
    if item.ids is not None:
        where.append(sql.any("e.id", _raw(item.ids)))
    if plan.way is Way.TAG:
        inner = [sql.any("t.tag", _keys(*plan.tags[0])), *_dates(sql, "t", item)]
        if item.kinds is not None:
            inner.append(sql.any("t.kind", sorted(item.kinds)))
        where.append(f"e.seq IN (SELECT t.event FROM tags t WHERE {' AND '.join(inner)})")
    else:
        if item.kinds is not None:
            where.append(sql.any("e.kind", sorted(item.kinds)))
        where += _dates(sql, "e", item)
    where += _rest(sql, plan, "e", "e.seq", expired)
    if item.authors is not None:
        where.append(sql.any("e.pubkey", _raw(item.authors)))
    return f"SELECT e.seq FROM events e{sql.hint(plan.way)} WHERE {' AND '.join(where)}"


def newest(sql: SQL, plan: Plan, marks: Sequence[str], since: str, expired: int | None) -> str:
    """Return a statement for date and `seq` of what matches in one source, newest first.

    `marks` stand for what the source is, `since` for the oldest date that counts.
    """
    item = plan.item
    tagged = plan.way is Way.TAG
    row, event = ("t", "t.event") if tagged else ("e", "e.seq")
    columns = {
        Way.TAG: ["t.tag"],
        Way.AUTHOR_KIND: ["e.pubkey", "e.kind"],
        Way.AUTHOR: ["e.pubkey"],
        Way.KIND: ["e.kind"],
    }.get(plan.way, [])
    where = [f"{column} = {mark}" for column, mark in zip(columns, marks, strict=True)]
    where.append(f"{row}.created_at >= {since}")
    where.append(f"{row}.created_at <= {sql.value(_LATEST if item.until is None else item.until)}")
    if item.kinds is not None and plan.way in (Way.TAG, Way.AUTHOR):
        where.append(sql.any(f"{row}.kind", sorted(item.kinds)))
    where += _rest(sql, plan, row, event, expired)
    tables = "tags t" if tagged else f"events e{sql.hint(plan.way)}"
    if tagged and (item.authors is not None or expired is not None):
        # What only the event itself tells.
        tables += f" CROSS JOIN events e{sql.hint(plan.way)}"
        where.append("e.seq = t.event")
        if item.authors is not None:
            where.append(sql.any("e.pubkey", _raw(item.authors)))
    return (
        f"SELECT {row}.created_at, {event} AS event FROM {tables}"
        f" WHERE {' AND '.join(where)} ORDER BY {row}.created_at DESC"
    )


def tagged(sql: SQL, name: str, values: Iterable[str]) -> str:
    """Return a statement with a row for each event that has one of these tags."""
    return f"SELECT 1 FROM tags WHERE {sql.any('tag', _keys(name, values))}"


def written(sql: SQL, plan: Plan) -> str:
    """Return a statement with a row for each event of the authors, and of the kinds if given."""
    where = [sql.any("pubkey", _raw(plan.item.authors))]
    if plan.item.kinds is not None:
        where.append(sql.any("kind", sorted(plan.item.kinds)))
    return f"SELECT 1 FROM events{sql.hint(plan.way)} WHERE {' AND '.join(where)}"


def _rest(sql: SQL, plan: Plan, row: str, event: str, expired: int | None) -> list[str]:
    """Return the conditions that are looked up event by event."""
    where = []
    for name, values in plan.tags[plan.way is Way.TAG :]:
        tag = sql.any("u.tag", _keys(name, values))
        where.append(
            f"EXISTS (SELECT 1 FROM tags u WHERE {tag} AND u.created_at = {row}.created_at"
            f" AND u.kind = {row}.kind AND u.event = {event})"
        )
    if plan.readers is not None:
        where.append(_shown(sql, plan.readers, row, event))
    if expired is not None:
        where.append(f"(e.expires_at IS NULL OR e.expires_at > {sql.value(expired)})")
    return where


def _shown(sql: SQL, readers: frozenset[str], row: str, event: str) -> str:
    """Return the condition that an event is no message, or one that a reader is a party of."""
    ways = [f"{row}.kind NOT IN ({', '.join(map(str, sorted(MESSAGES)))})"]
    if readers:
        ways.append(
            f"EXISTS (SELECT 1 FROM events w WHERE w.seq = {event}"
            f" AND {sql.any('w.pubkey', _raw(readers))})"
        )
        ways.append(
            f"EXISTS (SELECT 1 FROM tags v WHERE {sql.any('v.tag', _keys('p', readers))}"
            f" AND v.created_at = {row}.created_at AND v.kind = {row}.kind AND v.event = {event})"
        )
    return f"({' OR '.join(ways)})"


def _dates(sql: SQL, row: str, item: Filter) -> list[str]:
    where = [f"{row}.created_at >= {sql.value(item.since or 0)}"]
    if item.until is not None:
        where.append(f"{row}.created_at <= {sql.value(item.until)}")
    return where


def _keys(name: str, values: Iterable[str]) -> list[bytes]:
    # Sorted, here and elsewhere: neighbours in an index are read together.
    return sorted(tag_key(name, value) for value in values)


def _raw(values: Iterable[str] | None) -> list[bytes]:
    return sorted(map(bytes.fromhex, values or ()))
