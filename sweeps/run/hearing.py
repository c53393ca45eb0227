"""What a worker's reports on one cohort mean for its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeps.ledger.records import StateRow, storable
from sweeps.run.branches import Branch
from sweeps.run.progress import Gathered, TrialProgress
from sweeps.run.walk import Walk
from workers.reports import Damaged, Ended, Forked, Record, Report, Saved

MEASURED_TIMES = frozenset({"seconds", "examples_per_second"})  # the metrics in which a replay may differ


class Nondeterministic(Exception):
    """A replay differs from the stored record: the machine does not compute the same thing twice."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is asked of a record that the ledger has already; ``opened_ms`` is when this invocation began."""

    opened_ms: int
    allow_nondeterminism: bool


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A metric in which an epoch that was trained again differs from its record."""

    epoch: int
    metric: str
    recorded: float
    replayed: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch} was trained again and must equal its record, but {self.metric} was {self.recorded} and is "
            f"{self.replayed}; --allow-nondeterminism goes on all the same, with the records as they are"
        )


@dataclass
class Hearing:
    """Takes the reports on a branch in training. ``known`` are the states among them that the ledger has.

    Afterwards ``gathered`` is to be committed; ``branch`` trains on, unless it is None; ``parted`` wait for a worker of
    their own; ``onward`` go on from what the ledger holds.
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
        """Take reports in their order, up to one after which the branch trains no further."""
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
        """An epoch that the ledger has: a replay on the way to one that it lacks, or one that another worker trained too."""
        self.gathered.replayed += 1
        if differs := _contradiction(stored, record):
            self.gathered.events.append(("nondeterministic", asdict(differs)))
            if not self.rules.allow_nondeterminism:
                self.contradiction, self.branch = differs, None  # nothing that follows from a wrong state is a record
                return
        if record.replay:
            return
        self.progress.step(branch, record.key, stored.metrics, self.gathered)
        if stored.finished_at_ms < self.rules.opened_ms:  # not another sweep's that is on its way too
            self.branch = None  # what was lost is there again, and the ledger goes on from here
            self.onward.append(branch)


def incident(kind: str, text: str, branch: Branch, *, again: bool = True) -> tuple[str, Mapping[str, Any]]:
    """An event that says what happened to a cohort, and whether it is taken up again."""
    where = {"trials": list(branch.trials), "epoch": branch.cohort.epoch, "attempt": branch.tries + 1}
    return "incident", {"class": str(kind), "text": text, "again": again} | where


def _contradiction(stored: StateRow, repeated: Record) -> Contradiction | None:
    """The first metric in which an epoch that was trained again differs from its record, if any does."""
    for name in stored.metrics.keys() & repeated.metrics.keys() - MEASURED_TIMES:
        ours, theirs = stored.metrics[name], repeated.metrics[name]
        if ours != theirs and not (ours != ours and theirs != theirs):
            return Contradiction(epoch=repeated.epoch, metric=name, recorded=ours, replayed=theirs)
    return None
