"""The reading half of the store: what of the stored events a filter wants, newest first.

How a filter is answered. One statement says what the filter means (`sql.matching`), and it
would do alone; but for "the newest 50 of these 300 authors" it would fetch all that the 300 have
ever written, and sort it. So the store first asks for a bound: a date since when there are enough
matches. The filter is taken apart into sources, each one stretch of an index that lies in the
order of dates: a tag's value, or an author and a kind, or an author, or a kind, or simply all
events. From each source the newest dates are read, out of the index alone, and never more than
the limit; on SQLite none that is older than the limit-th newest so far. The limit-th newest of
them all is the bound. The statement then runs with `since` set to it, and finds the limit and what
else happened in that very second, whatever the size of the database. Where there is no bound,
fewer events match than were asked for, and the statement has as few to sort.

The bound decides how long a query takes and never what it returns, as long as what it counts does
match and is counted once. A condition that the index does not hold (authors beside tags, a second
tag) is looked up event by event; which of the conditions leads is decided by a glance at how many
events each of them has (`_plan`). A filter of two common conditions that are seldom met together
takes as long as the rarer one is, and ends at the time limit.
"""

# ruff: noqa: S608 -- the texts are ours, and every value is a bound parameter

import heapq
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from typing import Any, Final

from sqlalchemy.engine import Connection

from bunker_core.filter import Filter
from bunker_core.kinds import MESSAGES
from bunker_relay.store.database.engine import is_postgres, sqlite
from bunker_relay.store.outcome import PAGE_BYTES, Found, Stored
from bunker_relay.store.sql import SQL, Plan, Way, matching, newest, tagged, written

_MOST_PAIRS: Final = 4_000  # of author and kind; beyond them the author alone is a source
_WHOLE: Final = 4  # times the largest limit: what all filters of a query bring together
_ROWS: Final = 500  # read in one statement
_FEW, _MANY = 100, 1_000  # events: so few lead well, more than so many are not counted
_ALONG: Final = 4 * PAGE_BYTES  # of JSON that may come with what is found, for all its events
_LEAST: Final = 300  # bytes: hardly an event is smaller

Check = Callable[[], None]
_Row = tuple[int, bytes, int, int, bytes | None]  # -created_at, id, seq, size and, if small, JSON


def select_events(
    connection: Connection, filters: Iterable[Filter], now: int, *, default: int, most: int
) -> list[Stored]:
    """Return all that `find_events` finds, with its JSON."""
    found, stored = find_events(connection, filters, now, default=default, most=most)
    return stored + read_events(connection, found, range(len(stored), len(found)))


def find_events(
    connection: Connection,
    filters: Iterable[Filter],
    now: int,
    *,
    default: int,
    most: int,
    readers: frozenset[str] | None = None,
    check: Check = lambda: None,
) -> tuple[Found, list[Stored]]:
    """Find what any filter matches, newest first, the lowest id first in a tie.

    With it comes the first page of the events themselves; nothing when that is one large event.

    Each filter brings at most its `limit`, or `default`, and never more than `most`; all of them
    together four times that. Messages are found for `readers` alone, if given: pubkeys that wrote
    or receive them. `check` is called between statements, and may raise.
    """
    found: dict[bytes, _Row] = {}
    expired = _some_expired(connection, now)
    length = "octet_length" if is_postgres(connection) else "length"
    more = False
    limits = [
        (item, default if item.limit is None else min(item.limit, most))
        for item in filters
        if not item.never
    ]
    # What is so small that all may come at once is not asked for in a second statement.
    small = _ALONG // max(1, sum(limit for _, limit in limits))
    json = f"CASE WHEN {length}(json) <= {small} THEN json END" if small >= _LEAST else "NULL"
    for item, limit in limits:
        if limit == 0:
            continue
        check()
        plan = replace(_plan(connection, item), readers=_readers_for(item, readers))
        bound = _bound(connection, plan, expired, limit, check)
        if bound is not None:
            plan = replace(plan, item=replace(item, since=bound))
        check()
        sql = SQL(is_postgres(connection))
        seqs = matching(sql, plan, expired)
        rows = _run(
            connection,
            f"SELECT -created_at, id, seq, {length}(json), {json} FROM events WHERE seq IN"
            f" ({seqs} ORDER BY e.created_at DESC, e.id LIMIT {sql.value(limit)})",
            sql,
        )
        more = more or len(rows) >= limit
        found.update((row[1], row) for row in rows)
        if len(found) > 2 * _WHOLE * most:
            found = {row[1]: row for row in sorted(found.values())[: _WHOLE * most]}
            more = True
    ordered = sorted(found.values())[: _WHOLE * most]
    if not ordered:
        return Found(), []
    _, ids, numbers, sizes, texts = zip(*ordered, strict=True)
    result = Found(ids, numbers, sizes, more=more or len(ordered) < len(found))
    indices, size = result.page(0)
    if size > PAGE_BYTES:
        return result, []
    first = texts[: indices.stop]
    if None in first:
        return result, read_events(connection, result, indices)
    return result, list(map(Stored, map(bytes.hex, ids), first))


def read_events(connection: Connection, found: Found, indices: range) -> list[Stored]:
    """Return some of the events found, less those that are gone by now."""
    events: dict[int, tuple[bytes, bytes]] = {}
    for start in range(0, len(indices), _ROWS):
        sql = SQL(is_postgres(connection))
        seqs = [found.seqs[index] for index in indices[start : start + _ROWS]]
        text = f"SELECT seq, id, json FROM events WHERE {sql.any('seq', seqs)}"
        for seq, identifier, event_json in _run(connection, text, sql):
            events[seq] = identifier, event_json
    stored = []
    for index in indices:
        identifier, event_json = events.get(found.seqs[index], (b"", b""))
        if identifier == found.id_at(index):  # a `seq` may have been given to another since
            stored.append(Stored(identifier.hex(), event_json))
    return stored


def count_events(
    connection: Connection,
    filters: Iterable[Filter],
    now: int,
    *,
    readers: frozenset[str] | None = None,
) -> int:
    """Return how many events any filter matches; `limit` is ignored (NIP-45)."""
    expired = _some_expired(connection, now)
    sql = SQL(is_postgres(connection))
    plans = [
        replace(_plan(connection, item), readers=_readers_for(item, readers))
        for item in filters
        if not item.never
    ]
    if not plans:
        return 0
    seqs = " UNION ".join(matching(sql, plan, expired) for plan in plans)
    ((count,),) = _run(connection, f"SELECT count(*) FROM ({seqs}) AS matching", sql)
    return int(count)


def _readers_for(item: Filter, readers: frozenset[str] | None) -> frozenset[str] | None:
    """Return `readers` where `item` could match messages of others, else None."""
    if readers is None or not (item.kinds is None or item.kinds & MESSAGES):
        return None
    own = item.authors is not None and item.authors <= readers
    recipients = item.tag("p")
    own = own or (recipients is not None and recipients <= readers)
    return None if own else readers


def _some_expired(connection: Connection, now: int) -> int | None:
    """Return `now` if something has expired and was not swept yet, which is seldom."""
    sql = SQL(is_postgres(connection))
    text = f"SELECT seq FROM events WHERE expires_at <= {sql.value(now)} LIMIT 1"
    return now if _run(connection, text, sql) else None


def _plan(connection: Connection, item: Filter) -> Plan:
    """Choose the way; where there are several, by a glance at how many events lie on each."""
    if item.ids is not None:
        return Plan(item, Way.ID, item.tags)
    pairs = len(item.authors or ()) * len(item.kinds or ())
    if item.authors is not None:
        way = Way.AUTHOR_KIND if 0 < pairs <= _MOST_PAIRS else Way.AUTHOR
    else:
        way = Way.DATE if item.kinds is None else Way.KIND
    plan = Plan(item, way, item.tags)
    if not item.tags:
        return plan
    if item.authors is None and len(item.tags) == 1:
        return replace(plan, way=Way.TAG)
    postgres = is_postgres(connection)
    counts = []
    for name, values in item.tags:
        sql = SQL(postgres)
        counts.append(_glance(connection, tagged(sql, name, values), sql))
    least = min(counts)
    if item.authors is not None and least > _FEW:
        sql = SQL(postgres)
        if _glance(connection, written(sql, plan), sql) < least:
            return plan
    first = item.tags[counts.index(least)]
    rest = (tag for tag in item.tags if tag != first)
    return Plan(item, Way.TAG, (first, *rest))


def _glance(connection: Connection, text: str, sql: SQL) -> int:
    """Count the rows of a statement, but stop when they are many."""
    text = f"SELECT count(*) FROM ({text} LIMIT {sql.value(_MANY)}) AS met"
    ((count,),) = _run(connection, text, sql)
    return int(count)


def _bound(
    connection: Connection, plan: Plan, expired: int | None, limit: int, check: Check
) -> int | None:
    """Return a date since when at least `limit` events match; None if no such date is known."""
    if plan.way is Way.ID:
        return None
    if not is_postgres(connection):
        return _bound_of_each(connection, plan, expired, limit, check)
    sources = plan.sources
    count = 1
    for values in sources:
        count *= len(values)
    # A few of each of many sources give a bound as true, if an older one; and seldom too few.
    share = 1 + 4 * limit // count
    if share < limit:
        bound = _bound_of_all(connection, plan, expired, limit, share)
        if bound is not None:
            return bound
        check()
    return _bound_of_all(connection, plan, expired, limit, limit)


def _bound_of_each(
    connection: Connection, plan: Plan, expired: int | None, limit: int, check: Check
) -> int | None:
    """Ask source by source, each only for what is newer than the bound so far."""
    sources = plan.sources
    sql = SQL(postgres=False)
    text = newest(sql, plan, "?" * len(sources), "?", expired) + f" LIMIT {sql.value(limit)}"
    since = plan.item.since or 0
    dates: list[int] = []  # a heap of the newest: the oldest of them is on top
    counted: set[int] = set()  # an event may carry two of the tags asked for
    with sqlite(connection) as raw, closing(raw.cursor()) as cursor:
        for source in product(*sources):
            check()
            for created_at, event in cursor.execute(text, (*source, since, *sql.values)):
                if event in counted:
                    continue
                counted.add(event)
                if len(dates) < limit:
                    heapq.heappush(dates, created_at)
                elif created_at > dates[0]:
                    heapq.heapreplace(dates, created_at)
                else:
                    break  # what follows in this source is no newer
            if len(dates) == limit:
                since = dates[0]
    return dates[0] if len(dates) == limit else None


def _bound_of_all(
    connection: Connection, plan: Plan, expired: int | None, limit: int, share: int
) -> int | None:
    """Ask all sources in one statement, each for `share` events: a round trip costs more."""
    sources = plan.sources
    sql = SQL(postgres=True)
    tables = [f"unnest({sql.array(values)}) AS s{n}(v)" for n, values in enumerate(sources)]
    marks = [f"s{n}.v" for n in range(len(sources))]
    one = newest(sql, plan, marks, sql.value(plan.item.since or 0), expired)
    tables.append(f"LATERAL ({one} LIMIT {sql.value(share)}) AS source")
    # An event may carry two of the tags asked for.
    distinct = "DISTINCT" if plan.way is Way.TAG else ""
    ((count, oldest),) = _run(
        connection,
        f"SELECT count(*), min(created_at) FROM (SELECT {distinct} created_at, event FROM"
        f" {' CROSS JOIN '.join(tables)} ORDER BY 1 DESC LIMIT {sql.value(limit)}) AS newest",
        sql,
    )
    return int(oldest) if count == limit else None


def _run(connection: Connection, text: str, sql: SQL) -> Sequence[Any]:
    if sql.postgres:
        rows = connection.exec_driver_sql(text, tuple(sql.values)).fetchall()
        return list(map(tuple, rows))
    with sqlite(connection) as raw:
        return raw.execute(text, sql.values).fetchall()
