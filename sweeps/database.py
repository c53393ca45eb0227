"""The connection to the ledger's database: SQLite in a mode in which readers never block the writer, or PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

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
        place = make_url(url)
    except (ArgumentError, ValueError):  # their messages quote the URL, with its password
        raise LedgerError("ledger: must be an sqlite:///<path> or postgresql://<host>/<database> URL") from None
    match place.drivername:
        case "sqlite":
            return _sqlite(place)
        case "postgresql" | "postgresql+psycopg":
            return _postgresql(place)
    raise LedgerError(f"ledger {shown(place)}: must be an sqlite:/// or postgresql:// URL, got {place.drivername}")


def shown(url: URL) -> str:
    """The URL as it may be printed: user, password and query left out."""
    return URL.create(url.drivername.partition("+")[0], None, None, url.host, url.port, url.database).render_as_string()


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
        raise kind(f"ledger {shown(url)}: cannot be {cannot}: {' '.join(str(error.orig).split())}") from error


def _is_away(error: DBAPIError) -> bool:
    """Whether it is of the connection and not of what was asked; a connection that never was has no code."""
    code = getattr(error.orig, "sqlstate", "")
    never = code is None and isinstance(error, OperationalError)
    return error.connection_invalidated or never or bool(code and code.startswith(AWAY))


def _sqlite(place: URL) -> Engine:
    if place.database:
        Path(place.database).parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(place)

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
