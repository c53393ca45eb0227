"""Progress of a sweep's trials: in memory, and in the ledger once committed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from abel.schedules import DECAYS, Event
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import CurveResult, TrialStatus
from sweeps.run.branches import Branch
from sweeps.run.failures import FailureClass
from sweeps.run.provisional import Provisional
from workers.fold import Member, diverged, observation, plan_epoch, updated
from workers.reports import Record


@dataclass
class Gathered:
    """A ledger batch under construction."""

    records: list[Record] = field(default_factory=list)
    heads: dict[str, tuple[str, int]] = field(default_factory=dict)
    results: dict[str, CurveResult] = field(default_factory=dict)
    final: dict[str, int] = field(default_factory=dict)
    checkpoints: list[tuple[str, int]] = field(default_factory=list)
    failures: dict[str, tuple[str, int]] = field(default_factory=dict)
    ended: dict[str, tuple[TrialStatus, str | None]] = field(default_factory=dict)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    replayed: int = 0
    forks: int = 0
    seconds_saving: float = 0.0

    def batch(self) -> Batch:
        """Return the batch to commit."""
        return Batch(**self.__dict__)


class TrialProgress:
    """The trials of one sweep: the progress of each, and its final records.

    A record is *provisional* until a checkpoint covers it or its trial ends. The ledger has it, but no event reports it yet.
    So no one outside has seen an epoch that must be trained again after a crash.
    """

    def __init__(self, ledger: Ledger, sweep_id: str, invocation: int) -> None:
        self._ledger, self._sweep_id, self.invocation = ledger, sweep_id, invocation
        self._metric = ledger.sweep(sweep_id).metric
        self.rows = {row.id: row for row in ledger.trials(sweep_id)}
        self.status = {row.id: row.status for row in self.rows.values()}
        self._epochs = {row.id: row.epoch for row in self.rows.values()}
        self._final = {row.id: row.final_epoch for row in self.rows.values()}
        self._results = dict.fromkeys(self.rows, CurveResult())  # each trial starts at the root of its path
        self._attempts = {row.id: row.attempts for row in self.rows.values()}
        self._provisional = Provisional()
        self.is_behind = False  # whether the ledger lacks a batch that memory has, as a commit failed
        self.trained = 0
        self.replayed = 0

    @property
    def covered(self) -> int:
        """Recorded trial-epochs: the epochs that the sweep would have needed so far without sharing."""
        return sum(self._epochs.values())

    def step(self, branch: Branch, key: str, metrics: Mapping[str, float], gathered: Gathered) -> None:
        """Move a branch over one recorded epoch, and gather what is new for its trials."""
        seen, epoch = observation(metrics), branch.cohort.epoch + 1
        error = self._metric.error_in(epoch, metrics)
        branch.cohort = replace(branch.cohort, observations=(*branch.cohort.observations, seen))
        branch.key = key
        branch.states = [updated(member.schedule, state, seen) for member, state in branch.pairs]
        for member, state in branch.pairs:
            trial = member.trial
            if self.status[trial].final:
                continue  # cancelled
            happened = not diverged(seen) and state.event
            self._results[trial] = self._results[trial].after(
                epoch, error, seen.train_loss, decayed=bool(happened & DECAYS)
            )
            if epoch > self._epochs[trial]:
                gathered.heads[trial], gathered.results[trial] = (key, epoch), self._results[trial]
                self._epochs[trial] = epoch
            if epoch > self._final[trial]:
                self._provisional.add(trial, key, self._turn(branch, member, state, metrics) if happened else None)

    def settle(self, trials: Iterable[str], gathered: Gathered) -> None:
        """Make the trials' records final, and add their events."""
        settled, told = self._provisional.settle(trials)
        for trial, count in settled.items():
            self._final[trial] += count
            gathered.final[trial] = self._final[trial]
        gathered.events += told

    def end(self, trials: Iterable[str], status: TrialStatus, error: str | None, gathered: Gathered) -> None:
        """Set the outcome of trials that have none."""
        going = [trial for trial in trials if not self.status[trial].final]
        self.settle(going, gathered)
        for trial in going:
            self.status[trial] = status
            gathered.ended[trial] = (status, error)
            ending = {"trial": trial, "status": status, "epoch": self._epochs[trial], "error": error}
            gathered.events.append(("trial_ended", ending))

    def count_attempt(self, trials: Iterable[str], failure: FailureClass, gathered: Gathered, *, again: bool) -> None:
        """Record a failure of trials, and the attempt if they are retried."""
        for trial in trials:
            self._attempts[trial] += again
            gathered.failures[trial] = (failure, self._attempts[trial])

    def commit(self, gathered: Gathered) -> None:
        """Write a batch in one transaction."""
        try:
            self._ledger.commit(self._sweep_id, self.invocation, gathered.batch())
        except Exception:
            self.is_behind = True
            raise
        self.trained += len(gathered.records)
        self.replayed += gathered.replayed

    def _turn(self, branch: Branch, member: Member, state: Any, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Return the event of a schedule after an epoch, with the rates before and after."""
        cohort = branch.cohort
        after = metrics["learning_rate_last"]
        if state.event & ~Event.MINIMUM and cohort.epoch < self.rows[member.trial].epochs:
            ahead = plan_epoch(member.schedule, state, cohort.epoch + 1, branch.key, cohort.identity)
            after = float(ahead.plan.learning_rates[0])
        rates = {"rate_before": metrics["learning_rate_last"], "rate_after": after}
        return {"trial": member.trial, "epoch": cohort.epoch, "event": int(state.event)} | rates
