"""Paired clients, and the one-time secrets that pair them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, update

from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.policy import Grant
from bunker_signer.store import grants
from bunker_signer.store.database import cache
from bunker_signer.store.database.engine import insert
from bunker_signer.store.database.prepared import Statement
from bunker_signer.store.database.schema import clients, requests, secrets

SECRET_LIFETIME: Final = 24 * 3600  # seconds that an unused secret is good for

# What a client is made of, in its order.
_ASKED: Final = (
    clients.c.key_name,
    clients.c.pubkey,
    clients.c.name,
    clients.c.url,
    clients.c.image,
    clients.c.relays,
    clients.c.requested,
    clients.c.paired_at,
    clients.c.last_seen,
)
_FIND: Final = Statement(
    select(*_ASKED).where(
        clients.c.key_name == bindparam("of_key"), clients.c.pubkey == bindparam("of_pubkey")
    )
)

_UNUSED: Final = Statement(
    select(secrets.c.digest)
    .where(secrets.c.used_by.is_(None), secrets.c.created_at >= bindparam("since"))
    .order_by(secrets.c.digest)
)


@dataclass(frozen=True, slots=True)
class Client:
    """A paired client of one key. Times are Unix seconds."""

    key_name: str
    pubkey: str
    metadata: ClientMetadata
    relays: tuple[str, ...]
    requested: str  # the permissions that it proposed, as it wrote them
    paired_at: int
    last_seen: int


def add_secret(
    connection: Connection,
    key_name: str,
    secret: str,
    granted: Iterable[Grant],
    relays: Iterable[str],
    now: int,
) -> None:
    """Make `secret` good for pairing one client, which then gets `granted`.

    `relays` are those of the URI that the secret is in. Secrets older than SECRET_LIFETIME go.
    """
    connection.execute(delete(secrets).where(secrets.c.created_at < now - SECRET_LIFETIME))
    row = {
        "digest": _digest(secret),
        "key_name": key_name,
        "grants": json.dumps([grant.to_json() for grant in granted]),
        "relays": json.dumps(list(relays)),
        "created_at": now,
    }
    connection.execute(insert(connection, secrets).values(row))


def awaits_pairing(connection: Connection, now: int) -> bool:
    """Tell whether there is a secret that may still pair a client."""
    return _UNUSED.run(connection, since=now - SECRET_LIFETIME).fetchone() is not None


def pair(
    connection: Connection,
    key_name: str,
    pubkey: str,
    secret: str,
    metadata: ClientMetadata,
    requested: str,
    now: int,
) -> bool:
    """Admit a client by an unused secret, once; return whether it was good.

    The look-up is by SHA-256, so its time tells nothing about a secret that is nearly right.
    """
    unused = (
        (secrets.c.digest == _digest(secret))
        & (secrets.c.key_name == key_name)
        & secrets.c.used_by.is_(None)
        & (secrets.c.created_at >= now - SECRET_LIFETIME)
    )
    row = connection.execute(select(secrets.c.grants, secrets.c.relays).where(unused)).first()
    if row is None:
        return False
    # Of two that come at once, on two connections, one changes the row and one finds it used.
    if connection.execute(update(secrets).where(unused).values(used_by=pubkey)).rowcount != 1:
        return False
    granted = [Grant.from_json(item) for item in json.loads(row.grants)]
    add(connection, key_name, pubkey, metadata, json.loads(row.relays), requested, granted, now)
    return True


def add(
    connection: Connection,
    key_name: str,
    pubkey: str,
    metadata: ClientMetadata,
    relays: Iterable[str],
    requested: str,
    granted: Iterable[Grant],
    now: int,
) -> None:
    """Admit a client; one that is there already keeps its grants and the owner's name for it."""
    said = {"name": metadata.name, "url": metadata.url, "image": metadata.image}
    again = {
        "relays": json.dumps(list(relays)),
        "requested": requested[:4096],
        "paired_at": now,
        "last_seen": now,
    }
    renamed = connection.scalar(select(clients.c.renamed).where(_is(key_name, pubkey)))
    if renamed is None:
        row = {"key_name": key_name, "pubkey": pubkey, "renamed": False, **said, **again}
        connection.execute(insert(connection, clients).values(row))
    else:
        if renamed:
            del said["name"]
        changed = update(clients).where(_is(key_name, pubkey)).values({**said, **again})
        connection.execute(changed)
    cache.forget_client(connection, key_name, pubkey)
    for grant in granted:
        grants.put(connection, key_name, pubkey, grant, now)


def find(connection: Connection, key_name: str, pubkey: str) -> Client | None:
    """Return a paired client."""
    cached = cache.of(connection)
    name = cache.name(key_name, pubkey)
    client = None if cached is None else cached.clients.get(name)
    if client is not None:
        return client
    row = _FIND.run(connection, of_key=key_name, of_pubkey=pubkey).fetchone()
    if row is None:
        return None  # not remembered: strangers are many
    client = _client(row)
    if cached is not None:
        cached.clients.put(name, client)
    return client


def every(connection: Connection, key_name: str | None = None) -> tuple[Client, ...]:
    """Return all paired clients (of one key), the oldest first."""
    query = select(*_ASKED).order_by(clients.c.paired_at, clients.c.pubkey)
    if key_name is not None:
        query = query.where(clients.c.key_name == key_name)
    return tuple(map(_client, connection.execute(query)))


def relays(connection: Connection, key_names: Iterable[str]) -> tuple[str, ...]:
    """Return the relays of all clients of these keys, each once.

    Thousands of clients talk on the same few: they are told apart by the database.
    """
    query = select(clients.c.relays).where(clients.c.key_name.in_(list(key_names))).distinct()
    lists = connection.scalars(query.order_by(clients.c.relays))
    return tuple(dict.fromkeys(relay for item in lists for relay in json.loads(item)))


def see(connection: Connection, client: Client, now: int) -> None:
    """Note that a client was heard of, to the minute."""
    if now < client.last_seen + 60:
        return
    connection.execute(
        update(clients)
        .where(_is(client.key_name, client.pubkey), clients.c.last_seen < now)
        .values(last_seen=now)
    )
    cache.forget_client(connection, client.key_name, client.pubkey)


def rename(connection: Connection, key_name: str, pubkey: str, name: str) -> bool:
    """Give a client the owner's name for it; return whether there is such a client."""
    renamed = update(clients).where(_is(key_name, pubkey)).values(name=name, renamed=True)
    cache.forget_client(connection, key_name, pubkey)
    return connection.execute(renamed).rowcount == 1


def set_relays(connection: Connection, key_name: str, pubkey: str, relays: Iterable[str]) -> None:
    """Remember where a client was told to talk."""
    moved = update(clients).where(_is(key_name, pubkey)).values(relays=json.dumps(list(relays)))
    connection.execute(moved)
    cache.forget_client(connection, key_name, pubkey)


def remove(connection: Connection, key_name: str, pubkey: str) -> bool:
    """Forget a client, its grants and its answers; return whether there was one."""
    asked = (requests.c.key_name == key_name) & (requests.c.client_pubkey == pubkey)
    grants.remove_all(connection, key_name, pubkey)
    connection.execute(delete(requests).where(asked))
    cache.forget_client(connection, key_name, pubkey)
    return connection.execute(delete(clients).where(_is(key_name, pubkey))).rowcount == 1


def remove_secrets(connection: Connection) -> int:
    """Make every unused secret worthless; return how many there were."""
    count = connection.execute(delete(secrets).where(secrets.c.used_by.is_(None))).rowcount
    connection.execute(delete(secrets))
    return count


def _is(key_name: str, pubkey: str) -> ColumnElement[bool]:
    return (clients.c.key_name == key_name) & (clients.c.pubkey == pubkey)


def _client(row: Any) -> Client:
    key_name, pubkey, name, url, image, relays, requested, paired_at, last_seen = row
    said = ClientMetadata(name, url, image)
    return Client(
        key_name, pubkey, said, tuple(json.loads(relays)), requested, paired_at, last_seen
    )


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
