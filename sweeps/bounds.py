"""Bounds of how many different training states some trials have, whatever their data.

States are counted depth by depth. Of schedules that look at the clock alone everything is known; of ABEL's it is known
until Algorithm 1 can first decay by itself, which takes four norms (three show a minimum, one more a decay), of the
epochs after the warm-up or of blocks of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abel.schedules import Abel, Schedule, last_epoch_named
from sweeps.prefixes import NEVER, Ints, Prefixes, decay_epochs
from sweeps.trial import Trial

Flags = NDArray[np.bool_]

_NORMS_TO_DECAY = 4  # by Algorithm 1


class Span(NamedTuple):
    """The bounds of a number of epochs; equal where it is exact."""

    low: int
    high: int


class Table:
    """Trials as columns: where each starts (root), what it plans (row), and what ABEL may do to it."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.epochs: Ints = np.array([trial.epochs for trial in trials], np.int64)
        self.root = _numbered((trial.program, trial.seed) for trial in trials)
        self.prefixes = Prefixes(dict.fromkeys(trial.schedule for trial in trials), int(self.epochs.max(initial=0)))
        self.row: Ints = np.array([self.prefixes.row[trial.schedule] for trial in trials], np.int64)
        abels = [trial.schedule if isinstance(trial.schedule, Abel) else None for trial in trials]
        self.abel = np.array([schedule is not None for schedule in abels], bool)
        # The last epoch whose rates are known beforehand, and the last before the forced decay acts.
        self.fixed: Ints = np.array([_fixed_epochs(schedule) for schedule in abels], np.int64)
        self.last: Ints = np.array([_last_decay(schedule) for schedule in abels], np.int64)
        # Trials of ABEL in one group see the same bounces for as long as they share their states.
        self.group = _numbered(zip(self.root.tolist(), map(_group, abels), strict=True))
        factors = [schedule.decay_factor if schedule else None for schedule in abels]
        self.open = 2 * _numbered(zip(self.group.tolist(), factors, strict=True))
        self.closed = 2 * _numbered(zip(self.open.tolist(), self.last.tolist(), strict=True)) + 1
        self.distinct = _distinct_factors(abels)
        self._settle()
        self.followed = _followed(trials, self)

    def _settle(self) -> None:
        """Number what is known of ABEL's trials before any of their root could bounce."""
        exact = np.full(self.root.max(initial=-1) + 1, NEVER)
        np.minimum.at(exact, self.root, self.fixed)
        self.exact: Ints = exact[self.root]
        settled = np.zeros(len(self.root), np.int64)
        for depth in np.unique(self.exact[self.abel]).tolist():
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
            here = self._count(depth, (self.epochs >= depth) & (recorded < depth))
            low, high = low + here.low * length, high + here.high * length
        return Span(low, high)

    def trajectories(self) -> Span:
        """Bounds of how many different curves there are."""
        spans = [self._count(depth, self.epochs == depth) for depth in np.unique(self.epochs).tolist()]
        return Span(sum(span.low for span in spans), sum(span.high for span in spans))

    def _stretches(self, recorded: Ints) -> Iterable[tuple[int, int]]:
        """Depths at which the counts change, and for how many epochs they then stay."""
        ends = [self.prefixes.shared, recorded, self.epochs, self.fixed, self.last, self.followed]
        most = int(self.epochs.max(initial=0))
        starts = np.unique(np.concatenate([[1], *(end + 1 for end in ends)]))
        starts = starts[(starts >= 1) & (starts <= most)]
        return zip(starts.tolist(), np.diff([*starts, most + 1]).tolist(), strict=True)

    def _count(self, depth: int, live: Flags) -> Span:
        """Bounds of the different states that the live trials have at a depth."""
        classes = self.prefixes.classes(depth)[self.row]
        width = int(classes.max(initial=0)) + 1
        paths = self.root * width + classes
        loose = live & (depth > self.fixed)
        if not loose.any():
            states = len(np.unique(paths[live]))
            return Span(states, states)
        choices = np.where(depth > self.last, self.closed, self.open)
        high = len(np.unique(paths[live & ~loose])) + len(np.unique(choices[loose]))
        undecided = live & self.abel & (depth > self.exact)
        by_clock = np.unique(paths[live & ~undecided]) // width
        certain = undecided & self.distinct
        apart = self._apart(certain & (depth > self.followed), depth)
        either = np.bincount(by_clock, minlength=len(apart)) + apart
        return Span(int(np.maximum(either, self._apart(certain, depth)).sum()), high)

    def _apart(self, some: Flags, depth: int) -> Ints:
        """For each root, how many of some trials of ABEL cannot but be apart from each other at a depth.

        Those with different rates before anything could bounce are; so are, in one group, those with different factors
        after a last decay, and those with the last decay at different epochs after the earlier one.
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


def _followed(trials: Sequence[Trial], table: Table) -> Ints:
    """For each trial of ABEL, a depth beyond which no schedule that goes by the clock can be where it is."""
    followed = np.full(len(trials), NEVER)
    by_clock: dict[int, set[Schedule]] = {}
    for trial, root, abel in zip(trials, table.root.tolist(), table.abel.tolist(), strict=True):
        if not abel:
            by_clock.setdefault(root, set()).add(trial.schedule)
    others = {root: _Others(schedules, table.prefixes) for root, schedules in by_clock.items()}
    for index in np.flatnonzero(table.abel).tolist():
        beside = others.get(int(table.root[index]))
        followed[index] = 0 if beside is None else beside.follow(trials[index].schedule, int(table.fixed[index]))
    return followed


class _Others:
    """The schedules of a root that go by the clock: how far can they be where a trial of ABEL is?"""

    def __init__(self, schedules: set[Schedule], prefixes: Prefixes) -> None:
        self._prefixes = prefixes
        self._rows = sorted({prefixes.row[schedule] for schedule in schedules})
        self._factors: dict[int, set[float]] = {}
        for schedule in schedules:
            for epoch in decay_epochs(schedule) or ():
                self._factors.setdefault(epoch, set()).add(_factor(schedule))

    def follow(self, schedule: Schedule, fixed: int) -> int:
        """A depth beyond which none of them is where ABEL is, whatever the norms."""
        common = self._common(self._prefixes.row[schedule])
        last = _last_decay(schedule)
        if common < fixed:
            return common
        if last < fixed:
            return NEVER
        # Beyond its last decay only what decays after the same epoch, by its factor or by that squared, can be there.
        same = (_factor(schedule), _factor(schedule) ** 2)
        others = self._factors.get(last, ())
        return NEVER if any(math.isclose(one, other, rel_tol=1e-3) for one in same for other in others) else last

    def _common(self, row: int) -> int:
        place = bisect_left(self._rows, row)
        if place < len(self._rows) and self._rows[place] == row:
            return NEVER
        beside = self._rows[max(place - 1, 0) : place + 1]
        return max(self._prefixes.common(row, other) for other in beside)


def _fixed_epochs(schedule: Abel | None) -> int:
    if schedule is None:
        return NEVER
    return schedule.warmup_epochs + _NORMS_TO_DECAY * schedule.norm_window_epochs


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


def _group(schedule: Abel | None) -> object:
    """What decides when ABEL bounces, the states being the same."""
    if schedule is None:
        return None
    observed = (schedule.warmup_epochs, schedule.norm_window_epochs, schedule.ignore_until_falling)
    return schedule.learning_rate, *observed


def _distinct_factors(bounces: Sequence[Abel | None]) -> Flags:
    """Which trials of ABEL have a decay factor whose rates cannot be mistaken for those of another one.

    0.5 decayed twice in one epoch is 0.25 decayed once: of such a pair only one counts in a lower bound.
    """
    taken: dict[object, dict[float, float]] = {}  # by group: a float32 rate and the factor that it belongs to
    distinct = []
    for schedule in bounces:
        if schedule is None:
            distinct.append(False)
            continue
        base, factor = schedule.learning_rate, schedule.decay_factor
        rates = [float(np.float32(base * factor**decays)) for decays in range(3)]
        known = taken.setdefault(_group(schedule), {})
        own = len(set(rates)) == 3 and all(known.get(rate, factor) == factor for rate in rates[1:])
        known |= dict.fromkeys(rates[1:], factor) if own else {}
        distinct.append(own)
    return np.array(distinct, bool)
