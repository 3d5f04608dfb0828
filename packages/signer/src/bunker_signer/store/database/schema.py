"""The tables. A change here is a migration in `migrations/versions`; a test compares the two."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()

# SQLite counts up by itself only in a column that is INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

_NO_METHOD: Final = text("method = ''")

clients: Final = Table(
    "clients",
    metadata,
    Column("key_name", String(64), primary_key=True),
    Column("pubkey", String(64), primary_key=True),
    Column("name", String, nullable=False),
    Column("url", String, nullable=False),
    Column("image", String, nullable=False),
    Column("renamed", Boolean, nullable=False),  # by the owner: what it calls itself is ignored
    Column("relays", Text, nullable=False),  # JSON array: where it was told, or said, to talk
    Column("requested", Text, nullable=False),  # the permissions it proposed; worth nothing
    Column("paired_at", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
)

grants: Final = Table(
    "grants",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("key_name", String(64), nullable=False),
    Column("client_pubkey", String(64), nullable=False),
    Column("method", String, nullable=False),
    Column("param", String, nullable=False),  # a kind or a peer; "" is any
    Column("effect", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("uses_left", Integer),
    Column("rate_count", Integer),
    Column("rate_seconds", Integer),
    Column("window_start", BigInteger, nullable=False),
    Column("window_used", Integer, nullable=False),
    Index("grants_of", "key_name", "client_pubkey", "method", "param", unique=True),
)

# `grants` is what a client gets that pairs with the secret.
secrets: Final = Table(
    "secrets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key_name", String(64), nullable=False),
    Column("grants", Text, nullable=False),
    Column("relays", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_by", String(64)),
)

handled: Final = Table(
    "handled",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("handled_at", BigInteger, nullable=False, index=True),
)

# One row for each request that wants the key: see `journal.py`.
requests: Final = Table(
    "requests",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key_name", String(64), nullable=False),
    Column("client_pubkey", String(64), nullable=False),
    Column("event", Text, nullable=False),  # the request event, encrypted as it came
    Column("relay_url", String, nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", BigInteger, nullable=False, index=True),
    Column("decided_by", String, nullable=False),
    Column("answer", Text, nullable=False),  # the response, encrypted for the client
    Index("requests_undone", "state"),
)

# The few entries that name an app are found among a million requests, which never touch it.
_naming: Final = Index("audit_naming", "client_pubkey", "seq", sqlite_where=_NO_METHOD)

audit: Final = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("action", String, nullable=False),
    Column("key_name", String(64), nullable=False),
    Column("client_pubkey", String(64), nullable=False),
    Column("method", String, nullable=False),
    Column("param", String, nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("outcome", String, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("audit_of", "client_pubkey", "seq"),
    _naming,
)

# Where the chain starts (after older entries were let go) and where it ends. One row.
audit_ends: Final = Table(
    "audit_ends",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("first_previous", String(64), nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_hash", String(64), nullable=False),
)

settings: Final = Table(
    "settings",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("value", Text, nullable=False),
)


def create_all(connection: Connection) -> None:
    """Make every table in an empty database."""
    if connection.dialect.name == "postgresql":
        # Said no earlier: to hear it SQLAlchemy loads the dialect, three megabytes of memory.
        _naming.dialect_kwargs["postgresql_where"] = _NO_METHOD
    metadata.create_all(connection, checkfirst=False)
