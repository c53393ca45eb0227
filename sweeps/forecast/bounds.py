"""Bounds on the number of distinct training states of trials, for any data.

States are counted by depth, the number of epochs. Schedules that depend only on the epoch are known completely. *Watching*
schedules are known until they can first decay on an observation. For ABEL that takes four norms (three show a minimum, one more
a decay), counted in epochs or windows after the warm-up. For a plateau it takes a first loss, which is always good, and
`patience + 1` bad epochs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abel.schedules import Schedule, last_epoch_named
from sweeps.forecast.prefixes import NEVER, Ints, PlannedCourse, Prefixes, clock_decays
from sweeps.forecast.watching import distinct_factors, fixed_epochs, group, sure_epochs, watching
from sweeps.run.halving import rungs
from sweeps.spec.trial import Trial

Flags = NDArray[np.bool_]


class Span(NamedTuple):
    """Bounds on a number of epochs; equal if it is exact."""

    low: int
    high: int


class Table:
    """Trials as columns: start (root), plan (row), and the possible influence of observations.

    `examples` returns a trial's number of training examples. If it is None, batches are assumed not to reach that number.
    """

    def __init__(self, trials: Sequence[Trial], examples: Callable[[Trial], int] | None = None) -> None:
        self.epochs: Ints = np.array([trial.epochs for trial in trials], np.int64)
        self.root = _numbered((trial.program, trial.seed) for trial in trials)
        most = [NEVER if examples is None else examples(trial) for trial in trials]
        courses = [
            PlannedCourse(trial.schedule, trial.program.batch_size, one)
            for trial, one in zip(trials, most, strict=True)
        ]
        self.prefixes = Prefixes(dict.fromkeys(courses), int(self.epochs.max(initial=0)))
        self.row: Ints = np.array([self.prefixes.row[course] for course in courses], np.int64)
        watchers = [watching(trial.schedule) for trial in trials]
        self.watching = np.array([schedule is not None for schedule in watchers], bool)
        # The last epoch with known rates, the last before the forced decay takes effect, the last that is certain.
        self.fixed: Ints = np.array([fixed_epochs(schedule) for schedule in watchers], np.int64)
        self.last: Ints = np.array([_last_decay(schedule) for schedule in watchers], np.int64)
        self.sure: Ints = np.minimum(self.epochs, np.array([sure_epochs(schedule) for schedule in watchers], np.int64))
        # Every setting reaches the first rung; what follows depends on the errors there.
        first = [next(iter(rungs(trial.halving, trial.epochs)), NEVER) for trial in trials]
        self.sure = np.minimum(self.sure, np.array(first, np.int64))
        # Trials in one group observe the same as long as they share their states.
        self.group = _numbered(zip(self.root.tolist(), map(group, watchers), strict=True))
        factors = [schedule.decay_factor if schedule else None for schedule in watchers]
        self.open = 2 * _numbered(zip(self.group.tolist(), factors, strict=True))
        self.closed = 2 * _numbered(zip(self.open.tolist(), self.last.tolist(), strict=True)) + 1
        self.distinct: Flags = np.array(distinct_factors(watchers), bool)
        self._settle()
        self.followed = _followed(courses, self)

    def _settle(self) -> None:
        """Number the known prefixes of the watching trials, before any trial of their root can decay on an observation."""
        exact = np.full(self.root.max(initial=-1) + 1, NEVER)
        np.minimum.at(exact, self.root, self.fixed)
        self.exact: Ints = exact[self.root]
        settled = np.zeros(len(self.root), np.int64)
        for depth in np.unique(self.exact[self.watching]).tolist():
            settled[self.exact == depth] = self.prefixes.classes(depth)[self.row[self.exact == depth]]
        # A tree over the trials with two levels: roots have trunks, trunks have branches.
        self.trunk = _numbered(zip(self.root.tolist(), settled.tolist(), strict=True))
        self.branch = _numbered(zip(self.trunk.tolist(), self.group.tolist(), strict=True))
        self.root_of_trunk: Ints = self.root[np.unique(self.trunk, return_index=True)[1]]
        self.trunk_of_branch: Ints = self.trunk[np.unique(self.branch, return_index=True)[1]]

    def cost(self, recorded: Ints | None = None) -> Span:
        """Return bounds on the states that are not among the first `recorded` epochs of their trials."""
        recorded = np.zeros_like(self.epochs) if recorded is None else recorded
        low = high = 0
        for depth, length in self._stretches(recorded):
            left = recorded < depth
            here = self._count(depth, left & (self.epochs >= depth), left & (self.sure >= depth))
            low, high = low + here.low * length, high + here.high * length
        return Span(low, high)

    def trajectories(self) -> Span:
        """Return bounds on the number of distinct curves."""
        low = high = 0
        for depth in np.unique(self.epochs).tolist():
            ending = self.epochs == depth
            here = self._count(depth, ending, ending & (self.sure >= depth))
            low, high = low + here.low, high + here.high
        return Span(max(low, len(np.unique(self.root))), high)

    def _stretches(self, recorded: Ints) -> Iterable[tuple[int, int]]:
        """Return the depths at which the counts change, and for how many epochs they then stay constant."""
        ends = [self.prefixes.shared, recorded, self.epochs, self.sure, self.fixed, self.last, self.followed]
        most = int(self.epochs.max(initial=0))
        starts = np.unique(np.concatenate([[1], *(end + 1 for end in ends)]))
        starts = starts[(starts >= 1) & (starts <= most)]
        return zip(starts.tolist(), np.diff([*starts, most + 1]).tolist(), strict=True)

    def _count(self, depth: int, live: Flags, sure: Flags) -> Span:
        """Return bounds on the distinct states at a depth, given the trials that may be and that surely are there."""
        classes = self.prefixes.classes(depth)[self.row]
        width = int(classes.max(initial=0)) + 1
        paths = self.root * width + classes
        loose = live & (depth > self.fixed)
        if not loose.any():
            return Span(len(np.unique(paths[sure])), len(np.unique(paths[live])))
        choices = np.where(depth > self.last, self.closed, self.open)
        high = len(np.unique(paths[live & ~loose])) + len(np.unique(choices[loose]))
        undecided = sure & self.watching & (depth > self.exact)
        by_clock = np.unique(paths[sure & ~undecided]) // width
        certain = undecided & self.distinct
        apart = self._apart(certain & (depth > self.followed), depth)
        either = np.bincount(by_clock, minlength=len(apart)) + apart
        return Span(int(np.maximum(either, self._apart(certain, depth)).sum()), high)

    def _apart(self, some: Flags, depth: int) -> Ints:
        """Return, for each root, how many of some watching trials must have distinct states at a depth.

        Trials are distinct if their rates differ before any decay on an observation. Trials of one group are also distinct
        after a last decay if their factors differ, and after the earlier of two last decays at different epochs.
        """
        choices = np.where(depth > self.last, self.closed, 0)
        width = int(choices.max(initial=0)) + 1
        found = np.unique(self.branch[some] * width + choices[some]) // width
        sizes = np.bincount(found, minlength=len(self.trunk_of_branch))
        # The branches of a trunk may coincide, so only the largest counts.
        largest = np.zeros(len(self.root_of_trunk), np.int64)
        np.maximum.at(largest, self.trunk_of_branch, sizes)
        apart = np.zeros(self.root.max(initial=-1) + 1, np.int64)
        np.add.at(apart, self.root_of_trunk, largest)
        return apart


def _followed(courses: Sequence[PlannedCourse], table: Table) -> Ints:
    """Return, for each watching trial, a depth beyond which no epoch-only schedule can share its states."""
    followed = np.full(len(courses), NEVER)
    by_clock: dict[int, set[PlannedCourse]] = {}
    for course, root, watches in zip(courses, table.root.tolist(), table.watching.tolist(), strict=True):
        if not watches:
            by_clock.setdefault(root, set()).add(course)
    others = {root: _Others(beside, table.prefixes) for root, beside in by_clock.items()}
    for index in np.flatnonzero(table.watching).tolist():
        beside = others.get(int(table.root[index]))
        followed[index] = 0 if beside is None else beside.follow(courses[index], int(table.fixed[index]))
    return followed


class _Others:
    """The courses of a root that depend only on the epoch, and how long they can share a watching trial's states."""

    def __init__(self, courses: set[PlannedCourse], prefixes: Prefixes) -> None:
        self._prefixes = prefixes
        self._rows = sorted({prefixes.row[course] for course in courses})
        self._factors: dict[int, set[float]] = {}
        for course in courses:
            for epoch in clock_decays(course.schedule) or ():
                self._factors.setdefault(epoch, set()).add(_factor(course.schedule))

    def follow(self, course: PlannedCourse, fixed: int) -> int:
        """Return a depth beyond which none of them shares the watching trial's states, whatever it observes."""
        common = self._common(self._prefixes.row[course])
        last, factor = _last_decay(course.schedule), _factor(course.schedule)
        if common < fixed:
            return common
        if last < fixed:
            return NEVER
        # After its last decay only a course that decays after the same epoch, by its factor or its square, can follow.
        same = (factor, factor**2)
        others = self._factors.get(last, ())
        return NEVER if any(math.isclose(one, other, rel_tol=1e-3) for one in same for other in others) else last

    def _common(self, row: int) -> int:
        place = bisect_left(self._rows, row)
        if place < len(self._rows) and self._rows[place] == row:
            return NEVER
        beside = self._rows[max(place - 1, 0) : place + 1]
        return max(self._prefixes.common(row, other) for other in beside)


def _last_decay(schedule: Schedule | None) -> int:
    last = None if schedule is None else last_epoch_named(schedule)
    return NEVER if last is None else last


def _factor(schedule: Schedule) -> float:
    """Return the decay factor; 1 for a schedule without one."""
    return float(getattr(schedule, "decay_factor", 1.0))


def _numbered(keys: Iterable[object]) -> Ints:
    """Return a number for each key, from 0, equal for equal keys."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
