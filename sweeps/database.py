"""The connection to the ledger's database: SQLite in a mode in which readers never block the writer, or PostgreSQL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

from sweeps.files import make_private, private
from sweeps.urls import masked, parse, without_credentials

BUSY_TIMEOUT_MS = 30_000  # how long to wait for another writer
IDLE_TIMEOUT_MS = 10_000  # how long a writer on PostgreSQL may do nothing while others wait for it
CONNECT_TIMEOUT_SECONDS = 10
# Of libpq: after which silence of the other machine a connection is given up, idle or with something on its way.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 20_000}
SCHEMA_LOCK = 0x61_62_65_6C  # any number that no other program takes in the same database
AWAY = ("08", "57P")  # PostgreSQL's codes begin so where a connection broke, or a server starts, stops or crashed


class LedgerError(Exception):
    """The ledger cannot be opened, is of another schema version, or does not hold what was asked for."""


class LedgerAway(LedgerError, ConnectionError):
    """The ledger's server is out of reach for now. Whether what was being written is there is not known."""


def engine(url: str) -> Engine:
    """Connections to the database at an SQLAlchemy URL; execution option ``abel_write`` makes one a writer's."""
    try:
        place = parse(url)
    except ValueError:
        raise LedgerError("ledger: must be an sqlite:///<path> or postgresql://<host>/<database> URL") from None
    match place.drivername:
        case "sqlite":
            return _sqlite(place)
        case "postgresql" | "postgresql+psycopg":
            return _postgresql(place)
    raise LedgerError(f"ledger {shown(place)}: must be an sqlite:/// or postgresql:// URL, got {place.drivername}")


def shown(url: URL) -> str:
    """The URL as it may be printed."""
    return without_credentials(url)


def upsert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that can say what to do with a row that is there already."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def lock_schema(connection: Connection) -> None:
    """Until the transaction ends nobody else creates or changes tables; on SQLite a writer has that lock anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": SCHEMA_LOCK})


@contextmanager
def told(url: URL, cannot: str) -> Iterator[None]:
    """What the database refuses, as one line that names the ledger."""
    try:
        yield
    except DBAPIError as error:  # a full disk, a lock held too long, a server that is away, a wrong password
        kind = LedgerAway if _is_away(error) else LedgerError
        why = masked(" ".join(str(error.orig).split()))
        raise kind(f"ledger {shown(url)}: cannot be {cannot}: {why}") from error


def _is_away(error: DBAPIError) -> bool:
    """Whether it is of the connection and not of what was asked; a connection that never was has no code."""
    code = getattr(error.orig, "sqlstate", "")
    never = code is None and isinstance(error, OperationalError)
    return error.connection_invalidated or never or bool(code and code.startswith(AWAY))


def _sqlite(place: URL) -> Engine:
    file = Path(place.database or ":memory:")
    reading = file.exists() and not (os.access(file.parent, os.W_OK) and os.access(file, os.W_OK))
    if not reading:
        make_private(file.parent)
    made = create_engine(place)

    @event.listens_for(made, "do_connect")
    def _connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        if reading:
            arguments[0], options["uri"] = _read_only(file), True
        with private():  # the log and the shared memory get the file's mode
            connection = dialect.connect(*arguments, **options)
            connection.isolation_level = None  # the driver must not open transactions of its own: "begin" below does
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            if not reading:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
            return connection

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred read-then-write is refused at once when another writer came between: writers lock up front.
        write = connection.get_execution_options().get("abel_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


def _read_only(file: Path) -> str:
    """How SQLite opens a file where it may create nothing: without a log to read, it takes the file for unchanging."""
    log = Path(f"{file}-wal")
    unchanging = not log.exists() or not log.stat().st_size
    return f"file:{quote(str(file))}?{'immutable=1' if unchanging else 'mode=ro'}"


def _postgresql(place: URL) -> Engine:
    ours = {"connect_timeout": CONNECT_TIMEOUT_SECONDS} | KEEPALIVES
    waits = {name: value for name, value in ours.items() if name not in place.query}
    # A connection is tried before use: after a restart of the server the old ones are dead.
    made = create_engine(place.set(drivername="postgresql+psycopg"), connect_args=waits, pool_pre_ping=True)

    @event.listens_for(made, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
        # A process that was stopped inside a transaction must not keep its locks: the server ends the transaction.
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}")
        connection.commit()

    return made
