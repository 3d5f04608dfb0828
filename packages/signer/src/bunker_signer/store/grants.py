"""What clients may do without asking, as it is stored."""

from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, update

from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.store.database import cache
from bunker_signer.store.database.engine import insert
from bunker_signer.store.database.prepared import Statement
from bunker_signer.store.database.schema import grants

_OF: Final = Statement(
    select(
        grants.c.method,
        grants.c.param,
        grants.c.effect,
        grants.c.expires_at,
        grants.c.uses_left,
        grants.c.rate_count,
        grants.c.rate_seconds,
        grants.c.window_start,
        grants.c.window_used,
        grants.c.id,
    )
    .where(
        grants.c.key_name == bindparam("of_key"), grants.c.client_pubkey == bindparam("of_client")
    )
    .order_by(grants.c.id)
)


def of(connection: Connection, key_name: str, client_pubkey: str) -> tuple[Grant, ...]:
    """Return the grants of a client, the oldest first."""
    cached = cache.of(connection)
    name = cache.name(key_name, client_pubkey)
    held = None if cached is None else cached.grants.get(name)
    if held is None:
        cursor = _OF.run(connection, of_key=key_name, of_client=client_pubkey)
        held = tuple(map(_grant, cursor.fetchall()))
        if cached is not None:
            cached.grants.put(name, held)
    return held


def put(connection: Connection, key_name: str, client_pubkey: str, grant: Grant, now: int) -> None:
    """Give a grant to a client, in place of one of the same method and parameter."""
    values: dict[str, Any] = {
        "effect": grant.effect.value,
        "created_at": now,
        "expires_at": grant.expires_at,
        "uses_left": grant.uses_left,
        "rate_count": grant.rate.count if grant.rate else None,
        "rate_seconds": grant.rate.seconds if grant.rate else None,
        "window_start": 0,
        "window_used": 0,
    }
    names = {
        "key_name": key_name,
        "client_pubkey": client_pubkey,
        "method": grant.method,
        "param": grant.param or "",
    }
    row = insert(connection, grants).values(**names, **values)
    connection.execute(row.on_conflict_do_update(index_elements=list(names), set_=values))
    cache.forget_client(connection, key_name, client_pubkey)


def use(connection: Connection, grant: Grant, now: int) -> None:
    """Count one use of a grant."""
    used = grant.used(now)
    if used is grant:
        return  # without a limit there is nothing to count
    cache.forget_grants(connection)
    connection.execute(
        update(grants)
        .where(grants.c.id == grant.id)
        .values(
            uses_left=used.uses_left,
            window_start=used.window_start,
            window_used=used.window_used,
        )
    )


def remove(connection: Connection, grant_id: int) -> bool:
    """Take one grant away; return whether it was there."""
    cache.forget_grants(connection)
    return connection.execute(delete(grants).where(grants.c.id == grant_id)).rowcount == 1


def remove_all(connection: Connection, key_name: str, client_pubkey: str) -> None:
    """Take all grants of a client away."""
    cache.forget_client(connection, key_name, client_pubkey)
    connection.execute(delete(grants).where(_held_by(key_name, client_pubkey)))


def _held_by(key_name: str, client_pubkey: str) -> Any:
    return (grants.c.key_name == key_name) & (grants.c.client_pubkey == client_pubkey)


def _grant(row: Any) -> Grant:
    method, param, effect, expires_at, uses_left, count, seconds, start, used, number = row
    rate = None if count is None else Rate(count, seconds)
    return Grant(
        method, param or None, Effect(effect), expires_at, uses_left, rate, start, used, number
    )
