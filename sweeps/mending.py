"""Mends a damaged ledger in one transaction: what follows from other rows is restored, what does not is removed and named.

A row that does not match its digest is of no use to anyone and goes. What is then missing comes back from what is left: a
sweep from its own columns, where they still give its id; trials from the sweep's spec; where a trial stands from the states
that are there; checkpoints from their files. A trial whose path has a gap goes back to the epoch before it and waits: its
next run trains the gap from the nearest checkpoint and compares what it gets with the records after it.
"""

import json
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, Table, cast, delete, insert, literal_column, select

from sweeps import tables
from sweeps.database import upsert
from sweeps.holding import now_ms
from sweeps.mending_sweeps import BACK, Sweep, restored
from sweeps.rows import SweepRow, encode
from sweeps.sealing import is_intact, on_conflict, seal
from sweeps.soundness import SWEEPS

CONTENT = (tables.trials, tables.states, tables.checkpoints, tables.events, tables.invocations, tables.tracking)


@dataclass(frozen=True, kw_only=True)
class Mended:
    """Something that was damaged or missing, and what was done about it.

    ``sweep`` is a name, empty for what belongs to no sweep; ``restored`` is false for what is lost.
    """

    sweep: str
    what: str
    how: str
    restored: bool

    @property
    def trains(self) -> bool:
        """Whether training restores it."""
        return self.how == BACK


@dataclass
class Mending:
    """One repair. ``saved`` says whether there is a checkpoint of a state on the disk."""

    connection: Connection
    saved: Callable[[str], bool]
    done: list[Mended] = field(default_factory=list)

    def all(self) -> list[Mended]:
        """Mend everything; returns what was done."""
        if settle_version(self.connection):
            self._tell("the schema version", "restored from the tables", True)
        listed = self._listed()
        gone = {table.name: self._remove_damaged(table) for table in CONTENT}
        broken = {row["id"]: row for row in self._remove_damaged(tables.sweeps)}
        sweeps = self._sweeps(listed, broken)
        self._register({sweep.id: sweep.name for sweep in sweeps}, listed)
        for sweep in sweeps:
            found = Sweep(self.connection, sweep, whole=sweep.id not in broken).mend()
            self.done += [Mended(sweep=sweep.name, what=what, how=how, restored=sure) for what, how, sure in found]
        self._checkpoints(gone[tables.checkpoints.name])
        if count := len(gone[tables.states.name]):
            self._tell(f"{count} records of epochs", "removed; affected trials will be retrained", True)
        return self.done

    def _tell(self, what: str, how: str, restored: bool, sweep: str = "") -> None:
        self.done.append(Mended(sweep=sweep, what=what, how=how, restored=restored))

    def _remove_damaged(self, table: Table) -> list[dict[str, Any]]:
        """Remove the rows that do not match their digests; returns what they said."""
        place: ColumnElement[Any] = literal_column("ctid" if self.connection.dialect.name == "postgresql" else "rowid")
        rows = self.connection.execute(select(cast(place, String).label("_place"), table)).mappings()
        damaged = [dict(row) for row in rows if not is_intact(table, row)]
        for row in damaged:
            there = cast(place, String) == row.pop("_place")
            self.connection.execute(delete(table).where(there))
        return damaged

    def _listed(self) -> dict[str, str] | None:
        """The list of sweeps, or None where it is damaged or missing."""
        row = self.connection.execute(select(tables.meta).where(tables.meta.c.name == SWEEPS)).mappings().first()
        return dict(json.loads(row["value"])) if row is not None and is_intact(tables.meta, row) else None

    def _sweeps(self, listed: dict[str, str] | None, broken: dict[Any, dict[str, Any]]) -> list[SweepRow]:
        """The sweeps that are there, or can be put together again; the others are forgotten, but for their records."""
        query = select(tables.sweeps).order_by(tables.sweeps.c.used_ms)
        sweeps = [SweepRow.read(row) for row in self.connection.execute(query)]
        known = {sweep.id for sweep in sweeps}
        for key, row in broken.items():
            again = restored(row, (listed or {}).get(key)) if key not in known else None
            if again is not None:
                self.connection.execute(insert(tables.sweeps).values(seal(tables.sweeps, again)))
                query = select(tables.sweeps).where(tables.sweeps.c.id == key)
                sweeps.append(SweepRow.read(self.connection.execute(query).one()))
                self._tell(
                    "its own row",
                    "restored from its spec, which gives its id; the forecast is lost",
                    True,
                    again["name"],
                )
        for key in (listed or {}).keys() - {sweep.id for sweep in sweeps}:
            self._forget(key, (listed or {})[key])
        return sweeps

    def _forget(self, key: str, name: str) -> None:
        for table in (tables.trials, tables.events, tables.invocations, tables.tracking):
            self.connection.execute(delete(table).where(table.c.sweep_id == key))
        how = "cannot be restored; `abel run SPEC` with its spec enters it again, and trains no epoch whose record is there"
        self._tell(f"its own row ({key})", how, False, name)

    def _register(self, names: dict[str, str], listed: dict[str, str] | None) -> None:
        row = seal(tables.meta, {"name": SWEEPS, "value": encode(names)})
        self.connection.execute(on_conflict(upsert(self.connection, tables.meta), tables.meta), row)
        if listed is None and names:
            self._tell("the list of sweeps", "restored from their rows", True)

    def _checkpoints(self, damaged: Sized) -> None:
        """Enter what lies on the disk and no row tells of."""
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


def settle_version(connection: Connection) -> bool:
    """Write the schema version anew where its row is damaged, and the tables are those of this program."""
    row = connection.execute(select(tables.meta).where(tables.meta.c.name == "schema_version")).mappings().first()
    if row is not None and is_intact(tables.meta, row):
        return False
    for table in tables.metadata.sorted_tables:
        connection.execute(select(table).limit(1))
    version = seal(tables.meta, {"name": "schema_version", "value": str(tables.SCHEMA_VERSION)})
    connection.execute(on_conflict(upsert(connection, tables.meta), tables.meta), version)
    return True
