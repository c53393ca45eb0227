"""The ledger's schema through its versions: Alembic creates and upgrades a ledger, revision by revision.

The row in ``meta`` says which version a ledger has: every program, however old, looks at it before anything else. Revisions
are numbered as versions are, and Alembic's own table is set from that row.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, select

from sweeps import database
from sweeps.database import LedgerError
from sweeps.tables import SCHEMA_VERSION, meta

VERSION_TABLE = "ledger_revision"  # MLflow, which may share a server, has Alembic's usual name


def version(connection: Connection) -> str | None:
    """The schema version of the ledger in a database, or None where there is none."""
    if not inspect(connection).has_table(meta.name):
        return None
    return connection.scalar(select(meta.c.value).where(meta.c.name == "schema_version"))


def settle(connection: Connection) -> None:
    """Bring the ledger to this program's version, or create one in an empty database, in the caller's transaction.

    Raises:
        LedgerError: the database holds something else, or a ledger that a newer program wrote.
    """
    database.lock_schema(connection)
    found = version(connection)
    where = f"ledger {database.shown(connection.engine.url)}"
    tables = inspect(connection).get_table_names()
    if found is None and tables:
        raise LedgerError(f"{where}: must be a ledger or empty, got a database with the tables {', '.join(tables)}")
    if found is not None and not (found.isdecimal() and 1 <= int(found) <= SCHEMA_VERSION):
        raise LedgerError(f"{where}: schema version must be {SCHEMA_VERSION} or an older one, got {found}")
    if found != str(SCHEMA_VERSION):
        _upgrade(connection, found or "base")
        row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
        statement = database.upsert(connection, meta).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))


def _upgrade(connection: Connection, found: str) -> None:
    from alembic import command  # slow to load, and nearly every ledger is opened as it is
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, found)
    command.upgrade(config, str(SCHEMA_VERSION))
