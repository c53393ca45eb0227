"""The frontier of a sweep: which cohorts are to be trained, which are in training, and what their reports mean.

Pure but for the ledger it is given: no Ray here. A trial moves along its path of states; as far as the ledger holds the
path it is *covered* without training; where the ledger ends, the trials that stand at one state make a cohort.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import TrialRow, TrialStatus, storable
from sweeps.run.branches import Backlog, Branch
from sweeps.run.failures import FailureClass
from sweeps.run.halving import HALVED, Contest
from sweeps.run.hearing import Hearing, Nondeterministic, Rules, incident
from sweeps.run.progress import Gathered, TrialProgress
from sweeps.run.retrying import RetryPolicy
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

    # What there is to do

    def open(
        self, trials: Iterable[Trial], identities: Mapping[Any, Identity], going: Callable[[], None] = lambda: None
    ) -> None:
        """Put every trial without an outcome at the start of its path, and cover what the ledger holds.

        ``going`` is called at every recorded epoch, now and later: many of them take minutes.
        """
        trials, rows = list(trials), self._progress.rows.values()
        halvings = {trial.arm: trial.halving for trial in trials if trial.halving is not None}
        decided = self._ledger.events_of(self._sweep_id, HALVED) if halvings else []
        by_number = {row.number: row for row in rows}
        known = {by_number[trial.number].id: identities[trial.program].guessing for trial in trials if halvings}
        guessing = {trial: error for trial, error in known.items() if error is not None}
        contest = Contest.resumed(rows, halvings, decided, guessing)
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
                identity=group[0][2],
                seed=group[0][0].seed,
                epochs=min(contest.limit(row) for _, row, _ in group),
                members=members,
                salt="" if self._sharing else group[0][1].id,
            )
            self._walk.cover(Branch(cohort, [member.schedule.init() for member in members], root))
        self._walk.halve()

    def take(self) -> tuple[int, Cohort] | None:
        """The next cohort to train with its number, or None: the one with the most members, then the least trained.

        One that failed a moment ago rests first. One that ran out of memory is handed out when nothing runs, and until it is
        done no other is.
        """
        if (taken := self._waiting.take(self._clock(), self._running.values())) is None:
            return None
        number, self._running[number] = taken
        return number, self._running[number].cohort

    def is_alone(self, number: int) -> bool:
        """Whether nothing else runs beside a cohort in training."""
        return self._running[number].alone

    @property
    def invocation(self) -> int:
        """The number under which it writes."""
        return self._progress.invocation

    @property
    def waiting(self) -> int:
        """Cohorts that wait for a worker, or rest after a failure."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Cohorts in training."""
        return len(self._running)

    @property
    def statuses(self) -> Mapping[str, TrialStatus]:
        """Where each trial of the sweep stands."""
        return self._progress.status

    @property
    def covered(self) -> int:
        """Trial-epochs that are recorded: what the sweep would have cost without sharing so far."""
        return self._progress.covered

    @property
    def trained(self) -> int:
        """Epochs that workers recorded."""
        return self._progress.trained

    @property
    def replayed(self) -> int:
        """Epochs that workers trained though the ledger had them."""
        return self._progress.replayed

    # What a worker said

    def hear(self, number: int, reports: Sequence[Report]) -> None:
        """Take a worker's reports on a cohort into the ledger, as one transaction.

        A cohort whose report could not be taken in is dropped: what memory holds of it is ahead of the ledger.

        Raises:
            Nondeterministic: a replayed epoch differs from the record, which is not allowed; everything before it is in
                the ledger.
        """
        if number not in self._running:
            return
        known = self._ledger.states([report.key for report in reports if isinstance(report, Record)])
        heard = Hearing(self._progress, self._walk, self._running.pop(number), known, self._rules)
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
        """The cohort failed: it waits again, to go on from its deepest checkpoint, or its trials end as failed.

        The rest of the sweep goes on in either case; the retry policy says which it is. ``error`` has a first line for
        people and may go on with a traceback.
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
        """End trials that someone no longer wants. A cohort without other members is not taken up, or is let go."""
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

    def settle_saved(self, saved: Callable[[str], bool]) -> None:
        """Make final what workers saved on their way out, when nobody listened any more."""
        gathered = Gathered()
        for branch in self._running.values():
            if saved(branch.key):
                gathered.checkpoints.append((branch.key, branch.cohort.epoch))
                self._progress.settle(branch.trials, gathered)
        self._progress.commit(gathered)


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0]
