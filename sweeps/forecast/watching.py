"""Properties known in advance of `Abel` and `Plateau`, the schedules that watch training and may decay on an observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from abel.schedules import Abel, Plateau, Schedule
from sweeps.forecast.prefixes import NEVER

Watching = Abel | Plateau

_NORMS_TO_DECAY = 4  # norms that Algorithm 1 needs for a decay
_NORMS_TO_DECAY_AGAIN = 2  # one for the next minimum, one more for the decay


def watching(schedule: Schedule) -> Watching | None:
    """Return the schedule if it watches training, else None."""
    return schedule if isinstance(schedule, Watching) else None


def fixed_epochs(schedule: Watching | None) -> int:
    """Return for how many epochs the rates of a schedule are known in advance."""
    match schedule:
        case Abel():
            return schedule.warmup_epochs + _epochs_of(schedule, _NORMS_TO_DECAY)
        case Plateau():
            return 1 + schedule.patience + 1
        case None:
            return NEVER


def sure_epochs(schedule: Watching | None) -> int:
    """Return how many epochs a schedule trains at least, whatever it observes; `NEVER` if it leaves the end to the sweep."""
    if not isinstance(schedule, Abel) or schedule.gain_threshold is None:
        return NEVER
    again = _epochs_of(schedule, _NORMS_TO_DECAY + _NORMS_TO_DECAY_AGAIN)
    return schedule.warmup_epochs + again + schedule.epochs_after_last_decay


def _epochs_of(schedule: Abel, norms: int) -> int:
    """Return the number of epochs needed to observe `norms` norms."""
    window = schedule.norm_window_epochs
    return window + norms - 1 if schedule.norm_window == "sliding" else window * norms


def group(schedule: Watching | None) -> object:
    """Return what determines when a schedule decays on an observation: all its arguments except factor and last decay."""
    match schedule:
        case Abel():
            return replace(schedule, decay_factor=0.5, last_decay_epoch=None)
        case Plateau():
            return schedule
        case None:
            return None


def distinct_factors(schedules: Sequence[Watching | None]) -> list[bool]:
    """Return which schedules have a decay factor whose rates differ from those of all other factors in their group.

    Two decays by 0.5 in one epoch equal one decay by 0.25, so only one of such a pair counts in a lower bound. A plateau is
    alone in its group.
    """
    taken: dict[object, dict[float, float]] = {}  # by group: float32 rates and the factors that they belong to
    distinct = []
    for schedule in schedules:
        if schedule is None:
            distinct.append(False)
            continue
        base, factor = schedule.learning_rate, schedule.decay_factor
        rates = [float(np.float32(base * factor**decays)) for decays in range(3)]
        known = taken.setdefault(group(schedule), {})
        own = len(set(rates)) == 3 and all(known.get(rate, factor) == factor for rate in rates[1:])
        known |= dict.fromkeys(rates[1:], factor) if own else {}
        distinct.append(own)
    return distinct
