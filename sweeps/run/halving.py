"""Successive halving: the settings of an arm compete, and after some epochs only the best of them continue.

    halving: {grace_epochs: 4, reduction_factor: 3}     # of 27 settings, 9 continue after epoch 4, 3 after 12, 1 after 36

(K. Jamieson & A. Talwalkar, AISTATS 2016.) The cut at each *rung* is that of Ray Tune's ASHA; the time of the cut differs.
ASHA compares each report with those that came before, so its result depends on the speed of workers and on which trials
share states. Here a rung waits until every setting of its arm has reached it, and its decision depends only on the records:
it is the same with or without sharing, on any number of workers, resumed or not. Seeds are replicates: a setting is ranked
by its mean error over its seeds, which continue or stop together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from sweeps.ledger.records import EventRow, StateRow, TrialRow, TrialStatus, encode
from sweeps.spec.sections import Halving
from workers.contracts import Metric
from workers.trajectory import TEST_ERROR

HALVED = "halved"  # the kind of the event for a decision
LARGEST = 100.0  # percent, the error of a diverged trial if the error of guessing is unknown


def rungs(halving: Halving | None, epochs: int) -> tuple[int, ...]:
    """Return the epochs after which settings are stopped, in a trial of ``epochs`` epochs."""
    found: list[int] = []
    epoch = epochs if halving is None else halving.grace_epochs
    while halving is not None and epoch < epochs:
        found.append(epoch)
        epoch *= halving.reduction_factor
    return tuple(found)


def losers(errors: Mapping[str, float], reduction_factor: int) -> set[str]:
    """Return all settings except the best, about one in `reduction_factor`; ties with the last of the best continue too."""
    if not errors:
        return set()
    # Bit for bit the arithmetic of Ray Tune: a linearly interpolated percentile of negated errors.
    cutoff = -np.percentile([-error for error in errors.values()], (1 - 1 / reduction_factor) * 100)
    return {name for name, error in errors.items() if error > cutoff}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision at a rung: which trials stop after this epoch, and which continue."""

    arm: str
    epoch: int
    stopped: tuple[str, ...]
    passed: tuple[str, ...]


@dataclass
class Contest:
    """The arms of a sweep whose settings compete, and the rungs that each trial has passed.

    Args:
        halvings: by arm.
        trials: the trials of each arm.
        metrics: what a trial is compared by, by trial id.
        passed: the last rung that each trial has passed, by trial id; trials that passed none are absent.
    """

    halvings: Mapping[str, Halving]
    trials: Mapping[str, Sequence[TrialRow]]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def resumed(
        cls,
        rows: Iterable[TrialRow],
        halvings: Mapping[str, Halving],
        events: Iterable[EventRow],
        metrics: Mapping[str, Metric] | None = None,
    ) -> Contest:
        """Return the contest with the rungs passed according to a ledger's events."""
        rows = list(rows)
        contest = cls(halvings, {arm: [row for row in rows if row.arm == arm] for arm in halvings}, metrics or {})
        for event in events:
            contest.passed |= dict.fromkeys(event.payload["passed"], int(event.payload["epoch"]))
        return contest

    def limit(self, row: TrialRow) -> int:
        """Return the epoch up to which a trial may train now: its next rung, or its last epoch."""
        passed = self.passed.get(row.id, 0)
        ahead = (epoch for epoch in rungs(self.halvings.get(row.arm), row.epochs) if epoch > passed)
        return next(ahead, row.epochs)

    def due(self, statuses: Mapping[str, TrialStatus], resting: Mapping[str, int]) -> tuple[str, int] | None:
        """Return an arm and a rung that all its trials have reached or ended before; `resting` maps trials to their rung."""
        for arm, rows in self.trials.items():
            for epoch in sorted({resting[row.id] for row in rows if row.id in resting}):
                if all(self._is_there(row, epoch, statuses, resting) for row in rows):
                    return arm, epoch
        return None

    def _is_there(
        self, row: TrialRow, epoch: int, statuses: Mapping[str, TrialStatus], resting: Mapping[str, int]
    ) -> bool:
        come = max(self.passed.get(row.id, 0), resting.get(row.id, 0))
        return statuses[row.id].final or come >= epoch

    def decide(
        self,
        arm: str,
        epoch: int,
        statuses: Mapping[str, TrialStatus],
        resting: Mapping[str, int],
        curves: Mapping[str, Sequence[StateRow]],
    ) -> Decision:
        """Rank the settings at a rung by their records; trials that passed it earlier are not stopped."""
        halving, by_setting = self.halvings[arm], dict[str, list[float]]()
        for row in self.trials[arm]:
            error = _error(halving, epoch, statuses[row.id], curves[row.id], self.metrics.get(row.id, TEST_ERROR))
            if error is not None:
                by_setting.setdefault(encode(row.settings), []).append(error)
        lost = losers({setting: fmean(errors) for setting, errors in by_setting.items()}, halving.reduction_factor)
        here = [row for row in self.trials[arm] if resting.get(row.id) == epoch]
        stopped = tuple(row.id for row in here if encode(row.settings) in lost)
        passed = tuple(row.id for row in here if row.id not in stopped)
        self.passed |= dict.fromkeys(passed, epoch)
        return Decision(arm=arm, epoch=epoch, stopped=stopped, passed=passed)


def _error(
    halving: Halving, epoch: int, status: TrialStatus, curve: Sequence[StateRow], metric: Metric
) -> float | None:
    """Return the error of a trial at a rung; None if it does not count there because it stopped or failed earlier."""
    worst = LARGEST if metric.worst_error is None else metric.worst_error
    if status is TrialStatus.DIVERGED and len(curve) <= epoch:
        return worst
    if len(curve) < epoch and status is not TrialStatus.FINISHED:
        return None
    found = (metric.error_in(state.epoch, state.metrics) for state in curve[:epoch])
    errors = [error for error in found if error is not None]
    counted = errors[-1:] if halving.error == "last" else errors
    known = (error for error in counted if math.isfinite(error))
    return min((min(max(error, 0.0), LARGEST) for error in known), default=worst)
