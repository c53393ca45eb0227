"""Consistency checks between the ledger's rows: none is missing, none was added, and paths reach epoch 1."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Table, select

from sweeps.ledger import tables
from sweeps.ledger.holding import holdings
from sweeps.ledger.records import EventRow, StateRow, SweepRow, TrialRow
from sweeps.ledger.sealing import Damage, Row, check_row, name

SWEEPS = "sweeps"  # the row of `meta` that lists the sweeps: id to name

Read = TypeVar("Read")


READERS: dict[str, Callable[[Row], object]] = {
    tables.sweeps.name: SweepRow.read,
    tables.trials.name: TrialRow.read,
    tables.states.name: StateRow.read,
    tables.events.name: EventRow.read,
}


def is_readable(table: Table, row: Row) -> bool:
    """Whether a row matches its digest and can be decoded: it may have been damaged before its digest was computed."""
    try:
        _decoded(table, row, READERS.get(table.name, lambda row: row))
    except Damage:
        return False
    return True


def intact_rows(
    connection: Connection,
    table: Table,
    query: Executable,
    read: Callable[[Row], Read],
    given: Mapping[str, Any] | None = None,
) -> list[Read]:
    """Return the rows of a query for whole rows of a table, checked and decoded.

    Args:
        given: values of the query's parameters, or the row of an insertion that returns it.

    Raises:
        Damage: a row does not match its digest, or matches it but cannot be decoded.
    """
    found = connection.execute(query, given)
    names = tuple(found.keys())
    # Plain dictionaries: looking a column up in SQLAlchemy's mapping takes several times as long.
    return [_decoded(table, dict(zip(names, row, strict=True)), read) for row in found]


def sweep_rows(connection: Connection, ids: Collection[str] | None = None) -> tuple[list[SweepRow], dict[str, str]]:
    """Return the intact sweeps, the most recently run last, and the names of the others by id; only these ids, if given."""
    listed, intact = register(connection), []
    query = select(tables.sweeps).order_by(tables.sweeps.c.used_ms, tables.sweeps.c.id)
    if ids is not None:
        listed = {key: text for key, text in listed.items() if key in ids}
        query = query.where(tables.sweeps.c.id.in_(ids))
    for row in connection.execute(query).mappings():
        if row["id"] in listed and is_readable(tables.sweeps, row):
            intact.append(SweepRow.read(row))
        elif row["id"] not in listed:
            listed[str(row["id"])] = str(row["name"])
    known = {row.id for row in intact}
    return intact, {key: text for key, text in listed.items() if key not in known}


def register(connection: Connection) -> dict[str, str]:
    """Return the names of all sweeps by id.

    Raises:
        Damage: the list is damaged, or missing although there are sweeps.
    """
    query = select(tables.meta).where(tables.meta.c.name == SWEEPS)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        if connection.execute(select(tables.sweeps.c.id).limit(1)).first():
            raise Damage("the list of sweeps is missing")
        return {}
    check_row(tables.meta, row)
    listed: dict[str, str] = json.loads(row["value"])
    return listed


def sweep_row(connection: Connection, sweep_id: str) -> Mapping[Any, Any] | None:
    """Return the row of a sweep; None if there is no such sweep.

    Raises:
        Damage: the sweep's row is damaged or missing.
    """
    row = connection.execute(select(tables.sweeps).where(tables.sweeps.c.id == sweep_id)).mappings().one_or_none()
    if row is None:
        if sweep_id in (listed := register(connection)):
            raise Damage(f"the row of sweep {listed[sweep_id]!r} ({sweep_id}) is missing")
        return None
    check_row(tables.sweeps, row)
    return row


def held_by(connection: Connection, sweep_id: str) -> dict[str, Any]:
    """Return the counts of a sweep's rows in other tables; zeros if there is no such sweep.

    Raises:
        Damage: the sweep's row is damaged or missing.
    """
    row = sweep_row(connection, sweep_id)
    return holdings() if row is None else holdings(row["holds"])


def expect(sweep_id: str, what: str, found: int, written: int) -> None:
    """Check a number of rows.

    Raises:
        Damage: some are missing, or there are more than were written.
    """
    if found != written:
        raise Damage(f"sweep {sweep_id}: expected {written} {what}, found {found}")


def linked(sweep_id: str, events: Sequence[EventRow], after: int, last: int | None) -> None:
    """Check that no event is missing after an event id; ``last`` is the expected id of the sweep's last event.

    Raises:
        Damage: an event is missing, or was added.
    """
    before = after
    for number, row in enumerate(events):
        if row.previous != before if number else row.previous > after:
            raise Damage(f"sweep {sweep_id}: events between {before} and {row.id} are missing, or were added")
        before = row.id
    if last is not None and before < last:
        raise Damage(f"sweep {sweep_id}: events after {before} are missing")


def unbroken(head: str, curve: Sequence[StateRow]) -> None:
    """Check that a path leads from epoch 1 to its head without a gap.

    Raises:
        Damage: a state of the path is missing, or belongs elsewhere.
    """
    if not curve or curve[-1].key != head:
        raise Damage(f"the record of state {head[:12]} is missing")
    if curve[0].epoch != 1:
        missing = curve[0].epoch - 1
        raise Damage(f"the record of epoch {missing} (state {curve[0].parent[:12]}) is missing")
    for number, state in enumerate(curve, start=1):
        if state.epoch != number or (number > 1 and state.parent != curve[number - 2].key):
            raise Damage(f"state {state.key[:12]} records epoch {state.epoch} but is number {number} on its path")


@contextmanager
def about(sweep: SweepRow, trial: TrialRow) -> Iterator[None]:
    """Add the trial to an error about it."""
    try:
        yield
    except Damage as damage:
        raise Damage(f"sweep {sweep.name!r} ({sweep.id}): trial {trial.name!r}: {damage}") from None


def _decoded(table: Table, row: Row, read: Callable[[Row], Read]) -> Read:
    check_row(table, row)
    try:
        return read(row)
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged before its digest was computed
        raise Damage(f"{name(table, row)} cannot be decoded") from None
