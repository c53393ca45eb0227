"""Bounds of how many different training states some trials have, whatever their data.

States are counted depth by depth. Of schedules that look at the clock alone everything is known. Of the *watching*
ones it is known until they can first decay by themselves: of ABEL's after four norms (three show a minimum, one more a
decay), of the epochs after the warm-up or of means of them; of a plateau's after the first loss, which is always good,
and one more bad epoch than it is patient.
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
    """The bounds of a number of epochs; equal where it is exact."""

    low: int
    high: int


class Table:
    """Trials as columns: where each starts (root), what it plans (row), and what the training may do to it.

    `examples` tells how many training examples a trial has; where it is None, no batch is taken to reach them.
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
        # The last epoch whose rates are known beforehand, the last before the forced decay acts, the last that is sure.
        self.fixed: Ints = np.array([fixed_epochs(schedule) for schedule in watchers], np.int64)
        self.last: Ints = np.array([_last_decay(schedule) for schedule in watchers], np.int64)
        self.sure: Ints = np.minimum(self.epochs, np.array([sure_epochs(schedule) for schedule in watchers], np.int64))
        # Every setting comes to the first rung; how far each goes then is known when all have.
        first = [next(iter(rungs(trial.halving, trial.epochs)), NEVER) for trial in trials]
        self.sure = np.minimum(self.sure, np.array(first, np.int64))
        # Trials in one group see the same for as long as they share their states.
        self.group = _numbered(zip(self.root.tolist(), map(group, watchers), strict=True))
        factors = [schedule.decay_factor if schedule else None for schedule in watchers]
        self.open = 2 * _numbered(zip(self.group.tolist(), factors, strict=True))
        self.closed = 2 * _numbered(zip(self.open.tolist(), self.last.tolist(), strict=True)) + 1
        self.distinct: Flags = np.array(distinct_factors(watchers), bool)
        self._settle()
        self.followed = _followed(courses, self)

    def _settle(self) -> None:
        """Number what is known of the watching trials before any of their root could decay by itself."""
        exact = np.full(self.root.max(initial=-1) + 1, NEVER)
        np.minimum.at(exact, self.root, self.fixed)
        self.exact: Ints = exact[self.root]
        settled = np.zeros(len(self.root), np.int64)
        for depth in np.unique(self.exact[self.watching]).tolist():
            settled[self.exact == depth] = self.prefixes.classes(depth)[self.row[self.exact == depth]]
        # Two levels of a tree over the trials: roots have trunks, trunks have branches.
        self.trunk = _numbered(zip(self.root.tolist(), settled.tolist(), strict=True))
        self.branch = _numbered(zip(self.trunk.tolist(), self.group.tolist(), strict=True))
        self.root_of_trunk: Ints = self.root[np.unique(self.trunk, return_index=True)[1]]
        self.trunk_of_branch: Ints = self.trunk[np.unique(self.branch, return_index=True)[1]]

    def cost(self, recorded: Ints | None = None) -> Span:
        """Bounds of the states that are not among the first `recorded` epochs of their trials."""
        recorded = np.zeros_like(self.epochs) if recorded is None else recorded
        low = high = 0
        for depth, length in self._stretches(recorded):
            left = recorded < depth
            here = self._count(depth, left & (self.epochs >= depth), left & (self.sure >= depth))
            low, high = low + here.low * length, high + here.high * length
        return Span(low, high)

    def trajectories(self) -> Span:
        """Bounds of how many different curves there are."""
        low = high = 0
        for depth in np.unique(self.epochs).tolist():
            ending = self.epochs == depth
            here = self._count(depth, ending, ending & (self.sure >= depth))
            low, high = low + here.low, high + here.high
        return Span(max(low, len(np.unique(self.root))), high)

    def _stretches(self, recorded: Ints) -> Iterable[tuple[int, int]]:
        """Depths at which the counts change, and for how many epochs they then stay."""
        ends = [self.prefixes.shared, recorded, self.epochs, self.sure, self.fixed, self.last, self.followed]
        most = int(self.epochs.max(initial=0))
        starts = np.unique(np.concatenate([[1], *(end + 1 for end in ends)]))
        starts = starts[(starts >= 1) & (starts <= most)]
        return zip(starts.tolist(), np.diff([*starts, most + 1]).tolist(), strict=True)

    def _count(self, depth: int, live: Flags, sure: Flags) -> Span:
        """Bounds of the different states that trials have at a depth: those that may be there, those that are for sure."""
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
        """For each root, how many of some watching trials cannot but be apart from each other at a depth.

        Those with different rates before anything could decay by itself are; so are, in one group, those with different
        factors after a last decay, and those with the last decay at different epochs after the earlier one.
        """
        choices = np.where(depth > self.last, self.closed, 0)
        width = int(choices.max(initial=0)) + 1
        found = np.unique(self.branch[some] * width + choices[some]) // width
        sizes = np.bincount(found, minlength=len(self.trunk_of_branch))
        # The branches of a trunk may be one state: the largest of them counts.
        largest = np.zeros(len(self.root_of_trunk), np.int64)
        np.maximum.at(largest, self.trunk_of_branch, sizes)
        apart = np.zeros(self.root.max(initial=-1) + 1, np.int64)
        np.add.at(apart, self.root_of_trunk, largest)
        return apart


def _followed(courses: Sequence[PlannedCourse], table: Table) -> Ints:
    """For each watching trial, a depth beyond which no schedule that goes by the clock can be where it is."""
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
    """The courses of a root that go by the clock: how far can they be where a watching trial is?"""

    def __init__(self, courses: set[PlannedCourse], prefixes: Prefixes) -> None:
        self._prefixes = prefixes
        self._rows = sorted({prefixes.row[course] for course in courses})
        self._factors: dict[int, set[float]] = {}
        for course in courses:
            for epoch in clock_decays(course.schedule) or ():
                self._factors.setdefault(epoch, set()).add(_factor(course.schedule))

    def follow(self, course: PlannedCourse, fixed: int) -> int:
        """A depth beyond which none of them is where the watching trial is, whatever it sees."""
        common = self._common(self._prefixes.row[course])
        last, factor = _last_decay(course.schedule), _factor(course.schedule)
        if common < fixed:
            return common
        if last < fixed:
            return NEVER
        # Beyond its last decay only what decays after the same epoch, by its factor or by that squared, can be there.
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
    """The factor of a decay; 1 for a schedule that has none."""
    return float(getattr(schedule, "decay_factor", 1.0))


def _numbered(keys: Iterable[object]) -> Ints:
    """A number for each key, equal for equal keys, from 0."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
