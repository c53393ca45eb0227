"""Alembic's entry point: applies revisions on the caller's connection and in its transaction."""

from alembic import context

from sweeps.ledger.migrations import VERSION_TABLE
from sweeps.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
