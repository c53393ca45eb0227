"""Successive halving: the settings of an arm compete, and after some epochs only the best of them train on.

    halving: {grace_epochs: 4, reduction_factor: 3}     # of 27 settings 9 go on after epoch 4, 3 after 12, 1 after 36

(K. Jamieson & A. Talwalkar, AISTATS 2016.) The cut at each *rung* is that of Ray Tune's ASHA. When to cut is not: ASHA
judges whoever reports by those that reported before, so that what it stops depends on which worker was faster, and on who
shares a state with whom. Here a rung waits until every setting of its arm has come there, and what it decides follows
from the records alone: the same with sharing on or off, on any number of workers, undisturbed or resumed. Seeds are
replicates: a setting counts with its mean error over its seeds, which go on, or stop, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from sweeps.ledger.records import EventRow, StateRow, TrialRow, TrialStatus, encode
from sweeps.spec.models import Halving

HALVED = "halved"  # the kind of the event that tells of a decision
LARGEST = 100.0  # percent: what a trial that diverged counts as where the error of guessing is not known


def rungs(halving: Halving | None, epochs: int) -> tuple[int, ...]:
    """The epochs after which settings are stopped, in a trial of so many."""
    found: list[int] = []
    epoch = epochs if halving is None else halving.grace_epochs
    while halving is not None and epoch < epochs:
        found.append(epoch)
        epoch *= halving.reduction_factor
    return tuple(found)


def losers(errors: Mapping[str, float], reduction_factor: int) -> set[str]:
    """Who is not among the best: about one in `reduction_factor` is; settings that equal the last of them stay too."""
    if not errors:
        return set()
    # Ray Tune's arithmetic, to the bit: a percentile of negated errors, interpolated linearly.
    cutoff = -np.percentile([-error for error in errors.values()], (1 - 1 / reduction_factor) * 100)
    return {name for name, error in errors.items() if error > cutoff}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a rung decides: which trials stop after this epoch, and which go on."""

    arm: str
    epoch: int
    stopped: tuple[str, ...]
    passed: tuple[str, ...]


@dataclass
class Contest:
    """The arms of a sweep whose settings compete, and the rungs that each trial has passed.

    Args:
        halvings: by arm.
        trials: the arms' trials.
        guessing: the error of guessing by the trial's id, in percent: what it counts as once it has diverged.
        passed: the last rung that each trial has passed, by the trial's id; of the others none.
    """

    halvings: Mapping[str, Halving]
    trials: Mapping[str, Sequence[TrialRow]]
    guessing: Mapping[str, float] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def resumed(
        cls,
        rows: Iterable[TrialRow],
        halvings: Mapping[str, Halving],
        events: Iterable[EventRow],
        guessing: Mapping[str, float] | None = None,
    ) -> Contest:
        """The contest as far as a ledger's events tell of it."""
        rows = list(rows)
        contest = cls(halvings, {arm: [row for row in rows if row.arm == arm] for arm in halvings}, guessing or {})
        for event in events:
            contest.passed |= dict.fromkeys(event.payload["passed"], int(event.payload["epoch"]))
        return contest

    def limit(self, row: TrialRow) -> int:
        """The epoch to which a trial may train now: its next rung, else its last epoch."""
        passed = self.passed.get(row.id, 0)
        ahead = (epoch for epoch in rungs(self.halvings.get(row.arm), row.epochs) if epoch > passed)
        return next(ahead, row.epochs)

    def due(self, statuses: Mapping[str, TrialStatus], resting: Mapping[str, int]) -> tuple[str, int] | None:
        """An arm and a rung that all its trials have come to, or ended before; `resting` maps trials to their rung."""
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
        """Judge the settings that have come to a rung by their records; who passed it before has passed it for good."""
        halving, by_setting = self.halvings[arm], dict[str, list[float]]()
        for row in self.trials[arm]:
            error = _error(halving, epoch, statuses[row.id], curves[row.id], self.guessing.get(row.id, LARGEST))
            if error is not None:
                by_setting.setdefault(encode(row.settings), []).append(error)
        lost = losers({setting: fmean(errors) for setting, errors in by_setting.items()}, halving.reduction_factor)
        here = [row for row in self.trials[arm] if resting.get(row.id) == epoch]
        stopped = tuple(row.id for row in here if encode(row.settings) in lost)
        passed = tuple(row.id for row in here if row.id not in stopped)
        self.passed |= dict.fromkeys(passed, epoch)
        return Decision(arm=arm, epoch=epoch, stopped=stopped, passed=passed)


def _error(
    halving: Halving, epoch: int, status: TrialStatus, curve: Sequence[StateRow], guessing: float
) -> float | None:
    """What a trial counts with at a rung; None where it has no say there: it stopped or failed before."""
    if status is TrialStatus.DIVERGED and len(curve) <= epoch:
        return guessing
    if len(curve) < epoch and status is not TrialStatus.FINISHED:
        return None
    errors = [state.metrics["test_error"] for state in curve[:epoch]]
    counted = errors[-1:] if halving.error == "last" else errors
    return min((error for error in counted if 0 <= error <= LARGEST), default=guessing)  # NaN is no error
