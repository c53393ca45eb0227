"""The frontier of a sweep: which cohorts wait for training, which are in training, and what their reports mean.

Its only side effects are on the ledger; it does not use Ray. A trial moves along its path of states. The recorded part of the
path is *covered* without training; where the records end, the trials at the same state form a cohort.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import TrialRow, TrialStatus, storable
from sweeps.run.branches import Backlog, Branch
from sweeps.run.failures import FailureClass, RetryPolicy
from sweeps.run.halving import HALVED, Contest
from sweeps.run.progress import Gathered, TrialProgress
from sweeps.run.report_handler import Nondeterministic, ReportHandler, Rules, incident
from sweeps.run.walk import Walk
from sweeps.spec.trial import Trial
from workers.fold import Member
from workers.reports import Cohort, Record, Report
from workers.trajectory import Identity

PATIENT = RetryPolicy()


class Frontier:
    """All cohorts of one sweep that are waiting or in training."""

    def __init__(
        self,
        ledger: Ledger,
        sweep_id: str,
        invocation: int,
        *,
        sharing: bool = True,
        retry: RetryPolicy = PATIENT,
        allow_nondeterminism: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._sweep_id = sweep_id
        self._sharing = sharing
        self._retry = retry
        self._clock = clock
        self._progress = TrialProgress(ledger, sweep_id, invocation)
        self._waiting = Backlog(lambda trial: not self._progress.status[trial].final)
        self._walk = Walk(ledger, sweep_id, self._progress, self._waiting)
        self._running: dict[int, Branch] = {}
        self._rules = Rules(opened_ms=time.time_ns() // 1_000_000, allow_nondeterminism=allow_nondeterminism)

    # What to train

    def open(
        self, trials: Iterable[Trial], identities: Mapping[Any, Identity], going: Callable[[], None] = lambda: None
    ) -> None:
        """Start every trial without an outcome at the root of its path, and cover its recorded epochs.

        ``going`` is called at every recorded epoch, now and later, as many epochs take minutes.
        """
        trials, rows = list(trials), self._progress.rows.values()
        halvings = {trial.arm: trial.halving for trial in trials if trial.halving is not None}
        decided = self._ledger.events_of(self._sweep_id, HALVED) if halvings else []
        by_number = {row.number: row for row in rows}
        known = {by_number[trial.number].id: identities[trial.program].metric for trial in trials if halvings}
        contest = Contest.resumed(rows, halvings, decided, known)
        self._walk.begin(contest, going)
        roots: dict[tuple[str, int], list[tuple[Trial, TrialRow, Identity]]] = {}
        for trial in trials:
            row, identity = by_number[trial.number], identities[trial.program]
            if not row.status.final:
                salt = "" if self._sharing else row.id
                roots.setdefault((identity.root(trial.seed, salt), trial.epochs), []).append((trial, row, identity))
        for (root, _), group in roots.items():
            members = tuple(Member(trial=row.id, schedule=trial.schedule) for trial, row, _ in group)
            cohort = Cohort(
                program=group[0][0].program,
                identity=group[0][2],
                seed=group[0][0].seed,
                epochs=min(contest.limit(row) for _, row, _ in group),
                members=members,
                salt="" if self._sharing else group[0][1].id,
            )
            self._walk.cover(Branch(cohort, [member.schedule.init() for member in members], root))
        self._walk.halve()

    def take(self) -> tuple[int, Cohort] | None:
        """Return the next cohort to train and its number, or None: the most members first, then the least trained.

        A cohort that has just failed rests first. One that ran out of memory is handed out when nothing runs, and no other is
        handed out until it is done.
        """
        if (taken := self._waiting.take(self._clock(), self._running.values())) is None:
            return None
        number, self._running[number] = taken
        return number, self._running[number].cohort

    def is_alone(self, number: int) -> bool:
        """Whether a cohort in training must run alone."""
        return self._running[number].alone

    @property
    def has_lone_work(self) -> bool:
        """Whether a cohort that must be trained alone waits or is in training."""
        return self._waiting.has_lone or any(branch.alone for branch in self._running.values())

    @property
    def invocation(self) -> int:
        """The invocation number that fences its writes."""
        return self._progress.invocation

    @property
    def waiting(self) -> int:
        """Number of cohorts that wait for a worker, or rest after a failure."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of cohorts in training."""
        return len(self._running)

    @property
    def statuses(self) -> Mapping[str, TrialStatus]:
        """Status of each trial of the sweep."""
        return self._progress.status

    @property
    def covered(self) -> int:
        """Recorded trial-epochs: the epochs that the sweep would have needed so far without sharing."""
        return self._progress.covered

    @property
    def trained(self) -> int:
        """Number of epochs that workers recorded."""
        return self._progress.trained

    @property
    def replayed(self) -> int:
        """Number of recorded epochs that workers trained again."""
        return self._progress.replayed

    # Reports of workers

    def hear(self, number: int, reports: Sequence[Report]) -> None:
        """Write a worker's reports on a cohort to the ledger, in one transaction.

        A cohort whose reports could not be written is dropped, as its state in memory is ahead of the ledger.

        Raises:
            Nondeterministic: a replayed epoch differs from its record, which is not allowed; everything before it is in the
                ledger.
        """
        if number not in self._running:
            return
        known = self._ledger.states([report.key for report in reports if isinstance(report, Record)])
        heard = ReportHandler(self._progress, self._walk, self._running.pop(number), known, self._rules)
        heard.take(reports)
        self._progress.commit(heard.gathered)
        if heard.branch is not None:
            self._running[number] = heard.branch
        for sibling in heard.parted:
            self._walk.push(sibling)
        for ahead in heard.onward:
            self._walk.cover(ahead)
        self._walk.halve()
        if heard.contradiction is not None:
            raise Nondeterministic(str(heard.contradiction))

    def fail(self, number: int, failure: FailureClass, error: str) -> None:
        """Retry a failed cohort from its latest checkpoint, or end its trials as failed, as the retry policy decides.

        The rest of the sweep continues in either case. The first line of ``error`` is for people; a traceback may follow.
        """
        branch, gathered = self._running.pop(number), Gathered()
        error = storable(error)
        again = self._retry.allows(failure, branch.tries, alone=branch.alone)
        if failure is FailureClass.OUT_OF_MEMORY and branch.alone:
            error = f"with nothing else running, {error}"
        if failure is not FailureClass.PREEMPTED:
            self._progress.count_attempt(branch.trials, failure, gathered, again=again)
        gathered.events.append(incident(failure, _first_line(error), branch, again=again))
        if not again:
            self._progress.end(branch.trials, TrialStatus.FAILED, error, gathered)
        self._progress.commit(gathered)
        if again:
            branch.ready_at = self._clock() + self._retry.pause(failure, branch.tries)
            branch.tries += failure is not FailureClass.PREEMPTED
            branch.alone |= failure is FailureClass.OUT_OF_MEMORY
            self._walk.push(branch)
        self._walk.halve()

    def cancel(self, trials: Iterable[str]) -> None:
        """End cancelled trials. A cohort without other members is not trained, or is dropped if it is in training."""
        gathered, doomed = Gathered(), [trial for trial in trials if trial in self._progress.status]
        if not doomed:
            return
        self._progress.end(doomed, TrialStatus.CANCELLED, None, gathered)
        for number, branch in list(self._running.items()):
            if all(self._progress.status[trial].final for trial in branch.trials):
                del self._running[number]
        self._progress.commit(gathered)
        self._walk.halve()

    def is_wanted(self, number: int) -> bool:
        """Whether a cohort in training still has a trial to train for."""
        return number in self._running

    def take_back(self) -> None:
        """Put the cohorts in training back in the backlog: their workers have stopped, and none has failed.

        One that could not save in the seconds that Tune grants is trained again from its last checkpoint.
        """
        while self._running:
            _, branch = self._running.popitem()
            self._walk.push(branch)

    def settle_saved(self, saved: Callable[[str], bool]) -> None:
        """Make records final whose checkpoints were saved by workers on exit, after the last report."""
        gathered = Gathered()
        for branch in self._running.values():
            if saved(branch.key):
                gathered.checkpoints.append((branch.key, branch.cohort.epoch))
                self._progress.settle(branch.trials, gathered)
        self._progress.commit(gathered)


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0]
