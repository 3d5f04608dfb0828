"""Tags in the order in which they are read, an author's events by date, deletions by target."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables and indices anew, from what is there; a million events take a minute."""
    for name in ("created_at", "pubkey", "kind", "expires_at"):
        op.drop_index(f"ix_events_{name}", "events")
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_events_kind", "events", ["kind", "created_at"])
    op.create_index("ix_events_author", "events", ["pubkey", "created_at", "kind"])
    op.create_index("ix_events_author_kind", "events", ["pubkey", "kind", "created_at"])
    op.create_index(
        "ix_events_expires_at",
        "events",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE events ALTER COLUMN seq DROP DEFAULT")
        op.execute("DROP SEQUENCE events_seq_seq")
    op.drop_index("ix_tags_event", "tags")
    op.rename_table("tags", "tags_0001")
    op.create_table(
        "tags",
        sa.Column("tag", sa.LargeBinary(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("event", _SEQ, sa.ForeignKey("events.seq", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("tag", "created_at", "kind", "event"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO tags (tag, created_at, kind, event)"
        " SELECT t.tag, e.created_at, e.kind, t.event"
        " FROM tags_0001 t JOIN events e ON e.seq = t.event ORDER BY 1, 2, 3, 4"
    )
    op.drop_table("tags_0001")
    op.create_index("ix_tags_event", "tags", ["event"])
    op.rename_table("deletions", "deletions_0001")
    op.create_table(
        "deletions",
        sa.Column("target", sa.LargeBinary(32), nullable=False),
        sa.Column("pubkey", sa.LargeBinary(32), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("target", "pubkey"),
    )
    op.execute(
        "INSERT INTO deletions (target, pubkey, until)"
        " SELECT target, pubkey, until FROM deletions_0001"
    )
    op.drop_table("deletions_0001")


def downgrade() -> None:
    """Go back is what a backup is for."""
    raise NotImplementedError
