"""The ledger: the one truth about sweeps, trials, states, checkpoints and events (SQLAlchemy; SQLite or PostgreSQL).

Every write is one short transaction, so a process killed at any instant leaves either all of a write or nothing of it, and
readers never block the writer. SQLite has one writer at a time. On PostgreSQL, whoever writes for a sweep locks its row first:
so a sweep's events become visible in the order of their ids, and a reader who goes on after the last one misses none.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from sweeps import database, leases, migrations, tables
from sweeps.database import LedgerError, upsert
from sweeps.reading import OUTCOMES, Reading, pages
from sweeps.rows import SweepStatus, TrialStatus, encode, storable
from sweeps.spec import Trial
from workers.cohort import Record
from workers.config import Program, to_dict
from workers.trajectory import Identity


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
        """
        ledger = cls(database.engine(url))
        try:
            with ledger._read() as connection:
                current = migrations.version(connection) == str(tables.SCHEMA_VERSION)
            if not current:
                with ledger._write() as connection:
                    migrations.settle(connection)
        except LedgerError:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with database.told(self._engine.url, "opened or written"):
            writer = self._engine.connect().execution_options(abel_write=True)
            with writer as connection, connection.begin():
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
            "created_ms": _now_ms(),
            "used_ms": _now_ms(),
            "forecast": None if forecast is None else encode(forecast),
            "identities": encode([asdict(identity) for identity in identities.values()]),
        }
        with self._write() as connection:
            entry = upsert(connection, tables.sweeps).values(row).on_conflict_do_nothing()
            if connection.scalar(entry.returning(tables.sweeps.c.id)):
                connection.execute(insert(tables.trials), [_trial_row(sweep_id, trial) for trial in trials])
                _append(connection, sweep_id, "sweep_started", {})
            else:
                _describe(connection, sweep_id, spec)
        return sweep_id

    def describe_sweep(self, sweep_id: str, spec: Mapping[str, Any]) -> None:
        """Take what a spec says beside its trials, such as title and figure, where that was changed."""
        with self._write() as connection:
            _describe(connection, sweep_id, spec)

    def use_sweep(self, sweep_id: str) -> None:
        """Note that the sweep was asked for now: its name means it from here on."""
        used = {"used_ms": _now_ms()}
        with self._write() as connection:
            connection.execute(update(tables.sweeps).where(tables.sweeps.c.id == sweep_id).values(used))

    # Commands, which are not the driver's to give

    def cancel_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Ask for the end of trials; those of a sweep that nobody runs end at once. Returns how many had no outcome yet."""
        at = tables.trials.c
        with self._write() as connection:
            held, asked = leases.is_held(leases.locked(connection, sweep_id)), 0
            for page in pages(list(trials)):
                open_ones = (at.sweep_id == sweep_id) & at.id.in_(page) & at.status.not_in(OUTCOMES)
                statement = update(tables.trials).where(open_ones).values(cancel_asked_ms=_now_ms())
                asked += connection.execute(statement).rowcount
            if not held:
                leases.release(connection, sweep_id)  # one that was stopped past its lease must not go on with them
                self._end_cancelled(connection, sweep_id)
                left = select(at.id).where(at.sweep_id == sweep_id, at.status.not_in(OUTCOMES)).limit(1)
                if asked and connection.scalar(left) is None:
                    _end_sweep(connection, sweep_id, SweepStatus.CANCELLED)
        return asked

    def retry_trials(self, sweep_id: str, trials: Iterable[str]) -> int:
        """Take back that trials failed or were cancelled: the next invocation trains them. Returns how many there were.

        Raises:
            SweepBusy: a process runs the sweep.
        """
        at, retried = tables.trials.c, 0
        again = {"status": TrialStatus.WAITING, "error": None, "failure": None, "attempts": 0, "cancel_asked_ms": None}
        with self._write() as connection:
            leases.refuse_held(leases.locked(connection, sweep_id))
            leases.release(connection, sweep_id)
            for page in pages(list(trials)):
                ended = at.id.in_(page) & at.status.in_((TrialStatus.FAILED, TrialStatus.CANCELLED))
                retried += connection.execute(update(tables.trials).where(ended).values(again)).rowcount
            if retried:
                status = {"status": SweepStatus.INTERRUPTED}
                connection.execute(update(tables.sweeps).where(tables.sweeps.c.id == sweep_id).values(status))
        return retried

    def _end_cancelled(self, connection: Connection, sweep_id: str) -> None:
        at = tables.trials.c
        asked = (at.sweep_id == sweep_id) & at.cancel_asked_ms.is_not(None) & at.status.not_in(OUTCOMES)
        for row in connection.execute(select(at.id, at.epoch).where(asked)).all():
            ending = {"trial": row.id, "status": TrialStatus.CANCELLED, "epoch": row.epoch, "error": None}
            _append(connection, sweep_id, "trial_ended", ending)
            connection.execute(update(tables.trials).where(at.id == row.id).values(status=TrialStatus.CANCELLED))

    # What a driver writes while a sweep runs

    def begin_invocation(self, sweep_id: str) -> int:
        """Take the sweep's lease and open the account of one ``abel run``; its number is the fence of all its writes.

        Trials that failed get another chance; other outcomes stay.

        Raises:
            SweepBusy: another process runs the sweep.
        """
        nothing = dict.fromkeys(("trained", "replayed", "forks", "seconds_training", "seconds_saving"), 0)
        row = nothing | {"sweep_id": sweep_id, "started_ms": _now_ms()}
        failed = (tables.trials.c.sweep_id == sweep_id) & (tables.trials.c.status == TrialStatus.FAILED)
        again = {"status": TrialStatus.WAITING, "error": None, "failure": None, "attempts": 0}
        running = {"status": SweepStatus.RUNNING, "used_ms": _now_ms()}
        with self._write() as connection:
            number = connection.execute(insert(tables.invocations).values(row)).inserted_primary_key
            assert number is not None
            leases.take(connection, sweep_id, int(number[0]))
            connection.execute(update(tables.sweeps).where(tables.sweeps.c.id == sweep_id).values(running))
            connection.execute(update(tables.trials).where(failed).values(again))
        return int(number[0])

    def renew_lease(self, sweep_id: str, invocation: int) -> None:
        """Say that the invocation is alive; :class:`~sweeps.leases.Fenced` where another has taken the sweep over."""
        with self._write() as connection:
            leases.renew(connection, sweep_id, invocation)

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
        row = tables.invocations.c.id == invocation
        with self._write() as connection:
            leases.renew(connection, sweep_id, invocation)
            connection.execute(update(tables.invocations).where(row).values(ended_ms=_now_ms(), **spent))
            self._end_cancelled(connection, sweep_id)  # asked for since the driver last looked
            _end_sweep(connection, sweep_id, status)
            leases.release(connection, sweep_id)

    def commit(self, sweep_id: str, invocation: int, batch: Batch) -> None:
        """Write a batch as one transaction: its states (a state that is there already stays as it is), trials, events.

        Raises:
            Fenced: another invocation has the sweep; nothing was written.
        """
        at = tables.trials.c
        with self._write() as connection:
            leases.renew(connection, sweep_id, invocation)
            # In the order of their keys: sweeps that enter the same states at a time must not wait for each other in a ring.
            for record in sorted(batch.records, key=attrgetter("key")):
                connection.execute(
                    upsert(connection, tables.states).values(_state_row(record)).on_conflict_do_nothing()
                )
            for key, epoch in sorted(batch.checkpoints):
                row = {"key": key, "epoch": epoch, "saved_at_ms": _now_ms()}
                again = {"saved_at_ms": row["saved_at_ms"], "pruned_ms": None}
                statement = upsert(connection, tables.checkpoints).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=again))
            for trial, (key, epoch) in batch.heads.items():
                moved = {"head": key, "epoch": epoch, "status": TrialStatus.RUNNING}
                connection.execute(update(tables.trials).where(at.id == trial).values(moved))
            for trial, epoch in batch.final.items():
                connection.execute(update(tables.trials).where(at.id == trial).values(final_epoch=epoch))
            for trial, (failure, attempts) in batch.failures.items():
                failed = {"failure": failure, "attempts": attempts}
                connection.execute(update(tables.trials).where(at.id == trial).values(failed))
            for trial, (status, error) in batch.ended.items():
                why = error and storable(error)
                connection.execute(update(tables.trials).where(at.id == trial).values(status=status, error=why))
            for kind, payload in batch.events:
                _append(connection, sweep_id, kind, payload)
            _account(connection, invocation, batch)

    # What others write

    def save_tracking_offset(self, sweep_id: str, target: str, event_id: int) -> None:
        """Note that the tracking store at ``target`` has acknowledged the sweep's events up to this one."""
        row = {"sweep_id": sweep_id, "target": target, "event_id": event_id}
        with self._write() as connection:
            statement = upsert(connection, tables.tracking).values(row)
            moved = statement.on_conflict_do_update(index_elements=["sweep_id", "target"], set_={"event_id": event_id})
            connection.execute(moved)

    def move_tracking_offset(self, sweep_id: str, old: str, new: str) -> None:
        """Know the tracking store at ``old`` as ``new`` from here on, and keep nothing of the old spelling."""
        at = tables.tracking.c
        offset = 0 if old == new else self.tracking_offset(sweep_id, old)
        if not offset:
            return
        self.save_tracking_offset(sweep_id, new, max(offset, self.tracking_offset(sweep_id, new)))
        with self._write() as connection:
            connection.execute(delete(tables.tracking).where(at.sweep_id == sweep_id, at.target == old))

    def prune_checkpoints(self, keys: Iterable[str]) -> None:
        """Note that checkpoints are no more; what they covered stays final."""
        at = tables.checkpoints.c
        with self._write() as connection:
            for page in pages(list(keys)):
                gone = at.key.in_(page) & at.pruned_ms.is_(None)
                connection.execute(update(tables.checkpoints).where(gone).values(pruned_ms=_now_ms()))


def sweep_identity(name: str, trials: Sequence[Trial], identities: Mapping[Program, Identity], *, sharing: bool) -> str:
    """The id of a sweep: twelve hex digits of a hash of its name, its trials, their roots and whether they share."""
    paths = [(trial.name, trial.id, identities[trial.program].root(trial.seed)) for trial in trials]
    competing = {trial.arm: trial.halving.model_dump() for trial in trials if trial.halving}
    given = {"name": name, "sharing": sharing, "trials": paths} | ({"halving": competing} if competing else {})
    content = encode(given)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _describe(connection: Connection, sweep_id: str, spec: Mapping[str, Any]) -> None:
    at, text = tables.sweeps.c, encode(spec)
    changed = update(tables.sweeps).where(at.id == sweep_id, at.spec != text).values(spec=text)
    if connection.execute(changed).rowcount:
        _append(connection, sweep_id, "sweep_described", {})


def _end_sweep(connection: Connection, sweep_id: str, status: SweepStatus) -> None:
    connection.execute(update(tables.sweeps).where(tables.sweeps.c.id == sweep_id).values(status=status))
    _append(connection, sweep_id, "sweep_ended", {"status": status})


def _append(connection: Connection, sweep_id: str, kind: str, payload: Mapping[str, Any]) -> None:
    # The caller has locked the sweep's row: the event gets its id under that lock.
    row = {"sweep_id": sweep_id, "kind": kind, "payload": encode(payload), "at_ms": _now_ms()}
    connection.execute(insert(tables.events).values(row))


def _account(connection: Connection, invocation: int, batch: Batch) -> None:
    at = tables.invocations.c
    spent = {
        "trained": at.trained + len(batch.records),
        "replayed": at.replayed + batch.replayed,
        "forks": at.forks + batch.forks,
        "seconds_saving": at.seconds_saving + batch.seconds_saving,
        "seconds_training": at.seconds_training + sum(record.metrics["seconds"] for record in batch.records),
    }
    connection.execute(update(tables.invocations).where(at.id == invocation).values(spent))


def _trial_row(sweep_id: str, trial: Trial) -> dict[str, Any]:
    return {
        "id": hashlib.sha256(f"{sweep_id}/{trial.id}".encode()).hexdigest()[:16],
        "sweep_id": sweep_id,
        "number": trial.number,
        "name": trial.name,
        "arm": trial.arm,
        "seed": trial.seed,
        "settings": encode(trial.settings),
        "program": encode(to_dict(trial.program)),
        "schedule": encode(asdict(trial.schedule)),  # type: ignore[call-overload]
        "epochs": trial.epochs,
        "status": TrialStatus.WAITING,
        "epoch": 0,
    }


def _state_row(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "parent": record.parent,
        "epoch": record.epoch,
        "metrics": encode(record.metrics),
        "finished_at_ms": record.finished_at_ms,
        "worker": record.worker,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
