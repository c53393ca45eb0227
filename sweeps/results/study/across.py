"""Sensitivity of an arm over workloads, and how many of its fields have to be tuned for each.

Source: Adkins, Bowling, White, arXiv 2412.07165 (2024), and their code (github.com/jadkins99/hyperparameter_sensitivity).
Neither has an interval: a maximum of noisy means is too high, also in every resample of a bootstrap over few seeds.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from sweeps.results.confidence import Floats
from sweeps.results.grids import Setting

SHARE = 0.95  # of the tuned score
_ROUNDING = 1e-12


class Reliance(NamedTuple):
    """How much an arm relies on tuning per workload.

    `tuned` is the mean over workloads of the highest score, `common` the highest mean over workloads, at row `row`.
    """

    tuned: float
    common: float
    row: int

    @property
    def sensitivity(self) -> float:
        """What one setting for all workloads loses."""
        return self.tuned - self.common


def reliance(scores: Floats) -> Reliance:
    """Return what an arm gains from its own setting in each workload, from f64[workloads, settings]."""
    means = scores.mean(axis=0)
    return Reliance(float(scores.max(axis=1).mean()), float(means.max()), int(means.argmax()))


def dimensions(scores: Floats, settings: Sequence[Setting]) -> tuple[str, ...]:
    """Return the fewest fields whose tuning per workload reaches `SHARE` of the tuned score; the others keep the common setting.

    Their number is the effective hyperparameter dimensionality. Of equally many fields they are those with the highest score.

    Args:
        scores: f64[workloads, settings].
        settings: all combinations of the fields' values.

    Raises:
        ValueError: the tuned score is not above 0, so a share of it means nothing.
    """
    known = reliance(scores)
    if known.tuned <= 0:
        raise ValueError(f"the tuned score must be above 0 to take a share of it, got {known.tuned:.2f}")
    names = [name for name, _ in settings[0] if len({dict(setting)[name] for setting in settings}) > 1]
    common = dict(settings[known.row])

    def reached(chosen: tuple[str, ...]) -> float:
        kept = [all(name in chosen or common[name] == value for name, value in setting) for setting in settings]
        return float(scores[:, np.array(kept)].max(axis=1).mean())

    choices = (max(combinations(names, count), key=reached) for count in range(len(names) + 1))
    return next(one for one in choices if reached(one) >= SHARE * known.tuned - _ROUNDING)
