"""What outlives a run and belongs to no client: relays and the states of keys."""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from bunker_signer.store.database.engine import insert
from bunker_signer.store.database.schema import settings


def set_relays(connection: Connection, relays: Iterable[str]) -> None:
    """Remember the relays that the signer runs on, for `bunker signer pair`."""
    _set(connection, "relays", json.dumps(list(relays)))


def get_relays(connection: Connection) -> tuple[str, ...]:
    """Return the relays that the signer ran on last."""
    return tuple(json.loads(_get(connection, "relays") or "[]"))


def set_own_relays(connection: Connection, relays: Iterable[str]) -> None:
    """Remember the relays that the owner chose for looking up their own lists."""
    _set(connection, "own relays", json.dumps(list(relays)))


def get_own_relays(connection: Connection) -> tuple[str, ...]:
    """Return what `set_own_relays` remembered."""
    return tuple(json.loads(_get(connection, "own relays") or "[]"))


def set_key_state(connection: Connection, key_name: str, state: str | None) -> None:
    """Remember that a key is locked or paused; None forgets it."""
    if state is None:
        connection.execute(delete(settings).where(settings.c.name == f"state:{key_name}"))
    else:
        _set(connection, f"state:{key_name}", state)


def get_key_state(connection: Connection, key_name: str) -> str | None:
    """Return what `set_key_state` remembered."""
    return _get(connection, f"state:{key_name}")


def set_panicked(connection: Connection, *, panicked: bool) -> None:
    """Remember that after a panic only the command line unlocks; an unlock there ends it."""
    if panicked:
        _set(connection, "panicked", "yes")
    else:
        connection.execute(delete(settings).where(settings.c.name == "panicked"))


def is_panicked(connection: Connection) -> bool:
    """Tell whether there was a panic that no unlock at the machine has ended."""
    return _get(connection, "panicked") is not None


def set_number(connection: Connection, name: str, value: int) -> None:
    """Remember a number."""
    _set(connection, name, str(value))


def get_number(connection: Connection, name: str) -> int:
    """Return what `set_number` remembered, or 0."""
    return int(_get(connection, name) or 0)


def _set(connection: Connection, name: str, value: str) -> None:
    row = insert(connection, settings).values(name=name, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def _get(connection: Connection, name: str) -> str | None:
    value = connection.scalar(select(settings.c.value).where(settings.c.name == name))
    return None if value is None else str(value)
