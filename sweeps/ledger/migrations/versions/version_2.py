"""Columns for leases, final records, failures, cancellation and pruned checkpoints."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String

revision = "2"
down_revision = "1"

Wide = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("sweeps", Column("invocation", Wide, nullable=False, server_default="0"))
    op.add_column("sweeps", Column("holder", String))
    op.add_column("sweeps", Column("lease_until_ms", Wide, nullable=False, server_default="0"))
    op.add_column("trials", Column("final_epoch", Integer, nullable=False, server_default="0"))
    op.execute("UPDATE trials SET final_epoch = epoch")  # version 1 reported every record at once
    op.add_column("trials", Column("failure", String))
    op.add_column("trials", Column("attempts", Integer, nullable=False, server_default="0"))
    op.add_column("trials", Column("cancel_asked_ms", Wide))
    op.add_column("checkpoints", Column("pruned_ms", Wide))
