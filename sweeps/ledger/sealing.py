"""Digests of the ledger's rows: every write seals a row, every read checks the seal.

A digest covers all columns of a row and is the same in every kind of database. It detects damage and careless edits, but not an
attacker, who can recompute it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Float, Insert, Table, Update, bindparam, select, update

DIGITS = 32  # hexadecimal, of sha256
ENCODER = json.JSONEncoder(separators=(",", ":"))

Row = Mapping[Any, Any]  # by column name; SQLAlchemy's own mappings also accept columns


class Damage(Exception):
    """A row is not what was written, or is missing. The text names the row; the caller adds the ledger."""


def digest(table: Table, row: Row) -> str:
    """Return the digest of a row: of its table and the values of its columns, in the order of their names.

    An autoincremented id is excluded, as it is unknown before the row is written.
    """
    pick, real = _columns(table)
    values = pick(row)
    if real:
        values = tuple(float(value) if at in real and value is not None else value for at, value in enumerate(values))
    return hashlib.sha256(ENCODER.encode([table.name, *values]).encode()).hexdigest()[:DIGITS]


def seal(table: Table, values: Row) -> dict[str, Any]:
    """Return a complete row to insert, with defaults for missing columns and the digest."""
    row = {name: values.get(name, default) for name, default in _defaults(table).items()}
    return row | {"digest": digest(table, row)}


def is_intact(table: Table, row: Row) -> bool:
    """Whether a row is as it was written. A damaged row can hold anything, even bytes in a text column."""
    try:
        return bool(row["digest"] == digest(table, row))
    except (TypeError, ValueError, OverflowError):
        return False


def check_row(table: Table, row: Row) -> None:
    """Check a row that was read with all its columns.

    Raises:
        Damage: it does not match its digest.
    """
    if not is_intact(table, row):
        raise Damage(f"{name(table, row)} does not match its digest")


def name(table: Table, row: Row) -> str:
    """Return the name of a row in messages, by its key."""
    if table.name == "states":
        return f"the record of epoch {row['epoch']!s:.12} (state {row['key']!s:.12})"
    keys = " ".join(str(row[column.name])[:16] for column in table.primary_key)
    return f"the row {keys} of the table {table.name}"


def change_rows(
    connection: Connection, table: Table, where: ColumnElement[bool], how: Row | Callable[[Row], Row]
) -> list[dict[str, Any]]:
    """Change the matching rows in the caller's transaction and return the changed rows.

    Raises:
        Damage: a row was already damaged; sealing it again would hide that.
    """
    keys = tuple(table.primary_key)
    found = connection.execute(select(table).where(where).order_by(*keys).with_for_update()).mappings().all()
    changed = []
    for row in found:
        check_row(table, row)
        new = dict(row) | dict(how(row) if callable(how) else how)
        changed.append(new | {"digest": digest(table, new)})
    if changed:
        names = sorted({key for old, new in zip(found, changed, strict=True) for key in new if new[key] != old[key]})
        if names:
            parameters = [_parameters(table, row, names) for row in changed]
            connection.execute(_changing(table, tuple(names)), parameters)
    return changed


def on_conflict(statement: Any, table: Table) -> Insert:
    """Return an INSERT of :func:`~sweeps.ledger.database.upsert` that replaces the row with the same key."""
    keys = [column.name for column in table.primary_key]
    new = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    replaced: Insert = statement.on_conflict_do_update(index_elements=keys, set_=new)
    return replaced


def checked(table: Table, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows, each checked first."""
    for row in rows:
        check_row(table, row)
        yield row


def _parameters(table: Table, row: Row, names: Iterable[str]) -> dict[str, Any]:
    keys = {f"key_{column.name}": row[column.name] for column in table.primary_key}
    return keys | {f"new_{name}": row[name] for name in names}


@cache
def _changing(table: Table, names: tuple[str, ...]) -> Update:
    """Return an UPDATE of these columns of a row by its key."""
    changed: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(table).where(*(key == bindparam(f"key_{key.name}") for key in table.primary_key)).values(changed)


@cache
def _columns(table: Table) -> tuple[Callable[[Row], tuple[Any, ...]], frozenset[int]]:
    """Return a getter of the values that a digest covers, in the order of column names, and which of them are floats."""
    covered = _covered(table)
    real = frozenset(number for number, column in enumerate(covered) if isinstance(column.type, Float))
    return itemgetter(*(column.name for column in covered)), real


@cache
def _defaults(table: Table) -> dict[str, Any]:
    return {column.name: _default(column) for column in _covered(table)}


def _covered(table: Table) -> list[Column[Any]]:
    found = (c for c in table.columns if c is not table.autoincrement_column and c.name != "digest")
    return sorted(found, key=lambda column: column.name)


def _default(column: Column[Any]) -> Any:
    given: Any = column.server_default
    if given is None:
        return None
    text = str(given.arg)
    return int(text) if text.isascii() and text.isdigit() else text
