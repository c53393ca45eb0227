"""Connections to the ledger's database: SQLite in WAL mode, where readers never block the writer, or PostgreSQL."""

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from sweeps.files import make_private, private
from sweeps.ledger.sealing import Damage
from sweeps.urls import masked, parse, sqlite_file, without_credentials

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

BUSY_TIMEOUT_MS = 30_000  # wait this long for another writer
BUSY_LOOK_SECONDS = 0.002
KEPT_CONNECTIONS = 16  # of a process; what it opens beyond that is closed after use
IDLE_TIMEOUT_MS = 10_000  # PostgreSQL ends a transaction that is idle for longer, as others wait for its locks
CONNECT_TIMEOUT_SECONDS = 10
# libpq's settings for giving up a connection when the other machine is silent, while idle or with unacknowledged data.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 20_000}
SCHEMA_LOCK = 0x61_62_65_6C  # any number that no other program uses in the same database
AWAY = (
    "08",
    "57P",
)  # prefixes of PostgreSQL's codes for a broken connection and a server that starts, stops or crashed
DAMAGED = ("42P01", "42703", "XX001", "XX002")  # a table or column of ours is missing, pages or indexes are damaged

# SQLite's errors that are due to the environment and not to the file's content, by the low byte of their code. Text that is
# not UTF-8 gives an error without a code.
OUTSIDE = frozenset(
    (
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_AUTH),
    )
)
CURE = "`abel repair --dry-run` lists what can be restored"


class LedgerError(Exception):
    """The ledger cannot be opened, has another schema version, or does not contain what was requested."""


class LedgerAway(LedgerError, ConnectionError):
    """The ledger's server is unreachable for now. Whether the last write succeeded is unknown."""


class LedgerDamaged(LedgerError):
    """The ledger's content is not what was written, or part of it is missing."""


def engine(url: str) -> Engine:
    """Return an engine for an SQLAlchemy URL; a connection with the execution option ``abel_write`` may write."""
    place = _parsed(url)
    match place.drivername:
        case "sqlite":
            return _sqlite(place)
        case "postgresql" | "postgresql+psycopg":
            return _postgresql(place)
    raise LedgerError(f"ledger {printable(place)}: must be an sqlite:/// or postgresql:// URL, got {place.drivername}")


def make_whole(url: str, fill: Callable[[str], None]) -> None:
    """Create the file of an SQLite ledger if it does not exist: fill it elsewhere, then link it to its place.

    So a file in that place is never empty, unless somebody truncated it.

    Raises:
        LedgerDamaged: the file is empty, or its write-ahead log exists without it.
    """
    place = sqlite_file(_parsed(url))
    if place is None:
        return
    if place.is_file() and place.stat().st_size == 0:  # before SQLite writes a header into it
        raise LedgerDamaged(f"ledger {printable(_parsed(url))}: is damaged: its file is empty; restore a backup")
    if place.exists():
        return
    log = place.with_name(f"{place.name}-wal")
    if log.exists() and log.stat().st_size:
        text = f"{log.name} exists without {place.name}; restore a backup, or move {log.name} away"
        raise LedgerDamaged(f"ledger {printable(_parsed(url))}: is damaged: {text}")
    draft = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
    try:
        fill(_parsed(url).set(database=str(draft)).render_as_string(hide_password=False))
        with suppress(FileExistsError):  # another process was first
            place_file(draft, place)
    finally:
        for left in place.parent.glob(f"{draft.name}*"):
            left.unlink(missing_ok=True)


def place_file(new: Path, place: Path) -> None:
    """Rename a file atomically to a free name.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(new, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: lock the folder instead
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if place.exists():
                raise FileExistsError(place) from None
            new.rename(place)
        finally:
            os.close(folder)


def printable(url: URL) -> str:
    """Return the URL without credentials."""
    return without_credentials(url)


def upsert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that supports ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # all of its drivers, which an SQLite ledger does not need

        return postgresql.insert(table)
    return sqlite.insert(table)


def reader(engine: Engine) -> Connection:
    """Return a connection whose transactions see a snapshot, whatever is committed in the meantime."""
    if engine.dialect.name == "postgresql":
        return engine.connect().execution_options(isolation_level="REPEATABLE READ")
    return engine.connect()


def writer(engine: Engine) -> Connection:
    """Return a connection whose transactions may write."""
    return engine.connect().execution_options(abel_write=True)


def check_file(engine: Engine, *, indexes: bool = False) -> None:
    """Have SQLite check its whole file; with ``indexes`` also compare indexes with their tables.

    Raises:
        DBAPIError, Damage: the file is damaged.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            pragma = "integrity_check" if indexes else "quick_check"
            found = connection.exec_driver_sql(f"PRAGMA {pragma}(1)").scalar()
        if found != "ok":
            raise Damage(f"the database reports {found!r}")


def lock_schema(connection: Connection) -> None:
    """Block schema changes by others until the transaction ends; on SQLite a writer holds that lock anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": SCHEMA_LOCK})


@contextmanager
def refusals_told(url: URL, cannot: str) -> Iterator[None]:
    """Turn database errors into one-line errors that name the ledger."""
    try:
        yield
    except Damage as damage:
        raise LedgerDamaged(f"ledger {printable(url)}: is damaged: {damage}; {CURE}") from None
    except UnicodeDecodeError as error:  # from sqlite3, if SQLite quotes damaged text in its message
        why = masked(error.object.decode(errors="replace")[:300])
        raise LedgerDamaged(f"ledger {printable(url)}: is damaged: the database reports {why!r}; {CURE}") from error
    except NoConnection as error:  # all are used, as by reads that a silent server has not answered yet
        raise LedgerAway(f"ledger {printable(url)}: cannot be {cannot}: every connection is in use") from error
    except DBAPIError as error:  # a full disk, a lock held too long, an unreachable server, a wrong password
        why = masked(" ".join(str(error.orig).split())[:300])
        if _is_damage(error):
            raise LedgerDamaged(f"ledger {printable(url)}: is damaged: the database reports {why!r}; {CURE}") from error
        kind = LedgerAway if _is_away(error) else LedgerError
        raise kind(f"ledger {printable(url)}: cannot be {cannot}: {why}") from error


def _parsed(url: str) -> URL:
    try:
        return parse(url)
    except ValueError:
        raise LedgerError("ledger: must be an sqlite:///<path> or postgresql://<host>/<database> URL") from None


def _is_damage(error: DBAPIError) -> bool:
    """Whether the content is corrupt, or a part that every ledger has is missing."""
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code is None or code & 0xFF not in OUTSIDE or code == sqlite3.SQLITE_IOERR_SHORT_READ
    return getattr(error.orig, "sqlstate", "") in DAMAGED


def _is_away(error: DBAPIError) -> bool:
    """Whether the connection failed, not the statement; a connection that was never established has no code."""
    code = getattr(error.orig, "sqlstate", "")
    never = code is None and isinstance(error, OperationalError)
    return error.connection_invalidated or never or bool(code and code.startswith(AWAY))


def _write_ahead(connection: DBAPIConnection) -> None:
    """Keep a write-ahead log from now on. SQLite itself does not wait for others when it begins one."""
    _wait_for(lambda: connection.execute("PRAGMA journal_mode=WAL"))


def _lock(connection: Connection) -> None:
    """Begin a transaction that may write.

    SQLite itself would look for the lock at intervals that grow to 0.1 s, and lose it to whoever writes all the time.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        _wait_for(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    finally:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.close()


def _wait_for(locking: Callable[[], object]) -> None:
    """Carry out what needs a lock of SQLite's, once others have released it."""
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            locking()
            return
        except (sqlite3.OperationalError, OperationalError) as error:
            code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
            if code is None or code & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(BUSY_LOOK_SECONDS)


def _sqlite(place: URL) -> Engine:
    file = Path(place.database or ":memory:")
    reading = file.exists() and not (os.access(file.parent, os.W_OK) and os.access(file, os.W_OK))
    if not reading:
        make_private(file.parent)
    made = create_engine(place, pool_size=KEPT_CONNECTIONS)

    @event.listens_for(made, "do_connect")
    def _connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        if reading:
            arguments[0], options["uri"] = _read_only(file), True
        with private():  # log and shared memory get the file's mode
            connection = dialect.connect(*arguments, **options)
            connection.isolation_level = None  # sqlite3 must not begin transactions itself; "begin" below does
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            if not reading:
                _write_ahead(connection)
                connection.execute("PRAGMA synchronous=FULL")
            return connection

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        # Writers lock up front: a deferred transaction that reads and then writes fails at once if another wrote in between.
        if connection.get_execution_options().get("abel_write", False):
            _lock(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return made


def _read_only(file: Path) -> str:
    """Return the URI that opens a file in a read-only folder; without a log to read, the file counts as immutable."""
    log = Path(f"{file}-wal")
    unchanging = not log.exists() or not log.stat().st_size
    return f"file:{quote(str(file))}?{'immutable=1' if unchanging else 'mode=ro'}"


def _postgresql(place: URL) -> Engine:
    ours = {"connect_timeout": CONNECT_TIMEOUT_SECONDS} | KEEPALIVES
    waits = {name: value for name, value in ours.items() if name not in place.query}
    # Connections are tested before use: after a restart of the server the old ones are dead.
    made = create_engine(
        place.set(drivername="postgresql+psycopg"), connect_args=waits, pool_pre_ping=True, pool_size=KEPT_CONNECTIONS
    )

    @event.listens_for(made, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
        # The server ends idle transactions, so a process stopped inside one does not keep its locks.
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}")
        connection.commit()

    return made
