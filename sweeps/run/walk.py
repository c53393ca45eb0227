"""Advances branches through recorded states, up to where training is needed or a rung is reached."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import TrialStatus
from sweeps.run.branches import Backlog, Branch
from sweeps.run.halving import HALVED, Contest
from sweeps.run.progress import Gathered, TrialProgress
from workers.fold import Pair, diverged, finished, part


class Walk:
    """Takes branches as far as their epochs are recorded. Then they wait in the backlog for training, or rest at a rung."""

    def __init__(self, ledger: Ledger, sweep_id: str, progress: TrialProgress, waiting: Backlog) -> None:
        self._ledger, self._sweep_id, self._progress, self._waiting = ledger, sweep_id, progress, waiting
        self._resting: list[Branch] = []  # at a rung, until it is decided which trials continue
        self.begin(Contest({}, {}), lambda: None)

    def begin(self, contest: Contest, going: Callable[[], None]) -> None:
        """Set the contest at rungs. ``going`` is called at every recorded epoch, as many epochs take minutes."""
        self._contest, self._going = contest, going

    def cover(self, branch: Branch) -> None:
        """Walk a branch through its recorded states; where plans differ, it splits into several branches."""
        gathered, walking = Gathered(), [branch]
        while walking:
            self._going()
            here = walking.pop()
            cohort = here.cohort
            if _is_over(here):
                broken = bool(cohort.observations) and diverged(cohort.observations[-1])
                walking += self.arrive(here, broken, gathered)
                continue
            done, going = finished(here.pairs)
            self._progress.end([member.trial for member, _ in done], TrialStatus.FINISHED, None, gathered)
            groups = part(going, cohort.epoch + 1, here.key, cohort.identity)
            keys = [planned.key for planned, _ in groups]
            known, saved = self._ledger.states(keys), self._ledger.checkpointed(keys)
            if unknown := [pair for planned, members in groups if planned.key not in known for pair in members]:
                self.push(here.parted(unknown))
            for planned, members in groups:
                if planned.key in known:
                    ahead = here.parted(members)
                    self._progress.step(ahead, planned.key, known[planned.key].metrics, gathered)
                    if planned.key in saved:
                        self._progress.settle(ahead.trials, gathered)
                    walking.append(ahead)
        self._progress.commit(gathered)

    def arrive(self, branch: Branch, broken: bool, gathered: Gathered) -> list[Branch]:
        """End the trials that are done and rest those at a rung; return the branch of those that continue, if any."""
        if broken:
            self._progress.end(branch.trials, TrialStatus.DIVERGED, None, gathered)
            return []
        done, resting, going = list[Pair](), list[Pair](), list[Pair]()
        for member, state in branch.pairs:
            row = self._progress.rows[member.trial]
            over = state.finished or branch.cohort.epoch >= row.epochs
            rests = branch.cohort.epoch >= self._contest.limit(row)
            (done if over else resting if rests else going).append((member, state))
        self._progress.end([member.trial for member, _ in done], TrialStatus.FINISHED, None, gathered)
        if resting:
            self._resting.append(branch.parted(resting))
        return [self._onward(branch, going)] if going else []

    def push(self, branch: Branch) -> None:
        """Put a branch in the backlog."""
        for trial in branch.trials:
            if not self._progress.status[trial].final:
                self._progress.status[trial] = TrialStatus.WAITING
        self._waiting.push(branch)

    def halve(self) -> None:
        """Decide at every rung that all trials of its arm have reached, and advance those that pass it.

        Once a commit has failed, nothing is decided: rung arrivals that are not committed have no error yet, and decisions
        are final.
        """
        while not self._progress.is_behind and (due := self._contest.due(self._progress.status, self._at_rungs)):
            rows = [row for row in self._ledger.trials(self._sweep_id) if row.arm == due[0]]
            curves = {row.id: self._ledger.curve(row.head) for row in rows}
            decided = self._contest.decide(*due, self._progress.status, self._at_rungs, curves)
            gathered = Gathered(events=[(HALVED, asdict(decided))])
            self._progress.end(decided.stopped, TrialStatus.STOPPED, None, gathered)
            self._progress.commit(gathered)
            there, passed, self._resting = self._resting, set(decided.passed), []
            for branch in there:
                going = [pair for pair in branch.pairs if pair[0].trial in passed]
                resting = [
                    pair
                    for pair in branch.pairs
                    if pair[0].trial not in passed and not self._progress.status[pair[0].trial].final
                ]
                if resting:
                    self._resting.append(branch.parted(resting))
                if going:
                    self.cover(self._joined(self._onward(branch, going)))

    def _onward(self, branch: Branch, pairs: Sequence[Pair]) -> Branch:
        """Return the branch of some of the members, to be trained up to their next rung or end."""
        away = branch.parted(pairs)
        limit = min(self._contest.limit(self._progress.rows[trial]) for trial in away.trials)
        away.cohort = replace(away.cohort, epochs=limit)
        return away

    def _joined(self, branch: Branch) -> Branch:
        """Merge the branch with those that wait at the same state because they had no rung there."""
        if not (same := self._waiting.take_fresh(branch.key)):
            return branch
        pairs = [pair for one in (branch, *same) for pair in one.pairs]
        cohort = replace(branch.cohort, members=tuple(member for member, _ in pairs))
        return self._onward(Branch(cohort, [state for _, state in pairs], branch.key), pairs)

    @property
    def _at_rungs(self) -> dict[str, int]:
        """Resting trials and their rungs."""
        return {
            trial: branch.cohort.epoch
            for branch in self._resting
            for trial in branch.trials
            if not self._progress.status[trial].final
        }


def _is_over(branch: Branch) -> bool:
    seen = branch.cohort.observations
    return branch.cohort.epoch >= branch.cohort.epochs or bool(seen and diverged(seen[-1]))
