"""An app's entries in order, and those that name it, found in a log of a million."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NO_METHOD = sa.text("method = ''")


def upgrade() -> None:
    """A million entries take some seconds."""
    op.drop_index(op.f("ix_audit_client_pubkey"), "audit")
    op.create_index("audit_of", "audit", ["client_pubkey", "seq"])
    op.create_index(
        "audit_naming",
        "audit",
        ["client_pubkey", "seq"],
        sqlite_where=_NO_METHOD,
        postgresql_where=_NO_METHOD,
    )
