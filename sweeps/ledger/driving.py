"""A driver's writes while a sweep runs: its invocation, its lease, and the reports of workers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, insert, select

from sweeps.ledger import database, leases, tables
from sweeps.ledger.database import upsert
from sweeps.ledger.entries import Batch, checkpoint_row, moved, spent, state_row
from sweeps.ledger.holding import HeldSweep, held, now_ms
from sweeps.ledger.queries import OUTCOMES, Reading, pages
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.sealing import Damage, change_rows, on_conflict, seal

# Written to failed trials, so they are trained again.
AGAIN: Mapping[str, Any] = {"status": TrialStatus.WAITING, "error": None, "failure": None, "attempts": 0}


class Driving(Reading):
    """The writes of a driver; every method is one short transaction."""

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with (
            database.refusals_told(self._engine.url, "opened or written"),
            database.writer(self._engine) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _hold(self, sweep_id: str) -> Iterator[HeldSweep]:
        """Begin a transaction that has locked the sweep's row."""
        with self._write() as connection, held(connection, sweep_id) as sweep:
            yield sweep

    def begin_invocation(self, sweep_id: str) -> int:
        """Take the sweep's lease and enter an invocation of ``abel run``; its number fences all its writes.

        Failed trials are reset to waiting; other outcomes stay.

        Raises:
            SweepBusy: another process runs the sweep.
            SweepPaused: it is paused.
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
            refuse_paused(sweep.row["name"], sweep.row["status"])
            sweep.row |= {"status": SweepStatus.RUNNING, "used_ms": now_ms()}
            change_rows(sweep.connection, tables.trials, failed, AGAIN)
        return int(made[0])

    def renew_lease(self, sweep_id: str, invocation: int) -> None:
        """Renew the lease of a live invocation.

        Raises:
            Fenced: another invocation has taken the sweep over.
        """
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
    ) -> SweepStatus:
        """Record how and when the invocation ended, and the time its driver spent on this ledger and on starting Ray.

        Return the status recorded: a sweep that was paused, and has not ended by itself, is paused.
        """
        own = {"seconds_committing": seconds_committing, "seconds_starting": seconds_starting}
        with self._hold(sweep_id) as sweep:
            leases.renewed(sweep.row, invocation)
            _change_invocation(sweep.connection, invocation, own | {"ended_ms": now_ms()})
            end_cancelled(sweep)  # cancelled since the driver last checked
            goes_on = status in (SweepStatus.INTERRUPTED, SweepStatus.NO_SPACE)
            was_paused = sweep.row["status"] == SweepStatus.PAUSED and goes_on
            end_sweep(sweep, recorded := SweepStatus.PAUSED if was_paused else status)
            sweep.row |= leases.RELEASED
        return recorded

    def commit(self, sweep_id: str, invocation: int, batch: Batch) -> None:
        """Write a batch in one transaction: states (existing ones are kept), checkpoints, trials and events.

        Raises:
            Fenced: another invocation has the sweep; nothing was written.
            LedgerDamaged: a row to be changed does not match its digest, or is missing.
        """
        at = tables.trials.c
        with self._hold(sweep_id) as sweep:
            connection = sweep.connection
            sweep.row |= leases.renewed(sweep.row, invocation)
            # In the order of their keys, so sweeps that enter the same states at the same time do not deadlock.
            if rows := [state_row(record) for record in sorted(batch.records, key=attrgetter("key"))]:
                connection.execute(upsert(connection, tables.states).on_conflict_do_nothing(), rows)
            saved = [checkpoint_row(*one) for one in sorted(batch.checkpoints)]
            if saved:
                connection.execute(on_conflict(upsert(connection, tables.checkpoints), tables.checkpoints), saved)
            changes = moved(batch)
            for page in pages(list(changes)):
                if len(change_rows(connection, tables.trials, at.id.in_(page), lambda row: changes[row["id"]])) < len(
                    page
                ):
                    raise Damage(f"trials of sweep {sweep.row['name']!r} are missing")
            for kind, payload in batch.events:
                sweep.append(kind, payload)
            _change_invocation(connection, invocation, lambda row: spent(row, batch))
            sweep.count("changes", 1)

    # A pause, which others ask for and the driver heeds

    def pause_sweep(self, sweep_id: str) -> None:
        """Have the driver of a sweep drain, and let none begin until it is resumed. One without open trials stays as it is."""
        with self._hold(sweep_id) as sweep:
            if not has_open_trials(sweep) or sweep.row["status"] == SweepStatus.PAUSED:
                return
            if leases.stands(sweep.row["holder"], sweep.row["lease_until_ms"]):
                sweep.row["status"] = SweepStatus.PAUSED  # its driver records the end
            else:
                sweep.row |= leases.RELEASED
                end_sweep(sweep, SweepStatus.PAUSED)

    def end_pause(self, sweep_id: str) -> None:
        """Let a paused sweep run again; one that is not paused stays as it is. A driver that still drains may go on."""
        with self._hold(sweep_id) as sweep:
            if sweep.row["status"] == SweepStatus.PAUSED:
                is_held = leases.stands(sweep.row["holder"], sweep.row["lease_until_ms"])
                sweep.row["status"] = SweepStatus.RUNNING if is_held else SweepStatus.INTERRUPTED

    def is_paused(self, sweep_id: str) -> bool:
        """Whether a pause of the sweep was requested; cheap enough to ask at every turn."""
        with self._read() as connection:
            query = select(tables.sweeps.c.status).where(tables.sweeps.c.id == sweep_id)
            return bool(connection.scalar(query) == SweepStatus.PAUSED)


def has_open_trials(sweep: HeldSweep) -> bool:
    """Whether a trial of the sweep has no outcome yet."""
    at = tables.trials.c
    left = select(at.id).where(at.sweep_id == sweep.row["id"], at.status.not_in(OUTCOMES)).limit(1)
    return sweep.connection.scalar(left) is not None


def refuse_paused(name: str, status: str) -> None:
    """Check the status of a sweep that a process is about to run.

    Raises:
        SweepPaused: it is paused.
    """
    if status == SweepStatus.PAUSED:
        raise leases.SweepPaused(f"sweep {name!r}: is paused; `abel resume {name}` goes on with it")


def end_sweep(sweep: HeldSweep, status: SweepStatus) -> None:
    """Record the end of the sweep."""
    sweep.row["status"] = status
    sweep.append("sweep_ended", {"status": status})


def end_cancelled(sweep: HeldSweep) -> None:
    """End the trials whose cancellation was requested."""
    at = tables.trials.c
    asked = (at.sweep_id == sweep.row["id"]) & at.cancel_asked_ms.is_not(None) & at.status.not_in(OUTCOMES)
    for row in change_rows(sweep.connection, tables.trials, asked, {"status": TrialStatus.CANCELLED}):
        ending = {"trial": row["id"], "status": TrialStatus.CANCELLED, "epoch": row["epoch"], "error": None}
        sweep.append("trial_ended", ending)


def _change_invocation(connection: Connection, invocation: int, how: Any) -> None:
    if not change_rows(connection, tables.invocations, tables.invocations.c.id == invocation, how):
        raise Damage(f"the row of invocation {invocation} is missing")
