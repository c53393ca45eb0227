"""Copies of an SQLite ledger's file: a backup while sweeps run, and what can still be read of a damaged one."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sweeps.database import LedgerDamaged, LedgerError

TABLES = ("meta", "sweeps", "trials", "states", "checkpoints", "events", "invocations", "tracking")


def stamp() -> str:
    """The time, for the name of a copy."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def backup(ledger: Path, target: Path) -> None:
    """Copy a ledger as it is at one instant, whoever writes to it, to a new file that only its owner can read.

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
            source.backup(copy)  # all pages in one go: a copy in steps starts anew whenever somebody writes
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise LedgerDamaged(f"ledger {ledger}: is damaged: the database says {found!r}")
        _sync(target)
    except BaseException as error:
        target.unlink()
        if isinstance(error, sqlite3.DatabaseError):
            raise LedgerError(f"ledger {ledger}: cannot be copied to {target}: {error}") from None
        raise


def salvage(ledger: Path, target: Path) -> dict[str, int]:
    """Copy what can be read of a damaged ledger into an empty one; returns how many rows of each table there were.

    Rows are read from both ends of each table, up to where its pages are damaged. What a row holds is not looked at:
    its digest tells.

    Raises:
        LedgerDamaged: nothing can be read.
    """
    found: dict[str, int] = {}
    with closing(_reader(ledger)) as source, closing(sqlite3.connect(target)) as copy, copy:
        source.text_factory = lambda content: content.decode(errors="replace")
        for table in TABLES:
            copy.execute(f"DELETE FROM {table}")
            found[table] = 0
            for row in _rows(source, table):
                marks = ", ".join("?" * len(row))
                with suppress(sqlite3.DatabaseError):  # a damaged key may be there twice
                    copy.execute(f"INSERT INTO {table} VALUES ({marks})", row)
                    found[table] += 1
        _keep_numbers(source, copy)
    if not any(found.values()):
        raise LedgerDamaged(f"ledger {ledger}: is damaged: no row of it can be read; restore a backup")
    return found


def _rows(source: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    last = None
    with suppress(sqlite3.DatabaseError):
        for number, *row in source.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid"):
            yield tuple(row)
            last = number
        return
    with suppress(sqlite3.DatabaseError):
        for number, *row in source.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid DESC"):
            if last is not None and number <= last:
                return
            yield tuple(row)


def _keep_numbers(source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Events are not to get the number of one that is lost: a tracking store may know that."""
    with suppress(sqlite3.DatabaseError):
        for table, number in source.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            copy.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table))


@contextmanager
def replaced(ledger: Path, new: Path) -> Iterator[Path]:
    """Put a new file in a ledger's place once the block ends well; yields where the old one, with its log, is kept."""
    kept = ledger.with_name(f"{ledger.name}.damaged-{stamp()}")
    yield kept
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            ledger.with_name(f"{ledger.name}{ending}").rename(kept.with_name(f"{kept.name}{ending}"))
    new.rename(ledger)
    _sync(ledger)


def _reader(ledger: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(ledger.absolute()))}?mode=ro", uri=True)


def _sync(file: Path) -> None:
    for place in (file, file.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
