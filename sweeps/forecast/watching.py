"""What is known beforehand of the schedules that watch the training, `Abel` and `Plateau`, and so may decay by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from abel.schedules import Abel, Plateau, Schedule
from sweeps.forecast.prefixes import NEVER

Watching = Abel | Plateau

_NORMS_TO_DECAY = 4  # by Algorithm 1
_NORMS_TO_DECAY_AGAIN = 2  # one shows the next minimum, one more the decay


def watching(schedule: Schedule) -> Watching | None:
    """The schedule, if it watches the training."""
    return schedule if isinstance(schedule, Watching) else None


def fixed_epochs(schedule: Watching | None) -> int:
    """How many epochs of a schedule have rates that are known beforehand."""
    match schedule:
        case Abel():
            return schedule.warmup_epochs + _epochs_of(schedule, _NORMS_TO_DECAY)
        case Plateau():
            return 1 + schedule.patience + 1
        case None:
            return NEVER


def sure_epochs(schedule: Watching | None) -> int:
    """How many epochs a schedule trains whatever it sees; `NEVER` where it leaves the end to the sweep."""
    if not isinstance(schedule, Abel) or schedule.gain_threshold is None:
        return NEVER
    again = _epochs_of(schedule, _NORMS_TO_DECAY + _NORMS_TO_DECAY_AGAIN)
    return schedule.warmup_epochs + again + schedule.epochs_after_last_decay


def _epochs_of(schedule: Abel, norms: int) -> int:
    """The epochs that it takes to observe so many norms."""
    window = schedule.norm_window_epochs
    return window + norms - 1 if schedule.norm_window == "sliding" else window * norms


def group(schedule: Watching | None) -> object:
    """What decides when a schedule decays by itself, the states being the same: all but its factor and last decay."""
    match schedule:
        case Abel():
            return replace(schedule, decay_factor=0.5, last_decay_epoch=None)
        case Plateau():
            return schedule
        case None:
            return None


def distinct_factors(schedules: Sequence[Watching | None]) -> list[bool]:
    """Which schedules have a decay factor whose rates cannot be mistaken for those of another one in their group.

    0.5 decayed twice in one epoch is 0.25 decayed once: of such a pair only one counts in a lower bound. A plateau's
    group has no other.
    """
    taken: dict[object, dict[float, float]] = {}  # by group: a float32 rate and the factor that it belongs to
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
