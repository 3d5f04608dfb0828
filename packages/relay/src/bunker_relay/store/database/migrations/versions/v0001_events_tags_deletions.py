"""Events, tags and deletions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "events",
        sa.Column("seq", _BIG_SERIAL, primary_key=True, autoincrement=True),
        sa.Column("id", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("pubkey", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("address", sa.LargeBinary(16), unique=True),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("json", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_events_created_at", "events", ["created_at", "id"])
    op.create_index("ix_events_pubkey", "events", ["pubkey", "kind", "created_at"])
    op.create_index("ix_events_kind", "events", ["kind", "created_at"])
    op.create_index("ix_events_expires_at", "events", ["expires_at"])
    op.create_table(
        "tags",
        sa.Column("tag", sa.LargeBinary(16), nullable=False),
        sa.Column(
            "event", _BIG_SERIAL, sa.ForeignKey("events.seq", ondelete="CASCADE"), nullable=False
        ),
        sa.PrimaryKeyConstraint("tag", "event"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_event", "tags", ["event"])
    op.create_table(
        "deletions",
        sa.Column("pubkey", sa.LargeBinary(32), nullable=False),
        sa.Column("target", sa.LargeBinary(32), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("pubkey", "target"),
    )


def downgrade() -> None:
    """Drop everything."""
    op.drop_table("deletions")
    op.drop_table("tags")
    op.drop_table("events")
