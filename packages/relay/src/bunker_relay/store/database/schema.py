"""The tables of the store, alike on SQLite and PostgreSQL.

Hex travels as bytes, which halves every index. A tag is indexed by a digest of its name and its
value, so that a value of any length, with any character, costs sixteen bytes and compares exactly.
`query` says what each index is for.
"""

from hashlib import sha256
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    text,
)

metadata = MetaData()

# SQLite gives a rowid only to a column that is exactly INTEGER.
_Seq: Final = BigInteger().with_variant(Integer, "sqlite")

events = Table(
    "events",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),  # `write` counts, under its lock
    Column("id", LargeBinary(32), nullable=False, unique=True),
    Column("pubkey", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    # For a replaceable or addressable event the digest of its address, else NULL.
    Column("address", LargeBinary(16), unique=True),
    Column("expires_at", BigInteger),  # NIP-40, Unix seconds
    Column("json", LargeBinary, nullable=False),
    Index("ix_events_created_at", "created_at"),
    Index("ix_events_kind", "kind", "created_at"),
    Index("ix_events_author", "pubkey", "created_at", "kind"),
    Index("ix_events_author_kind", "pubkey", "kind", "created_at"),
    # Few expire. (To say so to PostgreSQL too would load its dialect wherever SQLite is used.)
    Index("ix_events_expires_at", "expires_at", sqlite_where=text("expires_at IS NOT NULL")),
)

# Date and kind are the event's own, repeated: a tag's events are found in order, without a look
# at each of them.
tags = Table(
    "tags",
    metadata,
    Column("tag", LargeBinary(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("event", _Seq, ForeignKey("events.seq", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("tag", "created_at", "kind", "event"),
    Index("ix_tags_event", "event"),
    sqlite_with_rowid=False,
)

# NIP-09: what an author has asked to delete, whether it was here or not. `target` is an event id,
# or the digest of an address, of which all versions up to `until` are deleted.
deletions = Table(
    "deletions",
    metadata,
    Column("target", LargeBinary(32), nullable=False),
    Column("pubkey", LargeBinary(32), nullable=False),
    Column("until", BigInteger, nullable=False),
    PrimaryKeyConstraint("target", "pubkey"),
)


def tag_key(name: str, value: str) -> bytes:
    """Return the digest under which a tag is indexed."""
    return sha256(f"{name}:{value}".encode()).digest()[:16]


def address_key(kind: int, pubkey: str, identifier: str) -> bytes:
    """Return the digest of the address `kind:pubkey:identifier` (NIP-01)."""
    return sha256(f"{kind}:{pubkey}:{identifier}".encode()).digest()[:16]
