"""Tuning curves: the error of the best of so many settings drawn at random."""

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from sweeps.results.confidence import CONFIDENCE, Floats
from sweeps.results.study.values import Tuned
from sweeps.results.values import Interval

NOT_DRAWN = "settings must be drawn (`search` in the spec), as a grid's points do not show what random draws would find"
FROM_SOBOL = (
    "the band assumes independent draws, and points of a Sobol sequence are more even, so it is usually too wide"
)


def tuning_curve(errors: Floats, confidence: float = CONFIDENCE) -> tuple[Tuned, ...]:
    """Return the median error of the best of 1, 2, 4, ... settings, up to as many as were drawn, with a simultaneous band.

    The best of k independent draws is below y with probability ``1 - (1 - F(y))^k``, so its median is the quantile of F at
    ``1 - 0.5^(1/k)``. The band of Kolmogorov and Smirnov contains F everywhere at once, and so gives one for the whole curve
    (Lourie, Cho, He, arXiv 2311.09480, 2023). It is exact for independent draws with distinct errors, and conservative for equal
    errors. It bounds what other draws would find with the same seeds of training. Where it has no end it is 0 or 100, the
    range of errors.

    Args:
        errors: percent, one per drawn setting, f64[settings].
    """
    ordered, count = np.sort(errors), len(errors)
    shares = np.arange(1, count + 1) / count
    reach = float(stats.kstwo(count).ppf(confidence))
    return tuple(Tuned(draws, _band(ordered, shares, reach, 1 - 0.5 ** (1 / draws))) for draws in _counts(count))


def _band(ordered: Floats, shares: Floats, reach: float, at: float) -> Interval:
    """Return the quantile ``at`` of the distribution of errors, from its bounds ``shares`` - ``reach`` and + ``reach``."""
    low = 0.0 if reach >= at else _first(ordered, shares + reach, at, math.nan)
    return Interval(_first(ordered, shares, at, math.nan), low, _first(ordered, shares - reach, at, 100.0))


def _first(ordered: Floats, heights: Floats, at: float, otherwise: float) -> float:
    """Return the lowest error at which a distribution reaches a height."""
    reached = heights >= at
    return float(ordered[reached.argmax()]) if reached.any() else otherwise


def _counts(most: int) -> Iterator[int]:
    draws = 1
    while draws < most:
        yield draws
        draws *= 2
    yield most
