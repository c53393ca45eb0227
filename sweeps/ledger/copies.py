"""Copies of an SQLite ledger's file: a backup while sweeps run, and the readable part of a damaged file."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sweeps.files import private
from sweeps.ledger import database, leases, migrations, tables
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.urls import of_sqlite

TABLES = tuple(tables.metadata.tables)

# The second comes from sqlite3 if SQLite quotes damaged text in its message.
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)


def stamp() -> str:
    """Return the current time, formatted for the name of a copy."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def copy_ledger(ledger: Path, target: Path) -> None:
    """Copy a consistent snapshot of a ledger, even while others write to it, to a new file that only its owner can read.

    Raises:
        LedgerError: the file exists, or cannot be written or read.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise LedgerError(f"{target}: already exists; not overwritten") from None
    except OSError as error:
        raise LedgerError(f"{target}: cannot be written: {error.strerror}") from None
    try:
        with closing(_reader(ledger)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # all pages at once: a copy in steps would restart after every write
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise LedgerDamaged(f"ledger {ledger}: is damaged: the database reports {found!r}")
        _sync(target)
    except BaseException as error:
        target.unlink()
        if isinstance(error, UNREADABLE):
            raise LedgerError(f"ledger {ledger}: cannot be copied to {target}: {error}") from None
        raise


def salvage(ledger: Path, target: Path) -> dict[str, int]:
    """Copy the readable rows of a damaged ledger into a new one of the same version; return the number of rows by table.

    Rows are read from both ends of each table up to the damaged pages. Their content is not checked here; digests show
    whether it is intact.

    Raises:
        LedgerDamaged: nothing can be read.
    """
    found = dict.fromkeys(TABLES, 0)
    with closing(_reader(ledger)) as source:
        source.text_factory = lambda content: content.decode(errors="replace")
        columns = {table: _columns(source, table) for table in TABLES}
        version = migrations.version_of(columns)
        _make_empty(target, version)
        with closing(sqlite3.connect(target)) as copy, copy:
            for table in (table for table in TABLES if _columns(copy, table)):
                known = [name for name in _columns(copy, table) if name in columns[table]]
                found[table] = _copy_rows(source, copy, table, known)
            if version < tables.SCHEMA_VERSION:  # in later versions a repair restores this row itself
                _insert(copy, "meta", migrations.version_row(version), how="INSERT OR REPLACE")
            _keep_numbers(source, copy)
    if not any(found.values()):
        raise LedgerDamaged(f"ledger {ledger}: is damaged: no row can be read; restore a backup")
    return found


def _columns(source: sqlite3.Connection, table: str) -> list[str]:
    with suppress(*UNREADABLE):
        return [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    return []


def _make_empty(target: Path, version: int) -> None:
    engine = database.engine(of_sqlite(target))
    with database.writer(engine) as connection, connection.begin():
        migrations.create(connection, version)
    engine.dispose()


def _copy_rows(source: sqlite3.Connection, copy: sqlite3.Connection, table: str, columns: Sequence[str]) -> int:
    """Replace the rows of a table in the copy by those that can be read; return how many these are."""
    copied = 0
    copy.execute(f"DELETE FROM {table}")
    for row in _rows(source, table, columns):
        with suppress(sqlite3.IntegrityError):  # a damaged key may occur twice
            _insert(copy, table, dict(zip(columns, row, strict=True)))
            copied += 1
    return copied


def _insert(copy: sqlite3.Connection, table: str, row: Mapping[str, Any], how: str = "INSERT") -> None:
    marks = ", ".join("?" * len(row))
    copy.execute(f"{how} INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _rows(source: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    query, last = f"SELECT {', '.join(('rowid', *columns))} FROM {table} NOT INDEXED ORDER BY rowid", None
    if not columns:
        return
    with suppress(*UNREADABLE):
        for number, *row in source.execute(query):
            yield tuple(row)
            last = number
        return
    with suppress(*UNREADABLE):
        for number, *row in source.execute(f"{query} DESC"):
            if last is not None and number <= last:
                return
            yield tuple(row)


def _keep_numbers(source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Do not reuse the ids of lost events: a tracking store may have recorded them."""
    with suppress(*UNREADABLE):
        for table, number in source.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            copy.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table))


def replace(ledger: Path, new: Path) -> Path:
    """Replace a ledger's file atomically; return the path where the old file, with its log, is kept.

    Raises:
        SweepBusy: a process runs a sweep of the ledger.
    """
    kept = ledger.with_name(f"{ledger.name}.damaged-{stamp()}")
    with closing(_reader(ledger)) as old:
        _refuse_held(old)
    for ending in ("", "-wal"):
        with suppress(FileNotFoundError):
            _keep(ledger.with_name(f"{ledger.name}{ending}"), kept.with_name(f"{kept.name}{ending}"))
    for ending in ("-wal", "-shm"):  # removed first, as SQLite would apply the old log to the new file
        ledger.with_name(f"{ledger.name}{ending}").unlink(missing_ok=True)
    new.replace(ledger)
    _sync(ledger)
    return kept


def _refuse_held(ledger: sqlite3.Connection) -> None:
    ledger.row_factory = sqlite3.Row
    with suppress(*UNREADABLE):
        for row in ledger.execute("SELECT name, holder, lease_until_ms FROM sweeps NOT INDEXED"):
            with suppress(ValueError, TypeError):  # a damaged lease cannot be renewed
                leases.refuse_held(dict(row))


def _keep(file: Path, kept: Path) -> None:
    try:
        os.link(file, kept)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        with private():
            shutil.copy2(file, kept)
    _sync(kept)


def _reader(ledger: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(ledger.absolute()))}?mode=ro", uri=True)


def _sync(file: Path) -> None:
    for place in (file, file.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
