"""Interpretation of a worker's reports on one cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeps.ledger.records import StateRow, storable
from sweeps.run.branches import Branch
from sweeps.run.progress import Gathered, TrialProgress
from sweeps.run.walk import Walk
from workers.reports import MEASURED_TIMES, Damaged, Ended, Forked, Partway, Record, Report, Saved


class Nondeterministic(Exception):
    """A replay differs from its record: the machine does not compute the same result twice."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How to treat epochs that are recorded already; ``opened_ms`` is the start of this invocation."""

    opened_ms: int
    allow_nondeterminism: bool


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A metric in which a replayed epoch differs from its record."""

    epoch: int
    metric: str
    recorded: float
    replayed: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch} was trained again and must equal its record, but {self.metric} was {self.recorded} and is "
            f"{self.replayed}; --allow-nondeterminism continues and keeps the records"
        )


@dataclass
class ReportHandler:
    """Processes the reports on a branch in training. ``known`` are the reported states that are already recorded.

    Afterwards ``gathered`` must be committed. ``branch`` continues in training unless it is None, branches in ``parted`` wait
    for a worker, and those in ``onward`` continue through the recorded epochs.
    """

    progress: TrialProgress
    walk: Walk
    branch: Branch | None
    known: Mapping[str, StateRow]
    rules: Rules
    gathered: Gathered = field(default_factory=Gathered)
    parted: list[Branch] = field(default_factory=list)
    onward: list[Branch] = field(default_factory=list)
    contradiction: Contradiction | None = None

    def take(self, reports: Sequence[Report]) -> None:
        """Process reports in order, up to one after which the branch is not trained further."""
        for report in reports:
            if self.branch is None:
                return
            match report:
                case Record(key=key) if key in self.known:
                    self._repeated(self.branch, report, self.known[key])
                case Record():
                    self.gathered.records.append(report)
                    self.branch.tries = 0
                    self.progress.step(self.branch, report.key, report.metrics, self.gathered)
                case Partway():
                    pass
                case Saved():
                    self.gathered.checkpoints.append((report.key, report.epoch))
                    self.gathered.seconds_saving += report.seconds
                    self.progress.settle(self.branch.trials, self.gathered)
                case Damaged(message=message):
                    self.gathered.events.append(incident("damaged", storable(message), self.branch))
                case Forked(siblings=siblings):
                    self.gathered.forks += len(siblings)
                    self.branch, away = self.branch.split(siblings)
                    self.parted += away
                case Ended(trials=trials, diverged=broken):
                    rest, (there,) = self.branch.split([trials])
                    self.branch = rest if rest.trials else None
                    self.onward += self.walk.arrive(there, broken, self.gathered)

    def _repeated(self, branch: Branch, record: Record, stored: StateRow) -> None:
        """Process a recorded epoch: a replay on the way to a new one, or an epoch that another worker has also trained."""
        self.gathered.replayed += 1
        if differs := _contradiction(stored, record):
            self.gathered.events.append(("nondeterministic", asdict(differs)))
            if not self.rules.allow_nondeterminism:
                self.contradiction, self.branch = differs, None  # epochs after a wrong state must not be recorded
                return
        if record.replay:
            return
        self.progress.step(branch, record.key, stored.metrics, self.gathered)
        if stored.finished_at_ms < self.rules.opened_ms:  # not recorded by a concurrent sweep
            self.branch = None  # the lost record is restored, and recorded epochs follow
            self.onward.append(branch)


def incident(kind: str, text: str, branch: Branch, *, again: bool = True) -> tuple[str, Mapping[str, Any]]:
    """Return an event for an incident of a cohort, which says whether the cohort is retried."""
    where = {"trials": list(branch.trials), "epoch": branch.cohort.epoch, "attempt": branch.tries + 1}
    return "incident", {"class": str(kind), "text": text, "again": again} | where


def _contradiction(stored: StateRow, repeated: Record) -> Contradiction | None:
    """Return the first metric in which a repeated epoch differs from its record, or None."""
    for name in stored.metrics.keys() & repeated.metrics.keys() - MEASURED_TIMES:
        ours, theirs = stored.metrics[name], repeated.metrics[name]
        if ours != theirs and not (ours != ours and theirs != theirs):
            return Contradiction(epoch=repeated.epoch, metric=name, recorded=ours, replayed=theirs)
    return None
