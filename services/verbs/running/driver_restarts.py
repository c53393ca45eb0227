"""Restarts of lost drivers: the limit without progress, the pauses in between, and the incidents in the ledger."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.ledger.database import LedgerAway, LedgerDamaged, LedgerError
from sweeps.ledger.entries import Batch
from sweeps.ledger.leases import SweepPaused
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.processes.job import DriverLost, Outcome
from sweeps.run.failures import FailureClass, RetryPolicy

LOSS = FailureClass.INFRASTRUCTURE
# How many drivers are replaced in a row without a new record in between.
POLICY = RetryPolicy(infrastructure=5, first_pause_seconds=2.0, longest_pause_seconds=30.0)


class Restarts:
    """Counts the drivers lost in a row without a new record, and records each loss in the ledger as an incident."""

    def __init__(self, ledger: Ledger, sweep_id: str) -> None:
        self._ledger, self._sweep_id = ledger, sweep_id
        self._in_a_row = 0
        self._last: DriverLost | None = None
        self._trained = ledger.work(sweep_id).trained  # at the last loss
        self._incidents: list[tuple[str, dict[str, Any]]] = []  # not in the ledger yet

    def count(self, lost: DriverLost) -> bool:
        """Count a loss, once even if passed repeatedly; return whether to replace the driver."""
        if lost is not self._last:
            trained = self._now_trained()
            self._in_a_row = 1 if trained > self._trained else self._in_a_row + 1
            self._trained, self._last = trained, lost
            self._incidents.append(("incident", self._incident(lost)))
        return self._allows_another

    @property
    def _allows_another(self) -> bool:
        return POLICY.allows(LOSS, self._in_a_row - 1, alone=False)

    def _incident(self, lost: DriverLost) -> dict[str, Any]:
        # It affects the sweep as a whole: no trial and no epoch.
        incident = {"class": LOSS, "text": f"the driver was lost: {lost}", "trials": [], "epoch": 0}
        return incident | {"again": self._allows_another, "attempt": self._in_a_row}

    def _now_trained(self) -> int:
        try:
            return self._ledger.work(self._sweep_id).trained
        except (LedgerAway, LedgerDamaged):
            raise
        except LedgerError:
            return self._trained  # a transient read error

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next driver starts."""
        return POLICY.pause(LOSS, self._in_a_row - 1)

    def tell(self, invocation: int) -> None:
        """Write pending incidents to the ledger; those it rejects now wait for the next call."""
        with suppress(LedgerError):  # the driver hits the same error and reports it
            self._commit(invocation)

    def give_up(self, invocation: int | None, log: Path) -> Outcome:
        """End the sweep as failed, in the last driver's invocation, or in a new one if that driver had none.

        Raises:
            Fenced: another process has taken over the sweep.
        """
        error = (
            f"The driver was lost {self._in_a_row} times in a row without a new record, the last time because {self._last} "
            f"(log: {log}). The same command resumes from the last checkpoints."
        )
        return self._end(invocation, SweepStatus.FAILED, error)

    def interrupt(self, invocation: int | None) -> Outcome:
        """End the sweep as interrupted, if it had to stop when its driver was lost; otherwise as :meth:`give_up`."""
        return self._end(invocation, SweepStatus.INTERRUPTED)

    def _end(self, invocation: int | None, status: SweepStatus, error: str | None = None) -> Outcome:
        try:
            number = self._ledger.begin_invocation(self._sweep_id) if invocation is None else invocation
        except SweepPaused:
            return Outcome(status=SweepStatus.PAUSED, trained=0, replayed=0, seconds={})
        self._commit(number)
        recorded = self._ledger.end_invocation(self._sweep_id, number, status)
        return Outcome(status=recorded, trained=0, replayed=0, seconds={}, error=error)

    def _commit(self, invocation: int) -> None:
        if self._incidents:
            self._ledger.commit(self._sweep_id, invocation, Batch(events=self._incidents))
            self._incidents = []
