"""The audit log as it is stored: appended, read, let go from the old end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, text, update

from bunker_signer.store.audit_chain import (
    GENESIS,
    AuditEntry,
    ChainError,
    Ends,
    digest_of,
    verify,
)
from bunker_signer.store.database import cache
from bunker_signer.store.database.engine import insert
from bunker_signer.store.database.prepared import Statement
from bunker_signer.store.database.schema import audit, audit_ends

NAMING: Final = ("pair", "rename", "revoke", "logout")  # actions that tell a client's name
_NAMES: Final = 100  # names of one client that are remembered

_ONLY: Final = 1
_DAY: Final = 86400

_EMPTY: Final = AuditEntry(0, 0, "", "").to_dict()

_ENDS: Final = select(audit_ends).where(audit_ends.c.id == _ONLY)
# Two processes append in turn: PostgreSQL by this lock, SQLite by BEGIN IMMEDIATE.
_ENDS_LOCKED: Final = Statement(_ENDS.with_for_update())
_APPEND: Final = Statement(audit.insert())
_ADVANCE: Final = Statement(
    update(audit_ends)
    .where(audit_ends.c.id == _ONLY)
    .values(last_seq=bindparam("to_seq"), last_hash=bindparam("to_hash"))
)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None is any."""

    key_name: str | None = None
    client_pubkey: str | None = None
    method: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: int | None = None
    until: int | None = None


def append(connection: Connection, at: int, action: str, key_name: str, **facts: str) -> None:
    """Add an entry in the transaction of what it tells about.

    `facts` are the other fields of an AuditEntry, those that are not given empty.
    """
    cached = cache.of(connection)
    last = None if cached is None else cached.audit_end
    if last is None:
        # Nobody else appends before the transaction ends.
        ends = _ends(connection, lock=True)
        last = ends.last_seq, ends.last_hash
    # Not by an AuditEntry, which takes as long as the insert.
    own: dict[str, Any] = {
        "seq": last[0] + 1,
        "at": at,
        "action": action,
        "key_name": key_name,
        "previous": last[1],
    }
    fields = _EMPTY | facts | own
    if len(fields) != len(_EMPTY):
        raise TypeError(f"an audit entry has no {', '.join(facts.keys() - _EMPTY.keys())}")
    fields["hash"] = digest_of(fields)
    _APPEND.run(connection, **fields)
    if cached is None:
        _ADVANCE.run(connection, to_seq=fields["seq"], to_hash=fields["hash"])
    else:
        cached.audit_end = fields["seq"], fields["hash"]
        cached.before_commit = _advance  # once for all entries of a transaction


def entries(
    connection: Connection, wanted: AuditFilter | None = None, last: int | None = None
) -> Iterator[AuditEntry]:
    """Yield entries in order, only the `last` ones if given."""
    wanted = wanted or AuditFilter()
    query = select(audit)
    for name in ("key_name", "client_pubkey", "method", "action"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(audit.c[name] == value)
    if wanted.outcome is not None:
        query = query.where(audit.c.outcome.startswith(wanted.outcome, autoescape=True))
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.at <= wanted.until)
    if last is not None:
        newest = select(query.order_by(audit.c.seq.desc()).limit(last).subquery())
        query = newest.order_by(newest.selected_columns.seq)
    else:
        query = query.order_by(audit.c.seq)
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield AuditEntry(**row._mapping)


def requests_by_day(
    connection: Connection, since: int, client_pubkey: str | None = None
) -> dict[tuple[int, str], int]:
    """Return how many requests each client made on each day (of 86,400 s) from `since` on."""
    day = audit.c.at // _DAY
    query = select(day, audit.c.client_pubkey, func.count()).where(
        audit.c.action == "request", audit.c.at >= since
    )
    if client_pubkey is not None:
        query = query.where(audit.c.client_pubkey == client_pubkey)
    rows = connection.execute(query.group_by(day, audit.c.client_pubkey))
    return {(int(number), pubkey): count for number, pubkey, count in rows}


def names(connection: Connection, pubkeys: Iterable[str]) -> dict[str, tuple[tuple[int, str], ...]]:
    """Return what clients were called, as far as the log has it: (seq, name) in order.

    An entry that names a client holds its name in `param`: pairing, renaming, and each end.
    """
    query = (
        select(audit.c.client_pubkey, audit.c.seq, audit.c.param)
        .where(audit.c.client_pubkey.in_(list(pubkeys)))
        # As text: the index of these alone is found by these words.
        .where(text("method = ''"), audit.c.action.in_(NAMING), audit.c.param != "")
        .order_by(audit.c.seq)
    )
    found: dict[str, tuple[tuple[int, str], ...]] = {}
    for pubkey, seq, name in connection.execute(query):
        found[pubkey] = (*found.get(pubkey, ()), (seq, name))[-_NAMES:]
    return found


def check(connection: Connection, expected_hash: str | None = None) -> tuple[int, str]:
    """Verify the whole log; return its length and last hash. Raises ChainError.

    `expected_hash` is the last hash of an earlier check: that entry has to be there still.
    """
    result = verify(entries(connection), _ends(connection))
    if expected_hash is not None:
        known = select(audit.c.seq).where(audit.c.hash == expected_hash)
        first = select(audit_ends.c.id).where(audit_ends.c.first_previous == expected_hash)
        if connection.scalar(known) is None and connection.scalar(first) is None:
            raise ChainError("the entry noted before is not in the log: it was written anew")
    return result


def head(connection: Connection) -> tuple[int, str]:
    """Return how many entries were ever written, and the hash of the last."""
    ends = _ends(connection)
    return ends.last_seq, ends.last_hash


def let_go(connection: Connection, before: int) -> int:
    """Remove entries older than `before`; the rest stays verifiable. Returns how many went."""
    ends = _ends(connection, lock=True)
    kept = select(audit).where(audit.c.at >= before).order_by(audit.c.seq).limit(1)
    row = connection.execute(kept).first()
    first_seq = row.seq if row else ends.last_seq + 1
    first_previous = row.previous if row else ends.last_hash
    count = connection.execute(delete(audit).where(audit.c.seq < first_seq)).rowcount
    connection.execute(
        update(audit_ends)
        .where(audit_ends.c.id == _ONLY)
        .values(first_seq=first_seq, first_previous=first_previous)
    )
    return count


def _advance(connection: Connection) -> None:
    """Write down where the chain ends: the last thing in a transaction that has added to it."""
    cached = cache.of(connection)
    if cached is not None and cached.audit_end is not None:
        seq, digest = cached.audit_end
        _ADVANCE.run(connection, to_seq=seq, to_hash=digest)


def _ends(connection: Connection, *, lock: bool = False) -> Ends:
    if not lock:
        row = connection.execute(_ENDS).first()
        return _read_ends(row) if row else Ends(1, GENESIS, 0, GENESIS)
    row = _ENDS_LOCKED.run(connection).fetchone()
    if row is None:
        values = {"first_seq": 1, "first_previous": GENESIS, "last_seq": 0, "last_hash": GENESIS}
        fresh = insert(connection, audit_ends).values(id=_ONLY, **values)
        connection.execute(fresh.on_conflict_do_nothing())
        row = _ENDS_LOCKED.run(connection).fetchone()
    return _read_ends(row)


def _read_ends(row: Any) -> Ends:
    _, first_seq, first_previous, last_seq, last_hash = row
    return Ends(first_seq, first_previous, last_seq, last_hash)
