"""The ledger: the source of truth about sweeps, trials, states, checkpoints and events (SQLite or PostgreSQL, SQLAlchemy).

Every write is one short transaction. So a process killed at any instant leaves either all of a write or none of it, and
readers never block the writer. SQLite has one writer at a time. On PostgreSQL, every write for a sweep locks its row first, so
a sweep's events become visible in the order of their ids, and a reader that continues after the last one misses none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, inspect, select

from sweeps.ledger import database, leases, migrations, tables
from sweeps.ledger.database import LedgerError, upsert
from sweeps.ledger.driving import AGAIN, Driving, end_cancelled, end_sweep, has_open_trials
from sweeps.ledger.entries import checkpoint_row, state_row, sweep_identity, trial_row
from sweeps.ledger.holding import HeldSweep, held, now_ms
from sweeps.ledger.integrity import SWEEPS
from sweeps.ledger.queries import OUTCOMES, pages
from sweeps.ledger.records import SweepStatus, TrialStatus, encode
from sweeps.ledger.sealing import Damage, change_rows, on_conflict, seal
from sweeps.urls import sqlite_file

if TYPE_CHECKING:
    from sweeps.spec.trial import Trial
    from workers.config import Program
    from workers.reports import Record
    from workers.trajectory import Identity

ADOPTED = "adopted"  # the event of epochs and checkpoints that were entered under the keys of other code


class Ledger(Driving):
    """One ledger; open it once per process. A failed write raises :class:`LedgerError`."""

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the ledger at an SQLAlchemy URL; create it if it does not exist, upgrade it from an older version.

        Raises:
            LedgerError: the database cannot be opened, is not a ledger, or has a newer version.
            LedgerDamaged: its file is empty or not a database, or a part that every ledger has is missing.
        """
        database.make_whole(url, cls.create)
        ledger, is_file = cls(database.engine(url)), sqlite_file(url) is not None
        try:
            with ledger._read() as connection:
                found = migrations.version(connection)
                if found is None and is_file and not inspect(connection).get_table_names():
                    raise Damage("its file holds no table")
            if found != str(tables.SCHEMA_VERSION):
                migrations.import_alembic()
                with ledger._write() as connection:
                    migrations.settle(connection)
        except LedgerError:
            ledger.close()
            raise
        return ledger

    @classmethod
    def create(cls, url: str) -> None:
        """Create a ledger in an empty database, or in a new file."""
        ledger = cls(database.engine(url))
        try:
            with ledger._write() as connection:
                migrations.settle(connection)
        finally:
            ledger.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # Sweeps and trials

    def create_sweep(
        self,
        name: str,
        spec: Mapping[str, Any],
        trials: Sequence[Trial],
        identities: Mapping[Program, Identity],
        *,
        sharing: bool = True,
        forecast: Mapping[str, Any] | None = None,
    ) -> str:
        """Enter a sweep and its trials, or update the description of an existing one; return its id."""
        sweep_id = sweep_identity(name, trials, identities, sharing=sharing)
        row = {
            "id": sweep_id,
            "name": name,
            "spec": encode(spec, sort_keys=False),
            "sharing": int(sharing),
            "status": SweepStatus.RUNNING,
            "created_ms": now_ms(),
            "used_ms": now_ms(),
            "forecast": None if forecast is None else encode(forecast),
            "identities": encode([identity.to_dict() for identity in identities.values()]),
        }
        with self._write() as connection:
            is_new = connection.scalar(_entry(connection, row))
            if is_new:
                connection.execute(insert(tables.trials), [trial_row(sweep_id, trial) for trial in trials])
                _register(connection, sweep_id, name)
            with held(connection, sweep_id) as sweep:
                if is_new:
                    sweep.count("trials", len(trials))
                    sweep.append("sweep_started", {})
                else:
                    _describe(sweep, spec)
        return sweep_id

    def describe_sweep(self, sweep_id: str, spec: Mapping[str, Any]) -> None:
        """Update what a spec contains besides its trials, such as title and figure, if it has changed."""
        with self._hold(sweep_id) as sweep:
            _describe(sweep, spec)

    def use_sweep(self, sweep_id: str) -> None:
        """Mark the sweep as used now, so its name refers to it from now on."""
        with self._hold(sweep_id) as sweep:
            sweep.row["used_ms"] = now_ms()

    # Commands by others than the driver

    def cancel_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Request the end of trials, immediate if no process runs the sweep; return how many had no outcome yet."""
        at, asked = tables.trials.c, 0
        with self._hold(sweep_id) as sweep:
            for page in pages(list(trials)):
                open_ones = (at.sweep_id == sweep_id) & at.id.in_(page) & at.status.not_in(OUTCOMES)
                asked += len(change_rows(sweep.connection, tables.trials, open_ones, {"cancel_asked_ms": now_ms()}))
            if not leases.stands(sweep.row["holder"], sweep.row["lease_until_ms"]):
                sweep.row |= leases.RELEASED  # an invocation paused beyond its lease must not resume these trials
                end_cancelled(sweep)
                if asked and not has_open_trials(sweep):
                    end_sweep(sweep, SweepStatus.CANCELLED)
        return asked

    def retry_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Reset failed and cancelled trials, so the next invocation trains them; return their number.

        Raises:
            SweepBusy: a process runs the sweep.
        """
        at, retried = tables.trials.c, 0
        with self._hold(sweep_id) as sweep:
            leases.refuse_held(sweep.row)
            sweep.row |= leases.RELEASED
            for page in pages(list(trials)):
                ended = at.id.in_(page) & at.status.in_((TrialStatus.FAILED, TrialStatus.CANCELLED))
                retried += len(change_rows(sweep.connection, tables.trials, ended, {**AGAIN, "cancel_asked_ms": None}))
            sweep.count("changes", 1)
            if retried and sweep.row["status"] != SweepStatus.PAUSED:
                sweep.row["status"] = SweepStatus.INTERRUPTED
        return retried

    # Writes by others

    def save_tracking_offset(self, sweep_id: str, target: str, event_id: int) -> None:
        """Record that the tracking store at ``target`` has acknowledged the sweep's events up to this one."""
        at, values = tables.tracking.c, {"sweep_id": sweep_id, "target": target, "event_id": event_id}
        with self._write() as connection:
            there = (at.sweep_id == sweep_id) & (at.target == target)
            if change_rows(connection, tables.tracking, there, {"event_id": event_id}):
                return
            with held(connection, sweep_id) as sweep:
                if not change_rows(
                    connection, tables.tracking, there, {"event_id": event_id}
                ):  # others may be first too
                    connection.execute(insert(tables.tracking).values(seal(tables.tracking, values)))
                    sweep.count("tracking", 1)

    def move_tracking_offset(self, sweep_id: str, old: str, new: str) -> None:
        """Rename the tracking store at ``old`` to ``new``, and remove the old entry."""
        at = tables.tracking.c
        offset = 0 if old == new else self.tracking_offset(sweep_id, old)
        if not offset:
            return
        self.save_tracking_offset(sweep_id, new, max(offset, self.tracking_offset(sweep_id, new)))
        with self._hold(sweep_id) as sweep:
            gone = sweep.connection.execute(delete(tables.tracking).where(at.sweep_id == sweep_id, at.target == old))
            sweep.count("tracking", -gone.rowcount)

    def adopt_states(
        self, sweep_id: str, records: Sequence[Record], checkpoints: Mapping[str, int], event: Mapping[str, Any]
    ) -> None:
        """Enter records of a sweep under other keys, and checkpoints by key and epoch.

        Args:
            event: what the sweep's log says of it.

        Raises:
            LedgerError: one of the records was entered meanwhile; nothing is written.
        """
        # In the order of their keys, as commits enter them.
        rows = [state_row(record) for record in sorted(records, key=attrgetter("key"))]
        saved = [checkpoint_row(*one) for one in sorted(checkpoints.items())]
        at = tables.states.c
        with self._hold(sweep_id) as sweep:
            connection = sweep.connection
            for page in pages([row["key"] for row in rows]):
                if connection.scalar(select(at.key).where(at.key.in_(page)).limit(1)):
                    raise LedgerError(f"sweep {sweep.row['name']!r}: its epochs were trained meanwhile; adopt it again")
            if rows:
                connection.execute(insert(tables.states), rows)
            if saved:
                connection.execute(on_conflict(upsert(connection, tables.checkpoints), tables.checkpoints), saved)
            sweep.append(ADOPTED, dict(event) | {"epochs": len(rows), "checkpoints": sorted(checkpoints)})

    def prune_checkpoints(self, keys: Iterable[str]) -> None:
        """Record that checkpoints were removed; the records that they covered stay final."""
        at = tables.checkpoints.c
        with self._write() as connection:
            for page in pages(sorted(keys)):  # in the order of commits, to avoid deadlocks with them
                gone = at.key.in_(page) & at.pruned_ms.is_(None)
                change_rows(connection, tables.checkpoints, gone, {"pruned_ms": now_ms()})


def _entry(connection: Connection, row: Mapping[str, Any]) -> Any:
    entry = upsert(connection, tables.sweeps).values(seal(tables.sweeps, row))
    return entry.on_conflict_do_nothing().returning(tables.sweeps.c.id)


def _register(connection: Connection, sweep_id: str, name: str) -> None:
    """Add a new sweep to the list of sweeps, which reveals lost ones."""
    row = {"name": SWEEPS, "value": "{}"}
    connection.execute(upsert(connection, tables.meta).values(seal(tables.meta, row)).on_conflict_do_nothing())

    def entered(found: Mapping[str, Any]) -> dict[str, str]:
        return {"value": encode(json.loads(found["value"]) | {sweep_id: name})}

    change_rows(connection, tables.meta, tables.meta.c.name == SWEEPS, entered)


def _describe(sweep: HeldSweep, spec: Mapping[str, Any]) -> None:
    if sweep.row["spec"] != (text := encode(spec, sort_keys=False)):
        sweep.row["spec"] = text
        sweep.append("sweep_described", {})
