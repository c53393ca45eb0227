"""The frontier of a sweep: which cohorts are to be trained, which are in training, and what their reports mean.

Pure but for the ledger it is given: no Ray here. A trial moves along its path of states; as far as the ledger holds the
path it is *covered* without training; where the ledger ends, the trials that stand at one state make a cohort.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from abel.schedules import Event
from sweeps.ledger.ledger import Batch, Ledger
from sweeps.ledger.records import StateRow, TrialRow, TrialStatus, storable
from sweeps.run.backlog import Backlog
from sweeps.run.branches import Branch
from sweeps.run.failures import FailureClass
from sweeps.run.halving import HALVED, Contest
from sweeps.run.provisional import Provisional
from sweeps.run.retrying import RetryPolicy
from sweeps.spec.sweep import Trial
from workers.cohort import (
    Cohort,
    Damaged,
    Ended,
    Forked,
    Member,
    Pair,
    Record,
    Report,
    Saved,
    diverged,
    finished,
    observation,
    part,
)
from workers.trajectory import Identity, child

PATIENT = RetryPolicy()
MEASURED_TIMES = frozenset({"seconds", "examples_per_second"})  # the metrics in which a replay may differ


class Nondeterministic(Exception):
    """A replay differs from the stored record: the machine does not compute the same thing twice."""


@dataclass
class _Gathered:
    """A batch in the making."""

    records: list[Record] = field(default_factory=list)
    heads: dict[str, tuple[str, int]] = field(default_factory=dict)
    final: dict[str, int] = field(default_factory=dict)
    checkpoints: list[tuple[str, int]] = field(default_factory=list)
    failures: dict[str, tuple[str, int]] = field(default_factory=dict)
    ended: dict[str, tuple[TrialStatus, str | None]] = field(default_factory=dict)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    replayed: int = 0
    forks: int = 0
    seconds_saving: float = 0.0

    def batch(self) -> Batch:
        return Batch(**self.__dict__)


class Frontier:
    """All cohorts of one sweep that are waiting or in training.

    A record is *provisional* until a checkpoint covers it or its trial ends: the ledger has it, but no event tells of it
    yet, so that nothing outside ever saw an epoch that a crash may cause to be trained again.
    """

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
        self._invocation = invocation
        self._sharing = sharing
        self._retry = retry
        self._allow_nondeterminism = allow_nondeterminism
        self._clock = clock
        self._waiting = Backlog(lambda trial: not self._status[trial].final)
        self._running: dict[int, Branch] = {}
        self._rows = {row.id: row for row in ledger.trials(sweep_id)}
        self._epochs = {row.id: row.epoch for row in self._rows.values()}
        self._final = {row.id: row.final_epoch for row in self._rows.values()}
        self._status = {row.id: row.status for row in self._rows.values()}
        self._attempts = {row.id: row.attempts for row in self._rows.values()}
        self._going: Callable[[], None] = lambda: None
        self._provisional = Provisional()
        self._contest = Contest({}, {})
        self._resting: list[Branch] = []  # at a rung, until it is decided which of its trials go on
        self._opened_ms = time.time_ns() // 1_000_000
        self._behind = False  # the ledger, for it did not take what this has in memory
        self.trained = 0
        self.replayed = 0

    # What there is to do

    def open(
        self, trials: Iterable[Trial], identities: Mapping[Any, Identity], going: Callable[[], None] = lambda: None
    ) -> None:
        """Put every trial without an outcome at the start of its path, and cover what the ledger holds.

        ``going`` is called at every recorded epoch, now and later: many of them take minutes.
        """
        self._going = going
        trials = list(trials)
        halvings = {trial.arm: trial.halving for trial in trials if trial.halving is not None}
        decided = self._ledger.events_of(self._sweep_id, HALVED) if halvings else []
        by_number = {row.number: row for row in self._rows.values()}
        known = {by_number[trial.number].id: identities[trial.program].guessing for trial in trials if halvings}
        guessing = {trial: error for trial, error in known.items() if error is not None}
        self._contest = Contest.resumed(self._rows.values(), halvings, decided, guessing)
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
                epochs=min(self._contest.limit(row) for _, row, _ in group),
                members=members,
                salt="" if self._sharing else group[0][1].id,
            )
            self._cover(Branch(cohort, [member.schedule.init() for member in members], root))
        self._halve()

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
        return self._status

    @property
    def covered(self) -> int:
        """Trial-epochs that are recorded: what the sweep would have cost without sharing so far."""
        return sum(self._epochs.values())

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
        gathered, branch, parted, onward = _Gathered(), self._running[number], [], []
        contradiction = None
        known = self._ledger.states([report.key for report in reports if isinstance(report, Record)])
        for report in reports:
            match report:
                case Record(key=key) if key in known:
                    gathered.replayed += 1
                    if differs := _contradiction(known[key], report):
                        gathered.events.append(("nondeterministic", differs))
                        if not self._allow_nondeterminism:
                            contradiction = differs
                            break  # nothing that follows from a wrong state is a record
                    if not report.replay:
                        self._step(branch, key, known[key].metrics, gathered)
                        if known[key].finished_at_ms < self._opened_ms:  # not another sweep's that is on its way too
                            del self._running[number]  # what was lost is there again, and the ledger goes on from here
                            onward.append(branch)
                            break
                case Record():
                    gathered.records.append(report)
                    branch.tries = 0
                    self._step(branch, report.key, report.metrics, gathered)
                case Saved():
                    gathered.checkpoints.append((report.key, report.epoch))
                    gathered.seconds_saving += report.seconds
                    self._settle(branch.trials, gathered)
                case Damaged(message=message):
                    gathered.events.append(_incident("damaged", storable(message), branch))
                case Forked(siblings=siblings):
                    gathered.forks += len(siblings)
                    branch, away = branch.split(siblings)
                    self._running[number] = branch
                    parted += away
                case Ended(trials=trials, diverged=broken):
                    branch, (there,) = branch.split([trials])
                    self._running[number] = branch
                    if not branch.trials:
                        del self._running[number]
                    onward += self._arrive(there, broken, gathered)
        try:
            self._commit(gathered)
        except Exception:
            self._running.pop(number, None)
            raise
        for sibling in parted:
            self._push(sibling)
        for ahead in onward:
            self._cover(ahead)
        self._halve()
        if contradiction is not None:
            self._running.pop(number, None)
            raise Nondeterministic(
                f"epoch {contradiction['epoch']} was trained again and must equal its record, but "
                f"{contradiction['metric']} was {contradiction['recorded']} and is {contradiction['replayed']}; "
                "--allow-nondeterminism goes on all the same, with the records as they are"
            )

    def fail(self, number: int, failure: FailureClass, error: str) -> None:
        """The cohort came to harm: it waits again, to go on from its deepest checkpoint, or its trials end as failed.

        The rest of the sweep goes on in either case; the retry policy says which it is. ``error`` has a first line for
        people and may go on with a traceback.
        """
        branch, gathered = self._running.pop(number), _Gathered()
        error = storable(error)
        again = self._retry.allows(failure, branch.tries, alone=branch.alone)
        if failure is FailureClass.OUT_OF_MEMORY and branch.alone:
            error = f"with nothing else running, {error}"
        if failure is not FailureClass.PREEMPTED:
            for trial in branch.trials:
                self._attempts[trial] += again
                gathered.failures[trial] = (failure, self._attempts[trial])
        gathered.events.append(_incident(failure, _first_line(error), branch, again=again))
        if not again:
            self._end(branch.trials, TrialStatus.FAILED, error, gathered)
        self._commit(gathered)
        if again:
            branch.ready_at = self._clock() + self._retry.pause(failure, branch.tries)
            branch.tries += failure is not FailureClass.PREEMPTED
            branch.alone |= failure is FailureClass.OUT_OF_MEMORY
            self._push(branch)
        self._halve()

    def cancel(self, trials: Iterable[str]) -> None:
        """End trials that someone no longer wants. A cohort without other members is not taken up, or is let go."""
        gathered, doomed = _Gathered(), [trial for trial in trials if trial in self._status]
        if not doomed:
            return
        self._end(doomed, TrialStatus.CANCELLED, None, gathered)
        for number, branch in list(self._running.items()):
            if all(self._status[trial].final for trial in branch.trials):
                del self._running[number]
        self._commit(gathered)
        self._halve()

    def is_wanted(self, number: int) -> bool:
        """Whether a cohort in training still has a trial to train for."""
        return number in self._running

    def settle_saved(self, saved: Callable[[str], bool]) -> None:
        """Make final what workers saved on their way out, when nobody listened any more."""
        gathered = _Gathered()
        for branch in self._running.values():
            if saved(branch.key):
                gathered.checkpoints.append((branch.key, branch.cohort.epoch))
                self._settle(branch.trials, gathered)
        self._commit(gathered)

    # How branches grow

    def _cover(self, branch: Branch) -> None:
        """Walk a branch through the states that the ledger holds; what parts on the way walks on as a branch of its own."""
        gathered, walking = _Gathered(), [branch]
        while walking:
            self._going()
            here = walking.pop()
            cohort = here.cohort
            if self._is_over(here):
                broken = bool(cohort.observations) and diverged(cohort.observations[-1])
                walking += self._arrive(here, broken, gathered)
                continue
            done, going = finished(here.pairs)
            self._end([member.trial for member, _ in done], TrialStatus.FINISHED, None, gathered)
            groups = part(going, cohort.epoch + 1, cohort.identity.examples, int(cohort.identity.program["batch_size"]))
            keys = [child(here.key, plan) for plan, _ in groups]
            known, saved = self._ledger.states(keys), self._ledger.checkpointed(keys)
            unknown = [
                pair for key, (_, members) in zip(keys, groups, strict=True) if key not in known for pair in members
            ]
            if unknown:
                self._push(here.parted(unknown))
            for key, (_, members) in zip(keys, groups, strict=True):
                if key in known:
                    ahead = here.parted(members)
                    self._step(ahead, key, known[key].metrics, gathered)
                    if key in saved:
                        self._settle(ahead.trials, gathered)
                    walking.append(ahead)
        self._commit(gathered)

    def _arrive(self, branch: Branch, broken: bool, gathered: _Gathered) -> list[Branch]:
        """End the trials that are done, let those at a rung rest; returns the branch of those that go on, if any do."""
        if broken:
            self._end(branch.trials, TrialStatus.DIVERGED, None, gathered)
            return []
        done, resting, going = list[Pair](), list[Pair](), list[Pair]()
        for member, state in branch.pairs:
            row = self._rows[member.trial]
            over = state.finished or branch.cohort.epoch >= row.epochs
            rests = branch.cohort.epoch >= self._contest.limit(row)
            (done if over else resting if rests else going).append((member, state))
        self._end([member.trial for member, _ in done], TrialStatus.FINISHED, None, gathered)
        if resting:
            self._resting.append(branch.parted(resting))
        return [self._onward(branch, going)] if going else []

    def _onward(self, branch: Branch, pairs: Sequence[Pair]) -> Branch:
        """The branch of some of the members, to be trained as far as they may now."""
        away = branch.parted(pairs)
        limit = min(self._contest.limit(self._rows[trial]) for trial in away.trials)
        away.cohort = replace(away.cohort, epochs=limit)
        return away

    def _halve(self) -> None:
        """Decide at every rung that all trials of its arm have come to, and take those that pass it further.

        Not once the ledger is behind: who has come to a rung in memory alone has no error there, and what is decided stays.
        """
        while not self._behind and (due := self._contest.due(self._status, self._at_rungs)):
            rows = [row for row in self._ledger.trials(self._sweep_id) if row.arm == due[0]]
            curves = {row.id: self._ledger.curve(row.head) for row in rows}
            decided = self._contest.decide(*due, self._status, self._at_rungs, curves)
            gathered = _Gathered(events=[(HALVED, asdict(decided))])
            self._end(decided.stopped, TrialStatus.STOPPED, None, gathered)
            self._commit(gathered)
            there, passed, self._resting = self._resting, set(decided.passed), []
            for branch in there:
                going = [pair for pair in branch.pairs if pair[0].trial in passed]
                resting = [
                    pair
                    for pair in branch.pairs
                    if pair[0].trial not in passed and not self._status[pair[0].trial].final
                ]
                if resting:
                    self._resting.append(branch.parted(resting))
                if going:
                    self._cover(self._joined(self._onward(branch, going)))

    def _joined(self, branch: Branch) -> Branch:
        """The branch with those that wait at its state, because they had no rung to rest at: they train on as one."""
        if not (same := self._waiting.take_fresh(branch.key)):
            return branch
        pairs = [pair for one in (branch, *same) for pair in one.pairs]
        cohort = replace(branch.cohort, members=tuple(member for member, _ in pairs))
        return self._onward(Branch(cohort, [state for _, state in pairs], branch.key), pairs)

    @property
    def _at_rungs(self) -> dict[str, int]:
        """The trials that rest, and the rung at which each does."""
        return {
            trial: branch.cohort.epoch
            for branch in self._resting
            for trial in branch.trials
            if not self._status[trial].final
        }

    def _step(self, branch: Branch, key: str, metrics: Mapping[str, float], gathered: _Gathered) -> None:
        """Move a branch over one recorded epoch, noting what is news to its trials."""
        seen, epoch = observation(metrics), branch.cohort.epoch + 1
        branch.cohort = replace(branch.cohort, observations=(*branch.cohort.observations, seen))
        branch.key = key
        if not diverged(seen):
            branch.states = [member.schedule.update(state, seen) for member, state in branch.pairs]
        for member, state in branch.pairs:
            trial = member.trial
            if self._status[trial].final:
                continue  # cancelled
            if epoch > self._epochs[trial]:
                gathered.heads[trial] = (key, epoch)
                self._epochs[trial] = epoch
            if epoch > self._final[trial]:
                happened = not diverged(seen) and state.event
                self._provisional.add(trial, key, self._turn(branch, member, state, metrics) if happened else None)

    def _settle(self, trials: Iterable[str], gathered: _Gathered) -> None:
        """Make the trials' records final, and tell of them."""
        settled, told = self._provisional.settle(trials)
        for trial, count in settled.items():
            self._final[trial] += count
            gathered.final[trial] = self._final[trial]
        gathered.events += told

    def _turn(self, branch: Branch, member: Member, state: Any, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What a schedule saw or did after an epoch, and the rate before and after it."""
        cohort = branch.cohort
        after = metrics["learning_rate_last"]
        if state.event & ~Event.MINIMUM and cohort.epoch < self._rows[member.trial].epochs:
            batch_size = int(cohort.identity.program["batch_size"])
            plan = member.schedule.plan(state, cohort.epoch + 1, cohort.identity.examples, batch_size)
            after = float(plan.learning_rates[0])
        rates = {"rate_before": metrics["learning_rate_last"], "rate_after": after}
        return {"trial": member.trial, "epoch": cohort.epoch, "event": int(state.event)} | rates

    def _is_over(self, branch: Branch) -> bool:
        seen = branch.cohort.observations
        return branch.cohort.epoch >= branch.cohort.epochs or bool(seen and diverged(seen[-1]))

    def _push(self, branch: Branch) -> None:
        for trial in branch.trials:
            if not self._status[trial].final:
                self._status[trial] = TrialStatus.WAITING
        self._waiting.push(branch)

    def _end(self, trials: Iterable[str], status: TrialStatus, error: str | None, gathered: _Gathered) -> None:
        going = [trial for trial in trials if not self._status[trial].final]
        self._settle(going, gathered)
        for trial in going:
            self._status[trial] = status
            gathered.ended[trial] = (status, error)
            ending = {"trial": trial, "status": status, "epoch": self._epochs[trial], "error": error}
            gathered.events.append(("trial_ended", ending))

    def _commit(self, gathered: _Gathered) -> None:
        try:
            self._ledger.commit(self._sweep_id, self._invocation, gathered.batch())
        except Exception:
            self._behind = True
            raise
        self.trained += len(gathered.records)
        self.replayed += gathered.replayed


def _incident(kind: str, text: str, branch: Branch, *, again: bool = True) -> tuple[str, Mapping[str, Any]]:
    """An event that says what befell a cohort, and whether it is taken up again."""
    where = {"trials": list(branch.trials), "epoch": branch.cohort.epoch, "attempt": branch.tries + 1}
    return "incident", {"class": str(kind), "text": text, "again": again} | where


def _contradiction(stored: StateRow, repeated: Record) -> dict[str, Any] | None:
    """The first metric in which an epoch that was trained again differs from its record, if any does."""
    for name in stored.metrics.keys() & repeated.metrics.keys() - MEASURED_TIMES:
        ours, theirs = stored.metrics[name], repeated.metrics[name]
        if ours != theirs and not (ours != ours and theirs != theirs):
            return {"epoch": repeated.epoch, "metric": name, "recorded": ours, "replayed": theirs}
    return None


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0]
