"""Repair of a damaged ledger in one transaction: restore what follows from other rows; remove and report the rest.

Rows that do not match their digest are removed. The missing rows are then restored from what is left: a sweep from its own
columns, if they still give its id; trials from the sweep's spec; the progress of a trial from the recorded states; checkpoints
from their files. A trial whose path has a gap is reset to the epoch before the gap and waits: its next run trains the gap from
the nearest checkpoint and compares the result with the later records.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, Table, cast, delete, insert, inspect, literal_column, select

from sweeps.ledger import database, migrations, tables
from sweeps.ledger.database import LedgerError, upsert
from sweeps.ledger.holding import now_ms
from sweeps.ledger.integrity import SWEEPS, is_readable
from sweeps.ledger.records import SweepRow, encode
from sweeps.ledger.repair_sweeps import BACK, BrokenSweep, restored
from sweeps.ledger.sealing import Damage, is_intact, on_conflict, seal
from sweeps.urls import sqlite_file

SERVICE = (tables.submissions, tables.tokens, tables.audit)
CONTENT = (tables.trials, tables.states, tables.checkpoints, tables.events, tables.invocations, tables.tracking)


@dataclass(frozen=True, kw_only=True)
class RepairedPart:
    """A damaged or missing part, and what was done about it.

    ``sweep`` is a name, empty for a part that belongs to no sweep; ``restored`` is false if the part is lost.
    """

    sweep: str
    sweep_id: str = ""
    what: str
    how: str
    restored: bool

    @property
    def trains(self) -> bool:
        """Whether training restores it."""
        return self.how == BACK


def repair_ledger(
    url: str, saved: Callable[[str], bool], *, dry_run: bool, sweep: str | None = None
) -> list[RepairedPart]:
    """Repair a damaged ledger; a dry run only reports what would be done.

    A ledger of an older version is upgraded first, in the same transaction.

    Args:
        saved: whether a state has a checkpoint on disk.
        sweep: the name or id of a sweep that must exist.

    Raises:
        LedgerDamaged: the database itself cannot be read.
        LedgerError: there is no such sweep; nothing is changed.
        SweepBusy: a sweep is being run.
    """
    engine = database.engine(url)
    try:
        with database.refusals_told(engine.url, "repaired"):
            database.check_file(engine, indexes=True)
            migrations.import_alembic()
            with database.writer(engine) as connection, connection.begin() as transaction:
                if sqlite_file(url) is None or inspect(connection).get_table_names():
                    _upgrade(connection)
                done = LedgerRepair(connection, saved).all(sweep)
                if dry_run or not done:
                    transaction.rollback()
                return done
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    with suppress(Damage):  # of its version, which the repair restores
        migrations.settle(connection)


@dataclass
class LedgerRepair:
    """One repair. ``saved`` returns whether a state has a checkpoint on disk."""

    connection: Connection
    saved: Callable[[str], bool]
    done: list[RepairedPart] = field(default_factory=list)

    def all(self, wanted: str | None = None) -> list[RepairedPart]:
        """Repair everything; return what was done.

        Raises:
            LedgerError: no sweep has the name or id ``wanted``.
        """
        if settle_version(self.connection):
            self._tell("the schema version", "restored from the tables", True)
        # Every writer locks a sweep's row before rows of other tables.
        self.connection.execute(select(tables.sweeps.c.id).order_by(tables.sweeps.c.id).with_for_update()).all()
        listed = self._listed()
        gone = {table.name: self._remove_damaged(table) for table in CONTENT}
        broken = self._remove_damaged(tables.sweeps)
        sweeps, again = self._sweeps(listed or {}, broken)
        _refuse_unknown(wanted, (listed or {}) | {sweep.id: sweep.name for sweep in sweeps})
        self._register({sweep.id: sweep.name for sweep in sweeps}, listed)
        for sweep in sweeps:
            found = BrokenSweep(self.connection, sweep, whole=sweep.id not in again).mend()
            for what, how, sure in found:
                self._tell(what, how, sure, (sweep.id, sweep.name))
        self._checkpoints(gone[tables.checkpoints.name])
        if count := len(gone[tables.states.name]):
            self._tell(f"{count} records of epochs", "removed; affected trials will be retrained", True)
        for table in SERVICE:
            if lost := self._remove_damaged(table):
                self._tell(f"{len(lost)} of the service's {table.name}", "removed; nothing restores them", False)
        if not self.done and (count := len(broken) + sum(map(len, gone.values()))):
            self._tell(f"{count} damaged row{'s' * (count != 1)} that nothing refers to", "removed", True)
        return self.done

    def _tell(self, what: str, how: str, restored: bool, sweep: tuple[str, str] = ("", "")) -> None:
        key, name = sweep
        self.done.append(RepairedPart(sweep=name, sweep_id=key, what=what, how=how, restored=restored))

    def _remove_damaged(self, table: Table) -> list[dict[str, Any]]:
        """Remove the rows that do not match their digests or cannot be decoded; return their content."""
        place: ColumnElement[Any] = literal_column("ctid" if self.connection.dialect.name == "postgresql" else "rowid")
        # In the order of their keys, as others lock them too.
        order = (*table.primary_key, place)
        places = self.connection.scalars(select(cast(place, String)).select_from(table).order_by(*order)).all()
        rows = self.connection.execute(select(table).order_by(*order)).mappings()
        damaged = [(at, row) for at, row in zip(places, rows, strict=True) if not is_readable(table, row)]
        for at, _ in damaged:
            self.connection.execute(delete(table).where(cast(place, String) == at))
        return [dict(row) for _, row in damaged]

    def _listed(self) -> dict[str, str] | None:
        """Return the list of sweeps, or None if it is damaged or missing."""
        row = self.connection.execute(select(tables.meta).where(tables.meta.c.name == SWEEPS)).mappings().first()
        return dict(json.loads(row["value"])) if row is not None and is_intact(tables.meta, row) else None

    def _sweeps(
        self, listed: Mapping[str, str], broken: Iterable[Mapping[str, Any]]
    ) -> tuple[list[SweepRow], set[str]]:
        """Return the intact and the restorable sweeps, and the ids of the latter.

        All other sweeps are removed except for the records of their states.
        """
        again = set[str]()
        known = set(self.connection.scalars(select(tables.sweeps.c.id)))
        for row in broken:
            whole = restored(
                row, {key: name for key, name in listed.items() if key not in known}, self._names(row["id"])
            )
            if whole is None or whole["id"] in known:
                continue
            self.connection.execute(insert(tables.sweeps).values(seal(tables.sweeps, whole)))
            known.add(whole["id"])
            again.add(whole["id"])
            how = "restored from its spec, which determines its id; the forecast is lost"
            self._tell("its own row", how, True, (whole["id"], whole["name"]))
        for key in listed.keys() - known:
            self._forget(key, listed[key])
        rows = self.connection.execute(select(tables.sweeps).order_by(tables.sweeps.c.used_ms, tables.sweeps.c.id))
        return [SweepRow.read(row) for row in rows.mappings()], again

    def _names(self, sweep_id: str) -> dict[int, tuple[str, str]]:
        """Return arm and name of a sweep's trials by their numbers."""
        at = tables.trials.c
        rows = self.connection.execute(select(at.number, at.arm, at.name).where(at.sweep_id == sweep_id))
        return {row.number: (row.arm, row.name) for row in rows}

    def _forget(self, key: str, name: str) -> None:
        for table in (tables.trials, tables.events, tables.invocations, tables.tracking):
            self.connection.execute(delete(table).where(table.c.sweep_id == key))
        how = "cannot be restored; `abel run SPEC` with its spec adds it again and reuses the recorded epochs"
        self._tell(f"its own row ({key})", how, False, (key, name))

    def _register(self, names: dict[str, str], listed: dict[str, str] | None) -> None:
        row = seal(tables.meta, {"name": SWEEPS, "value": encode(names)})
        self.connection.execute(on_conflict(upsert(self.connection, tables.meta), tables.meta), row)
        if listed is None and names:
            self._tell("the list of sweeps", "restored from their rows", True)

    def _checkpoints(self, damaged: Sized) -> None:
        """Enter checkpoints that are on disk but have no row."""
        at = tables.checkpoints.c
        missing = select(tables.states.c.key, tables.states.c.epoch).where(tables.states.c.key.not_in(select(at.key)))
        rows = [
            seal(tables.checkpoints, {"key": row.key, "epoch": row.epoch, "saved_at_ms": now_ms()})
            for row in self.connection.execute(missing)
            if self.saved(row.key)
        ]
        if rows:
            self.connection.execute(insert(tables.checkpoints), rows)
        if rows or len(damaged):
            self._tell(f"{max(len(rows), len(damaged))} checkpoint entries", "restored from the files", True)


def _refuse_unknown(wanted: str | None, sweeps: Mapping[str, str]) -> None:
    if wanted is not None and wanted not in (*sweeps, *sweeps.values()):
        known = ", ".join(sorted(set(sweeps.values()))) or "none yet"
        raise LedgerError(f"sweep {wanted!r}: must be one that was run here ({known})")


def settle_version(connection: Connection) -> bool:
    """Restore the schema version if its row is damaged and the tables have this program's columns; return whether it was."""
    found = connection.execute(select(tables.meta).where(tables.meta.c.name == "schema_version")).mappings().first()
    if found is not None and is_intact(tables.meta, found):
        return False
    for table in tables.metadata.sorted_tables:
        connection.execute(select(table).limit(1))
    row = migrations.version_row(tables.SCHEMA_VERSION)
    connection.execute(on_conflict(upsert(connection, tables.meta), tables.meta), row)
    return True
