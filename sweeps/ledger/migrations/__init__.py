"""Versions of the ledger's schema: Alembic creates and upgrades a ledger, revision by revision.

A row in ``meta`` holds the version of a ledger; every program, however old, reads it first. Revisions have the numbers of the
versions, and Alembic's own table is set from that row.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sweeps.ledger import database, leases, tables
from sweeps.ledger.database import LedgerError
from sweeps.ledger.sealing import Damage, check_row, on_conflict, seal
from sweeps.ledger.tables import SCHEMA_VERSION, meta, metadata

VERSION_TABLE = "ledger_revision"  # MLflow, which may share the database, uses Alembic's default name
FIRST_LEASED = 2  # the version since which a sweep has a lease
FIRST_SEALED = 3  # the version since which every row has a digest
FIRST_WITH_RESULTS = 4  # the version since which a trial's row has what its curve comes to
FIRST_SERVED = 5  # the version since which there are submissions
NUMBER = re.compile("[1-9][0-9]{0,5}")


def version(connection: Connection) -> str | None:
    """Return the schema version of the ledger in a database, or None if there is no ledger.

    Raises:
        Damage: there are tables of a ledger, but no valid version.
    """
    inspected = inspect(connection)
    if not inspected.has_table(meta.name):
        if others := sorted(metadata.tables.keys() & set(inspected.get_table_names())):
            raise Damage(f"the table meta is missing, but there is {', '.join(others)}")
        return None
    # Plain SQL, as the columns depend on the ledger's version.
    query = text("SELECT * FROM meta WHERE name = 'schema_version'")
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise Damage("its schema version is missing")
    if "digest" in row:
        check_row(meta, row)
    found = str(row["value"])
    has = {FIRST_SEALED: "digest" in row, FIRST_SERVED: inspected.has_table(tables.submissions.name)}
    if not NUMBER.fullmatch(found) or any(there is not (int(found) >= first) for first, there in has.items()):
        raise Damage(f"its schema version must be a number that matches its tables, got {found[:20]!r}")
    return found


def import_alembic() -> None:
    """Import Alembic. Call this before a transaction that may upgrade: on a busy machine the import outlasts others' wait."""
    import alembic.command
    import alembic.config  # noqa: F401


def settle(connection: Connection) -> None:
    """Upgrade the ledger to this program's version, or create one in an empty database, in the caller's transaction.

    Raises:
        LedgerError: the database holds something else, or a ledger of a newer version.
        SweepBusy: the ledger must be upgraded, and a process runs one of its sweeps.
    """
    database.lock_schema(connection)
    found = version(connection)
    where = f"ledger {database.printable(connection.engine.url)}"
    others = inspect(connection).get_table_names()
    if found is None and others:
        raise LedgerError(f"{where}: must be a ledger or empty, got a database with the tables {', '.join(others)}")
    if found is not None and int(found) > SCHEMA_VERSION:
        raise LedgerError(f"{where}: schema version must be {SCHEMA_VERSION} or an older one, got {found}")
    if found != str(SCHEMA_VERSION):
        if found is not None and int(found) >= FIRST_LEASED:
            _fence(connection, where, found)
        _upgrade(connection, found or "base", SCHEMA_VERSION)
        connection.execute(on_conflict(database.upsert(connection, meta), meta), version_row(SCHEMA_VERSION))


def _fence(connection: Connection, where: str, found: str) -> None:
    """Prevent older programs from continuing a sweep: their writes would lack what the upgrade adds."""
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    for row in connection.execute(
        text(f"SELECT name, holder, lease_until_ms FROM sweeps ORDER BY id{lock}")
    ).mappings():
        try:
            leases.refuse_held(dict(row))
        except leases.SweepBusy as busy:
            rule = f"must not be in use while it is upgraded from schema version {found} to {SCHEMA_VERSION}"
            raise leases.SweepBusy(f"{where}: {rule}; {busy}") from None
        except (ValueError, TypeError):
            continue  # a damaged lease cannot be renewed
    connection.execute(text("UPDATE sweeps SET invocation = 0, holder = NULL, lease_until_ms = 0"))


def version_of(columns: Mapping[str, Collection[str]]) -> int:
    """Return the version of a ledger, inferred from the columns of its tables as far as they can be read."""
    if columns[tables.submissions.name]:
        return FIRST_SERVED
    if "result" in columns[tables.trials.name]:
        return FIRST_WITH_RESULTS
    if any("digest" in names for names in columns.values()):
        return FIRST_SEALED
    leased = "holder" in columns[tables.sweeps.name] or "pruned_ms" in columns[tables.checkpoints.name]
    return FIRST_LEASED if leased else 1


def version_row(version: int) -> dict[str, str]:
    """Return the row of ``meta`` that holds a version."""
    row = {"name": "schema_version", "value": str(version)}
    return seal(meta, row) if version >= FIRST_SEALED else row


def create(connection: Connection, version: int) -> None:
    """Create the empty tables of a version, in the caller's transaction."""
    _upgrade(connection, "base", version)


def _upgrade(connection: Connection, found: str, wanted: int) -> None:
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, found)
    command.upgrade(config, str(wanted))
