"""Damaged SQLite tracking stores: how to recognise one, and the remedy."""

import sqlite3

from sweeps.urls import sqlite_file

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LACKING = ("no such table", "no such column")


def damage(error: BaseException, tracking_uri: str) -> str | None:
    """The damage and its remedy, if a request failed because of the store's file; otherwise None."""
    file = sqlite_file(tracking_uri)
    cause: BaseException | None = error
    while file is not None and cause is not None:
        if isinstance(cause, sqlite3.Error) and _is_damage(cause):
            cure = "`abel track --all --rebuild` recreates it from the ledger"
            return f"is damaged ({cause}); move {file} away, then {cure}"
        cause = cause.__cause__ or cause.__context__
    return None


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in DAMAGED or str(error).startswith(LACKING)
