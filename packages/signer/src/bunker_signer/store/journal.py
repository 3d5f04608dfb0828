"""The journal of requests that want the key: what makes every one answered exactly once.

    open      written down, waits for a person
    approved  may use the key; the right to it is spent
    answered  the answer is written down, nobody may have it yet
    done      a relay delivered it

A request moves down this list, each step in the transaction that holds what it stands for. A
process that is killed leaves it where it was; the next one takes it up from there. The answer is
released only after it was written down, so a request has one answer however often it is repeated.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Executable,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bunker_core.nips.nip46 import Request
from bunker_signer.store.database.prepared import Statement
from bunker_signer.store.database.schema import handled, requests

# A client that comes back within the hour and repeats itself gets its answer.
KEEP_ANSWERS: Final = 3600  # seconds


def _mark_in_postgres() -> Executable:
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(handled).on_conflict_do_nothing()


_MARK: Final = Statement(sqlite_insert(handled).on_conflict_do_nothing(), _mark_in_postgres)
_FIND: Final = Statement(select(requests).where(requests.c.digest == bindparam("of_digest")))
_ADD: Final = Statement(insert(requests))


class State(Enum):
    """How far a request has come."""

    OPEN = "open"
    APPROVED = "approved"
    ANSWERED = "answered"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """A request in the journal."""

    digest: str
    key_name: str
    client_pubkey: str
    event: str  # JSON of the request event, "" once it is answered
    relay_url: str
    state: State
    received_at: int
    decided_by: str
    answer: str


def digest_of(key_name: str, client_pubkey: str, request: Request) -> str:
    """Return what tells requests apart: the same client, id and content is the same request.

    The id alone would not do: libraries draw ids so short that they collide.
    """
    parts = (key_name, client_pubkey, request.to_json())
    return sha256(b"\0".join(part.encode() for part in parts)).hexdigest()


def mark_handled(connection: Connection, event_id: str, now: int) -> bool:
    """Remember a request event; return whether it is new."""
    return bool(_MARK.run(connection, event_id=event_id, handled_at=now).rowcount == 1)


def find(connection: Connection, digest: str) -> Entry | None:
    """Return the journal's entry of a request."""
    row = _FIND.run(connection, of_digest=digest).fetchone()
    return None if row is None else _entry(row)


def add(connection: Connection, entry: Entry) -> None:
    """Write a request down."""
    _ADD.run(
        connection,
        digest=entry.digest,
        key_name=entry.key_name,
        client_pubkey=entry.client_pubkey,
        event=entry.event,
        relay_url=entry.relay_url,
        state=entry.state.value,
        received_at=entry.received_at,
        decided_by=entry.decided_by,
        answer=entry.answer,
    )


def approve(connection: Connection, digest: str, decided_by: str) -> bool:
    """Let an open request have the key; return whether it is still there."""
    return _moved(connection, _APPROVE, digest, State.APPROVED, to_by=decided_by)


def answer(connection: Connection, digest: str, text: str) -> bool:
    """Write the answer down; return False when there is one already, or the client is gone."""
    return _moved(connection, _ANSWER, digest, State.ANSWERED, to_answer=text, no_event="")


def finish(connection: Connection, digest: str) -> bool:
    """Note that the answer was delivered."""
    return _moved(connection, _FINISH, digest, State.DONE)


def replace(connection: Connection, digest: str, text: str) -> None:
    """Write another answer down in place of the one that no relay carries."""
    known = (requests.c.digest == digest) & (requests.c.state == State.ANSWERED.value)
    connection.execute(update(requests).where(known).values(answer=text))


def forget(connection: Connection, digest: str) -> None:
    """Drop a request whose answer a repetition should not repeat, such as `locked:`."""
    connection.execute(delete(requests).where(requests.c.digest == digest))


def undone(connection: Connection) -> tuple[Entry, ...]:
    """Return what an earlier run left open, the oldest first."""
    query = select(requests).where(requests.c.state != State.DONE.value)
    return tuple(map(_entry, connection.execute(query.order_by(requests.c.received_at))))


def clean(connection: Connection, now: int, keep_events: int) -> None:
    """Drop event ids older than `keep_events` seconds and answers older than KEEP_ANSWERS."""
    connection.execute(delete(handled).where(handled.c.handled_at < now - keep_events))
    connection.execute(delete(requests).where(requests.c.received_at < now - KEEP_ANSWERS))


def shrink(connection: Connection, key_name: str, client_pubkey: str, keep_bytes: int) -> int:
    """Drop a client's oldest answers beyond so many bytes of them; return how many went."""
    theirs = (requests.c.key_name == key_name) & (requests.c.client_pubkey == client_pubkey)
    answered = requests.c.state.in_((State.ANSWERED.value, State.DONE.value))
    sizes = select(requests.c.digest, func.length(requests.c.answer)).where(theirs, answered)
    newest_first = sizes.order_by(requests.c.received_at.desc(), requests.c.digest)
    kept, gone = 0, []
    for digest, size in connection.execute(newest_first):
        kept += size
        if kept > keep_bytes:
            gone.append(digest)
    for first in range(0, len(gone), 500):
        some = requests.c.digest.in_(gone[first : first + 500])
        connection.execute(delete(requests).where(some))
    return len(gone)


def _moved(
    connection: Connection, move: Statement, digest: str, state: State, **values: str
) -> bool:
    cursor = move.run(connection, of_digest=digest, to_state=state.value, **values)
    return bool(cursor.rowcount == 1)


def _move(*states: State, **values: str) -> Executable:
    """Return the statement that moves a request on from one of `states`."""
    known = requests.c.digest == bindparam("of_digest")
    state = or_(*(requests.c.state == item.value for item in states))
    columns: dict[str, Any] = {column: bindparam(name) for column, name in values.items()}
    return update(requests).where(known, state).values(state=bindparam("to_state"), **columns)


_APPROVE: Final = Statement(_move(State.OPEN, State.APPROVED, decided_by="to_by"))
_ANSWER: Final = Statement(_move(State.OPEN, State.APPROVED, answer="to_answer", event="no_event"))
_FINISH: Final = Statement(_move(State.ANSWERED))


def _entry(row: Any) -> Entry:
    digest, key_name, pubkey, event, relay_url, state, received_at, decided_by, answer = row
    return Entry(
        digest, key_name, pubkey, event, relay_url, State(state), received_at, decided_by, answer
    )
