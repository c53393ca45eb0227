"""The connection to the ledger's database: SQLite, in a mode in which readers never block the writer."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 30_000


class LedgerError(Exception):
    """The ledger cannot be opened, is of another schema version, or does not hold what was asked for."""


def engine(url: str) -> Engine:
    """Connections to the database at an SQLAlchemy URL; execution option ``abel_write`` makes one a writer's."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(url)
    if made.dialect.name != "sqlite":
        raise LedgerError(f"ledger {url}: must be an sqlite:/// URL, got {made.dialect.name}")

    @event.listens_for(made, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own: "begin" below does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred read-then-write is refused at once when another writer came between: writers lock up front.
        write = connection.get_execution_options().get("abel_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made
