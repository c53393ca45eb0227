"""The cost of a sweep before it runs: epochs without sharing, and epochs with as much sharing as possible.

Schedules that depend only on the epoch have known rates, and their cost is exact. When ABEL or a plateau decays depends on
the data, so a sweep with them costs between two bounds, whatever they observe (`sweeps.forecast.bounds` counts them):

- *Upper bound*: ABEL separates from all other schedules at the first epoch in which Algorithm 1 can decay. That takes four
  norms (three show a minimum, one more a decay), counted in epochs or windows after the warm-up. ABEL trials with different
  decay factors separate there too; those that differ only in the last decay separate at that decay. A plateau separates
  after its first loss and `patience + 1` bad epochs.
- *Lower bound*: ABEL follows another schedule as long as possible, usually until its last decay, and ABEL trials share
  everything until a decay that must differ. A plateau may never decay. With a gain threshold, ABEL ends as early as
  possible. Where settings compete, each is trained only to the first rung.

Both assume that no trial diverges, which would end it early, that no rate underflows float32, and, if the number of examples
is unknown, that no batch grows to all of them.
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
    """Bounds on a time."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmForecast:
    """The cost of one arm as if it were the whole sweep."""

    arm: str
    trials: int
    naive_epochs: int
    sure_epochs: int
    shared_epochs: Span
    known_epochs: int  # recorded epochs, counted for every trial


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The cost of a sweep in epochs.

    Args:
        naive_epochs: every trial trained separately, to its last epoch.
        sure_epochs: the part of `naive_epochs` that is trained even if schedules and halving end trials as early as possible.
        shared_epochs: every state trained once.
        known_epochs: the part of `naive_epochs` that is already recorded.
        new_epochs: the part of `shared_epochs` that is left to train.
        trajectories: number of distinct curves at the end.
        critical_epochs: the longest chain left to train, which more workers cannot shorten.
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
    """Return the cost of trials, given that the first `known(trial)` epochs of each are recorded (none by default).

    `examples` returns a trial's number of training examples, if that is known.
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
    """Return bounds on the time of the new epochs on `workers` workers of this speed, without start-up and forks.

    No schedule of the work is faster than the lower bound. No schedule that keeps workers busy while an epoch is ready exceeds
    the upper bound (Graham's bound for list scheduling).
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
    """Return the cost of each arm by itself, in the sweep's order."""
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
