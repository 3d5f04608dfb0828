"""What the signer remembers: clients, their grants, one-time secrets and handled events.

SQLAlchemy Core on SQLite. No key and no content is ever in it; secrets only as their SHA-256.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.errors import BunkerError
from bunker_core.nip46 import ClientMetadata, Permission

SECRET_LIFETIME: Final = 24 * 3600  # seconds that an unused secret is good for
ANY: Final = ""  # in the param column: the grant is not bound to a kind

metadata: Final = MetaData()

clients: Final = Table(
    "clients",
    metadata,
    Column("pubkey", String(64), primary_key=True),
    Column("name", String, nullable=False, default=""),
    Column("url", String, nullable=False, default=""),
    Column("image", String, nullable=False, default=""),
    Column("relays", String, nullable=False, default="[]"),  # JSON array, of nostrconnect://
    Column("paired_at", Integer, nullable=False),
    Column("last_seen", Integer, nullable=False),
)
grants: Final = Table(
    "grants",
    metadata,
    Column("client_pubkey", String(64), primary_key=True),
    Column("method", String, primary_key=True),
    Column("param", String, primary_key=True),
    Column("created_at", Integer, nullable=False),
)
# `grants` is what a client gets that pairs with the secret.
secrets: Final = Table(
    "secrets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("grants", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("used_by", String(64)),
)
handled: Final = Table(
    "handled",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("handled_at", Integer, nullable=False, index=True),
)
settings: Final = Table(
    "settings",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)


class StoreError(BunkerError):
    """The signer's database can't be read or written."""


@dataclass(frozen=True, slots=True)
class Client:
    """A paired client. Times are Unix seconds."""

    pubkey: str
    metadata: ClientMetadata
    relays: tuple[str, ...]
    paired_at: int
    last_seen: int


class Store:
    """The signer's database. Each method is one transaction; all raise StoreError."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        try:
            metadata.create_all(self._engine)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise StoreError(f"{path} can't be used: {_cause(error)}") from None

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    # --- secrets -------------------------------------------------------------------------------

    def add_secret(self, secret: str, permissions: Iterable[Permission], now: int) -> None:
        """Make `secret` good for pairing one client, which then gets `permissions`.

        Unused secrets older than SECRET_LIFETIME are dropped.
        """
        row = {
            "digest": _digest(secret),
            "grants": json.dumps([[item.method, item.param or ANY] for item in permissions]),
            "created_at": now,
        }
        with self._transaction() as connection:
            connection.execute(delete(secrets).where(secrets.c.created_at < now - SECRET_LIFETIME))
            connection.execute(insert(secrets).values(row))

    def pair(self, pubkey: str, secret: str, client_metadata: ClientMetadata, now: int) -> bool:
        """Admit a client by an unused secret, once; return whether it was good.

        The secret is spent and the client stored in one transaction. The look-up is by SHA-256,
        so its time tells nothing about a secret that is nearly right.
        """
        unused = (
            (secrets.c.digest == _digest(secret))
            & secrets.c.used_by.is_(None)
            & (secrets.c.created_at >= now - SECRET_LIFETIME)
        )
        with self._transaction() as connection:
            granted = connection.scalar(select(secrets.c.grants).where(unused))
            if granted is None:
                return False
            connection.execute(update(secrets).where(unused).values(used_by=pubkey))
            _add_client(connection, pubkey, client_metadata, (), now)
            _add_grants(connection, pubkey, json.loads(granted), now)
        return True

    # --- clients -------------------------------------------------------------------------------

    def add_client(
        self,
        pubkey: str,
        client_metadata: ClientMetadata,
        relays: Iterable[str],
        permissions: Iterable[Permission],
        now: int,
    ) -> None:
        """Admit a client that the owner invited himself (nostrconnect://)."""
        pairs = [[item.method, item.param or ANY] for item in permissions]
        with self._transaction() as connection:
            _add_client(connection, pubkey, client_metadata, relays, now)
            _add_grants(connection, pubkey, pairs, now)

    def client(self, pubkey: str) -> Client | None:
        """Return a paired client."""
        with self._transaction() as connection:
            row = connection.execute(select(clients).where(clients.c.pubkey == pubkey)).first()
        return None if row is None else _client(row)

    def clients(self) -> tuple[Client, ...]:
        """Return all paired clients, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(select(clients).order_by(clients.c.paired_at)).all()
        return tuple(map(_client, rows))

    def remove_client(self, pubkey: str) -> None:
        """Forget a client and its grants."""
        with self._transaction() as connection:
            connection.execute(delete(clients).where(clients.c.pubkey == pubkey))
            connection.execute(delete(grants).where(grants.c.client_pubkey == pubkey))

    # --- grants --------------------------------------------------------------------------------

    def grants(self, pubkey: str) -> tuple[Permission, ...]:
        """Return what a client may do without asking."""
        query = select(grants.c.method, grants.c.param).where(grants.c.client_pubkey == pubkey)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return tuple(Permission(method, param or None) for method, param in rows)

    def add_grant(self, pubkey: str, permission: Permission, now: int) -> None:
        """Grant `permission` to a client."""
        with self._transaction() as connection:
            _add_grants(connection, pubkey, [[permission.method, permission.param or ANY]], now)

    # --- handled events ------------------------------------------------------------------------

    def was_handled(self, event_id: str) -> bool:
        """Tell whether a request event was handled before, also by an earlier run."""
        query = select(handled.c.event_id).where(handled.c.event_id == event_id)
        with self._transaction() as connection:
            return connection.scalar(query) is not None

    def mark_handled(self, event_id: str, now: int, keep: int) -> bool:
        """Remember a request event; return whether it is new. Older than `keep` s is dropped."""
        with self._transaction() as connection:
            connection.execute(delete(handled).where(handled.c.handled_at < now - keep))
            row = upsert(handled).values(event_id=event_id, handled_at=now)
            return connection.execute(row.on_conflict_do_nothing()).rowcount == 1

    # --- settings ------------------------------------------------------------------------------

    def set_relays(self, relays: Iterable[str]) -> None:
        """Remember the relays that the signer runs on, for `bunker signer pair`."""
        row = upsert(settings).values(key="relays", value=json.dumps(list(relays)))
        with self._transaction() as connection:
            connection.execute(
                row.on_conflict_do_update(["key"], set_={"value": row.excluded.value})
            )

    def relays(self) -> tuple[str, ...]:
        """Return the relays that the signer ran on last."""
        with self._transaction() as connection:
            value = connection.scalar(select(settings.c.value).where(settings.c.key == "relays"))
        return tuple(json.loads(value or "[]"))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the signer's database failed: {_cause(error)}") from None


def _configure(connection: Any, _record: Any) -> None:
    # WAL lets `bunker signer pair` write beside a running signer; the timeout makes it wait.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _add_client(
    connection: Connection, pubkey: str, meta: ClientMetadata, relays: Iterable[str], now: int
) -> None:
    row = upsert(clients).values(
        pubkey=pubkey,
        name=meta.name,
        url=meta.url,
        image=meta.image,
        relays=json.dumps(list(relays)),
        paired_at=now,
        last_seen=now,
    )
    # A client that pairs again keeps its name: the owner may have changed it.
    again = {"relays": row.excluded.relays, "paired_at": now, "last_seen": now}
    connection.execute(row.on_conflict_do_update(["pubkey"], set_=again))


def _add_grants(
    connection: Connection, pubkey: str, permissions: Iterable[Iterable[str]], now: int
) -> None:
    for method, param in permissions:
        row = upsert(grants).values(
            client_pubkey=pubkey, method=method, param=param, created_at=now
        )
        connection.execute(row.on_conflict_do_nothing())


def _client(row: Any) -> Client:
    return Client(
        row.pubkey,
        ClientMetadata(row.name, row.url, row.image),
        tuple(json.loads(row.relays)),
        row.paired_at,
        row.last_seen,
    )


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _cause(error: SQLAlchemyError) -> str:
    # SQLAlchemy's own text repeats the statement with its parameters
    return str(getattr(error, "orig", None) or type(error).__name__)
