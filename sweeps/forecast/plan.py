"""What a sweep costs before it runs: epochs one by one, and epochs with everything shared that can be.

Schedules that look at the clock alone have known rates, and their cost is exact. Where ABEL or a plateau decays depends
on data, so a sweep with them costs something between two bounds, whatever they see (`sweeps.forecast.bounds` counts them):

- *At most*: ABEL parts from everything else at the first epoch in which Algorithm 1 can decay by itself. It takes four
  norms (three show a minimum, one more a decay), of the epochs after the warm-up or of means of them. Trials of ABEL
  that differ in the decay factor part there too; those that differ in the last decay alone, only at that. A plateau
  parts after its first loss and one more bad epoch than it is patient.
- *At least*: ABEL follows some other schedule for as long as it could, which is as a rule until its last decay, and
  trials of ABEL share everything until the decay in which they cannot be equal. A plateau may never decay. Where ABEL
  ends by a threshold of gain, it ends as early as it could. Where settings compete, each is trained to the first rung.

Both assume that no trial diverges, which ends it early, and no rate underflows float32, and, where it is not known how
many examples there are, that no batch grows to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sweeps.forecast.bounds import Span, Table
from sweeps.spec.trial import Trial

__all__ = ["ArmForecast", "Forecast", "Seconds", "Span", "forecast", "wall_seconds"]


class Seconds(NamedTuple):
    """The bounds of a time."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmForecast:
    """One arm by itself: what it would cost if it were the whole sweep."""

    arm: str
    trials: int
    naive_epochs: int
    sure_epochs: int
    shared_epochs: Span
    known_epochs: int  # of its trials, one by one


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The cost of a sweep in epochs.

    Args:
        naive_epochs: every trial trained by itself, to its last epoch.
        sure_epochs: of these, those that no schedule, and no halving, can end training before.
        shared_epochs: every state trained once.
        known_epochs: of the naive ones, those that are recorded already.
        new_epochs: of the shared ones, those that are left to train.
        trajectories: different curves at the end.
        critical_epochs: the longest chain left to train, which no number of workers makes shorter.
    """

    trials: int
    naive_epochs: int
    sure_epochs: int
    shared_epochs: Span
    known_epochs: int
    new_epochs: Span
    trajectories: Span
    critical_epochs: Span
    arms: tuple[ArmForecast, ...]


def forecast(
    trials: Sequence[Trial],
    known: Callable[[Trial], int] | None = None,
    examples: Callable[[Trial], int] | None = None,
) -> Forecast:
    """The cost of some trials, of each of which the first `known(trial)` epochs are recorded (none by default).

    `examples` tells how many training examples a trial has, where that is known.
    """
    recorded = np.array([min(known(trial), trial.epochs) if known else 0 for trial in trials], np.int64)
    table = Table(trials, examples)
    shared = table.cost()
    return Forecast(
        trials=len(trials),
        naive_epochs=int(table.epochs.sum()),
        sure_epochs=int(table.sure.sum()),
        shared_epochs=shared,
        known_epochs=int(recorded.sum()),
        new_epochs=table.cost(recorded) if recorded.any() else shared,
        trajectories=table.trajectories(),
        critical_epochs=Span(*(int((ends - recorded).max(initial=0)) for ends in (table.sure, table.epochs))),
        arms=_arms(trials, recorded.tolist(), examples),
    )


def wall_seconds(forecast: Forecast, seconds_per_epoch: float, workers: int) -> Seconds:
    """How long the new epochs take on so many workers, each at this speed; starting workers and forking not counted.

    No schedule of the work beats the lower bound, and none that leaves no worker idle while an epoch could be trained
    exceeds the upper one (Graham's bound for list scheduling).
    """
    low, high = forecast.new_epochs
    shortest, longest = forecast.critical_epochs
    return Seconds(
        max(low / workers, shortest) * seconds_per_epoch,
        (high / workers + longest * (1 - 1 / workers)) * seconds_per_epoch,
    )


def _arms(
    trials: Sequence[Trial], recorded: Sequence[int], examples: Callable[[Trial], int] | None
) -> tuple[ArmForecast, ...]:
    """Every arm by itself, in the sweep's order."""
    members: dict[str, list[Trial]] = {}
    known: dict[str, int] = {}
    for trial, epochs in zip(trials, recorded, strict=True):
        members.setdefault(trial.arm, []).append(trial)
        known[trial.arm] = known.get(trial.arm, 0) + epochs
    return tuple(_arm(arm, Table(own, examples), known[arm]) for arm, own in members.items())


def _arm(arm: str, table: Table, known: int) -> ArmForecast:
    return ArmForecast(
        arm=arm,
        trials=len(table.epochs),
        naive_epochs=int(table.epochs.sum()),
        sure_epochs=int(table.sure.sum()),
        shared_epochs=table.cost(),
        known_epochs=known,
    )
