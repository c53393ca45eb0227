"""The ledger: the one truth about sweeps, trials, states, checkpoints and events (SQLAlchemy; SQLite or PostgreSQL).

Every write is one short transaction, so a process killed at any instant leaves either all of a write or nothing of it, and
readers never block the writer. SQLite has one writer at a time. On PostgreSQL, whoever writes for a sweep locks its row first:
so a sweep's events become visible in the order of their ids, and a reader who goes on after the last one misses none.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, delete, insert, inspect, select

from sweeps.ledger import database, leases, migrations, tables
from sweeps.ledger.database import LedgerError, upsert
from sweeps.ledger.entries import checkpoint_row, state_row, sweep_identity, trial_row
from sweeps.ledger.holding import Held, held, now_ms
from sweeps.ledger.mending import Mended, Mending
from sweeps.ledger.queries import OUTCOMES, Reading, pages
from sweeps.ledger.records import SweepStatus, TrialStatus, encode, storable
from sweeps.ledger.sealing import Damage, change, on_conflict, seal
from sweeps.ledger.soundness import SWEEPS
from sweeps.spec.sweep import Trial
from sweeps.urls import sqlite_file
from workers.cohort import Record
from workers.config import Program
from workers.trajectory import Identity

# What is written to trials that failed, to have them trained again.
AGAIN: Mapping[str, Any] = {"status": TrialStatus.WAITING, "error": None, "failure": None, "attempts": 0}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one report of a worker adds to the ledger, in one transaction.

    ``heads`` moves trials along their paths: trial id to (state key, epoch); ``final`` says up to which epoch a trial's
    records are covered by a checkpoint. ``failures`` maps trials to the class of what befell them and how often they have
    been taken up since. ``events`` are (kind, payload) pairs.
    """

    records: Sequence[Record] = ()
    heads: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    final: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Sequence[tuple[str, int]] = ()
    failures: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    ended: Mapping[str, tuple[TrialStatus, str | None]] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    replayed: int = 0
    forks: int = 0
    seconds_saving: float = 0.0


class Ledger(Reading):
    """One ledger; open it once per process. What cannot be written raises :class:`LedgerError`."""

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """Open the ledger at an SQLAlchemy URL; create it where there is none, upgrade one that an older program wrote.

        Raises:
            LedgerError: the database cannot be opened, is no ledger, or a newer program wrote it.
            LedgerDamaged: its file is empty, is no database, or lacks what every ledger has.
        """
        database.make_whole(url, cls.create)
        ledger, is_file = cls(database.engine(url)), sqlite_file(url) is not None
        try:
            with ledger._read() as connection:
                found = migrations.version(connection)
                if found is None and is_file and not inspect(connection).get_table_names():
                    raise Damage("its file holds no table")
            if found != str(tables.SCHEMA_VERSION):
                with ledger._write() as connection:
                    migrations.settle(connection)
        except LedgerError:
            ledger.close()
            raise
        return ledger

    @classmethod
    def create(cls, url: str) -> None:
        """Make a ledger in an empty database, or in a file that is not there yet."""
        ledger = cls(database.engine(url))
        try:
            with ledger._write() as connection:
                migrations.settle(connection)
        finally:
            ledger.close()

    @classmethod
    def mend(cls, url: str, saved: Callable[[str], bool], *, dry_run: bool, sweep: str | None = None) -> list[Mended]:
        """Mend a damaged ledger (:mod:`sweeps.ledger.mending`); a dry run only says what would be done.

        One that an older program wrote is upgraded first, in the same transaction.

        Args:
            saved: whether there is a checkpoint of a state on the disk.
            sweep: the name or the id of a sweep that must be there.

        Raises:
            LedgerDamaged: the database itself cannot be read.
            LedgerError: there is no such sweep; nothing is changed.
            SweepBusy: a sweep is being run.
        """
        ledger = cls(database.engine(url))
        try:
            with database.told(ledger._engine.url, "repaired"):
                database.check_file(ledger._engine, indexes=True)
                with database.writer(ledger._engine) as connection, connection.begin() as transaction:
                    if sqlite_file(url) is None or inspect(connection).get_table_names():
                        with suppress(Damage):  # to its version
                            migrations.settle(connection)
                    done = Mending(connection, saved).all(sweep)
                    if dry_run or not done:
                        transaction.rollback()
                    return done
        finally:
            ledger.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with (
            database.told(self._engine.url, "opened or written"),
            database.writer(self._engine) as connection,
            connection.begin(),
        ):
            yield connection

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
        """Enter a sweep and its trials; of one that is there already, take the description. Returns its id."""
        sweep_id = sweep_identity(name, trials, identities, sharing=sharing)
        row = {
            "id": sweep_id,
            "name": name,
            "spec": encode(spec),
            "sharing": int(sharing),
            "status": SweepStatus.RUNNING,
            "created_ms": now_ms(),
            "used_ms": now_ms(),
            "forecast": None if forecast is None else encode(forecast),
            "identities": encode([asdict(identity) for identity in identities.values()]),
        }
        with self._write() as connection:
            if connection.scalar(_entry(connection, row)):
                connection.execute(insert(tables.trials), [trial_row(sweep_id, trial) for trial in trials])
                _register(connection, sweep_id, name)
                with held(connection, sweep_id) as sweep:
                    sweep.count("trials", len(trials))
                    sweep.append("sweep_started", {})
            else:
                with held(connection, sweep_id) as sweep:
                    _describe(sweep, spec)
        return sweep_id

    def describe_sweep(self, sweep_id: str, spec: Mapping[str, Any]) -> None:
        """Take what a spec says beside its trials, such as title and figure, where that was changed."""
        with self._hold(sweep_id) as sweep:
            _describe(sweep, spec)

    def use_sweep(self, sweep_id: str) -> None:
        """Note that the sweep was asked for now: its name means it from here on."""
        with self._hold(sweep_id) as sweep:
            sweep.row["used_ms"] = now_ms()

    @contextmanager
    def _hold(self, sweep_id: str) -> Iterator[Held]:
        """A transaction that has the sweep's row for itself."""
        with self._write() as connection, held(connection, sweep_id) as sweep:
            yield sweep

    # Commands, which are not the driver's to give

    def cancel_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Ask for the end of trials; those of a sweep that nobody runs end at once. Returns how many had no outcome yet."""
        at, asked = tables.trials.c, 0
        with self._hold(sweep_id) as sweep:
            for page in pages(list(trials)):
                open_ones = (at.sweep_id == sweep_id) & at.id.in_(page) & at.status.not_in(OUTCOMES)
                asked += len(change(sweep.connection, tables.trials, open_ones, {"cancel_asked_ms": now_ms()}))
            if not leases.stands(sweep.row["holder"], sweep.row["lease_until_ms"]):
                sweep.row |= leases.RELEASED  # one that was stopped past its lease must not go on with them
                _end_cancelled(sweep)
                left = select(at.id).where(at.sweep_id == sweep_id, at.status.not_in(OUTCOMES)).limit(1)
                if asked and sweep.connection.scalar(left) is None:
                    _end_sweep(sweep, SweepStatus.CANCELLED)
        return asked

    def retry_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Take back that trials failed or were cancelled: the next invocation trains them. Returns how many there were.

        Raises:
            SweepBusy: a process runs the sweep.
        """
        at, retried = tables.trials.c, 0
        with self._hold(sweep_id) as sweep:
            leases.refuse_held(sweep.row)
            sweep.row |= leases.RELEASED
            for page in pages(list(trials)):
                ended = at.id.in_(page) & at.status.in_((TrialStatus.FAILED, TrialStatus.CANCELLED))
                retried += len(change(sweep.connection, tables.trials, ended, {**AGAIN, "cancel_asked_ms": None}))
            if retried:
                sweep.row["status"] = SweepStatus.INTERRUPTED
        return retried

    # What a driver writes while a sweep runs

    def begin_invocation(self, sweep_id: str) -> int:
        """Take the sweep's lease and open the account of one ``abel run``; its number is the fence of all its writes.

        Trials that failed get another chance; other outcomes stay.

        Raises:
            SweepBusy: another process runs the sweep.
        """
        nothing = dict.fromkeys(("trained", "replayed", "forks", "seconds_training", "seconds_saving"), 0)
        row = nothing | {"sweep_id": sweep_id, "started_ms": now_ms()}
        failed = (tables.trials.c.sweep_id == sweep_id) & (tables.trials.c.status == TrialStatus.FAILED)
        with self._hold(sweep_id) as sweep:
            entry = insert(tables.invocations).values(seal(tables.invocations, row))
            made = sweep.connection.execute(entry).inserted_primary_key
            assert made is not None
            sweep.count("invocations", 1)
            sweep.row |= leases.taken(sweep.row, int(made[0]))
            sweep.row |= {"status": SweepStatus.RUNNING, "used_ms": now_ms()}
            change(sweep.connection, tables.trials, failed, AGAIN)
        return int(made[0])

    def renew_lease(self, sweep_id: str, invocation: int) -> None:
        """Say that the invocation is alive; :class:`~sweeps.ledger.leases.Fenced` where another has taken the sweep over."""
        with self._hold(sweep_id) as sweep:
            sweep.row |= leases.renewed(sweep.row, invocation)

    def end_invocation(
        self,
        sweep_id: str,
        invocation: int,
        status: SweepStatus,
        *,
        seconds_committing: float = 0.0,
        seconds_starting: float = 0.0,
    ) -> None:
        """Write how and when the invocation ended, and what its driver spent on this ledger and on starting Ray."""
        spent = {"seconds_committing": seconds_committing, "seconds_starting": seconds_starting}
        with self._hold(sweep_id) as sweep:
            leases.renewed(sweep.row, invocation)
            _change_invocation(sweep.connection, invocation, spent | {"ended_ms": now_ms()})
            _end_cancelled(sweep)  # asked for since the driver last looked
            _end_sweep(sweep, status)
            sweep.row |= leases.RELEASED

    def commit(self, sweep_id: str, invocation: int, batch: Batch) -> None:
        """Write a batch as one transaction: its states (a state that is there already stays as it is), trials, events.

        Raises:
            Fenced: another invocation has the sweep; nothing was written.
            LedgerDamaged: a row that would be changed is not what was written.
        """
        at = tables.trials.c
        with self._hold(sweep_id) as sweep:
            connection = sweep.connection
            sweep.row |= leases.renewed(sweep.row, invocation)
            # In the order of their keys: sweeps that enter the same states at a time must not wait for each other in a ring.
            if rows := [state_row(record) for record in sorted(batch.records, key=attrgetter("key"))]:
                connection.execute(upsert(connection, tables.states).on_conflict_do_nothing(), rows)
            saved = [checkpoint_row(*one) for one in sorted(batch.checkpoints)]
            if saved:
                connection.execute(on_conflict(upsert(connection, tables.checkpoints), tables.checkpoints), saved)
            moved = _moved(batch)
            for page in pages(list(moved)):
                if len(change(connection, tables.trials, at.id.in_(page), lambda row: moved[row["id"]])) < len(page):
                    raise Damage(f"sweep {sweep.row['name']!r} lacks trials")
            for kind, payload in batch.events:
                sweep.append(kind, payload)
            _change_invocation(connection, invocation, lambda row: _spent(row, batch))

    # What others write

    def save_tracking_offset(self, sweep_id: str, target: str, event_id: int) -> None:
        """Note that the tracking store at ``target`` has acknowledged the sweep's events up to this one."""
        at, values = tables.tracking.c, {"sweep_id": sweep_id, "target": target, "event_id": event_id}
        with self._write() as connection:
            there = (at.sweep_id == sweep_id) & (at.target == target)
            if change(connection, tables.tracking, there, {"event_id": event_id}):
                return
            with held(connection, sweep_id) as sweep:
                if not change(connection, tables.tracking, there, {"event_id": event_id}):  # others may be first too
                    connection.execute(insert(tables.tracking).values(seal(tables.tracking, values)))
                    sweep.count("tracking", 1)

    def move_tracking_offset(self, sweep_id: str, old: str, new: str) -> None:
        """Know the tracking store at ``old`` as ``new`` from here on, and keep nothing of the old spelling."""
        at = tables.tracking.c
        offset = 0 if old == new else self.tracking_offset(sweep_id, old)
        if not offset:
            return
        self.save_tracking_offset(sweep_id, new, max(offset, self.tracking_offset(sweep_id, new)))
        with self._hold(sweep_id) as sweep:
            gone = sweep.connection.execute(delete(tables.tracking).where(at.sweep_id == sweep_id, at.target == old))
            sweep.count("tracking", -gone.rowcount)

    def prune_checkpoints(self, keys: Iterable[str]) -> None:
        """Note that checkpoints are no more; what they covered stays final."""
        at = tables.checkpoints.c
        with self._write() as connection:
            for page in pages(sorted(keys)):  # the order of commits, which are not to wait for this in a ring
                gone = at.key.in_(page) & at.pruned_ms.is_(None)
                change(connection, tables.checkpoints, gone, {"pruned_ms": now_ms()})


def _entry(connection: Connection, row: Mapping[str, Any]) -> Any:
    entry = upsert(connection, tables.sweeps).values(seal(tables.sweeps, row))
    return entry.on_conflict_do_nothing().returning(tables.sweeps.c.id)


def _register(connection: Connection, sweep_id: str, name: str) -> None:
    """Enter a new sweep in the list of sweeps, which shows where one is lost."""
    row = {"name": SWEEPS, "value": "{}"}
    connection.execute(upsert(connection, tables.meta).values(seal(tables.meta, row)).on_conflict_do_nothing())

    def entered(found: Mapping[str, Any]) -> dict[str, str]:
        return {"value": encode(json.loads(found["value"]) | {sweep_id: name})}

    change(connection, tables.meta, tables.meta.c.name == SWEEPS, entered)


def _describe(sweep: Held, spec: Mapping[str, Any]) -> None:
    if sweep.row["spec"] != (text := encode(spec)):
        sweep.row["spec"] = text
        sweep.append("sweep_described", {})


def _end_sweep(sweep: Held, status: SweepStatus) -> None:
    sweep.row["status"] = status
    sweep.append("sweep_ended", {"status": status})


def _end_cancelled(sweep: Held) -> None:
    at = tables.trials.c
    asked = (at.sweep_id == sweep.row["id"]) & at.cancel_asked_ms.is_not(None) & at.status.not_in(OUTCOMES)
    for row in change(sweep.connection, tables.trials, asked, {"status": TrialStatus.CANCELLED}):
        ending = {"trial": row["id"], "status": TrialStatus.CANCELLED, "epoch": row["epoch"], "error": None}
        sweep.append("trial_ended", ending)


def _moved(batch: Batch) -> dict[str, dict[str, Any]]:
    """What a batch changes in each trial's row."""
    moved: dict[str, dict[str, Any]] = defaultdict(dict)
    for trial, (key, epoch) in batch.heads.items():
        moved[trial] |= {"head": key, "epoch": epoch, "status": TrialStatus.RUNNING}
    for trial, epoch in batch.final.items():
        moved[trial] |= {"final_epoch": epoch}
    for trial, (failure, attempts) in batch.failures.items():
        moved[trial] |= {"failure": failure, "attempts": attempts}
    for trial, (status, error) in batch.ended.items():
        moved[trial] |= {"status": status, "error": error and storable(error)}
    return moved


def _change_invocation(connection: Connection, invocation: int, how: Any) -> None:
    if not change(connection, tables.invocations, tables.invocations.c.id == invocation, how):
        raise Damage(f"the account of invocation {invocation} is missing")


def _spent(row: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    return {
        "trained": row["trained"] + len(batch.records),
        "replayed": row["replayed"] + batch.replayed,
        "forks": row["forks"] + batch.forks,
        "seconds_saving": row["seconds_saving"] + batch.seconds_saving,
        "seconds_training": row["seconds_training"] + sum(record.metrics["seconds"] for record in batch.records),
    }
