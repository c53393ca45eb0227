"""Tables of the service: submissions, tokens and the audit log."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, Text

revision = "5"
down_revision = "4"

Wide = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "submissions",
        Column("id", String, primary_key=True),
        Column("owner", String, nullable=False),
        Column("idempotency", String),
        Column("body", String, nullable=False),
        Column("name", String, nullable=False),
        Column("spec", Text, nullable=False),
        Column("options", Text, nullable=False),
        Column("priority", Integer, nullable=False, server_default="0"),
        Column("wanted", String, nullable=False),
        Column("outcome", String),
        Column("error", Text),
        Column("sweep_id", String),
        Column("workers", Integer),
        Column("launches", Integer, nullable=False, server_default="0"),
        Column("failures", Integer, nullable=False, server_default="0"),
        Column("launched_ms", Wide),
        Column("holder", String),
        Column("lease_until_ms", Wide, nullable=False, server_default="0"),
        Column("created_ms", Wide, nullable=False),
        Column("changed_ms", Wide, nullable=False),
        Column("digest", String, nullable=False, server_default=""),
    )
    op.create_index("ix_submissions_owner", "submissions", ["owner"])
    op.create_index("submissions_by_key", "submissions", ["owner", "idempotency"], unique=True)
    op.create_table(
        "tokens",
        Column("id", String, primary_key=True),
        Column("owner", String, nullable=False),
        Column("secret", String, nullable=False),
        Column("scopes", String, nullable=False),
        Column("created_ms", Wide, nullable=False),
        Column("expires_ms", Wide),
        Column("revoked_ms", Wide),
        Column("digest", String, nullable=False, server_default=""),
    )
    op.create_table(
        "audit",
        Column("id", Wide, primary_key=True, autoincrement=True),
        Column("at_ms", Wide, nullable=False),
        Column("actor", String, nullable=False),
        Column("action", String, nullable=False),
        Column("target", String, nullable=False),
        Column("detail", Text, nullable=False, server_default=""),
        Column("digest", String, nullable=False, server_default=""),
        sqlite_autoincrement=True,
    )
