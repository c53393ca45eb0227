"""How much a schedule's result depends on its hyperparameters: one arm over its grid and seeds, in numbers.

An arm's trials are a table of test errors, settings down and seeds across (`Grid`). Its settings' means over seeds are
estimated with noise, and the largest of noisy means is too large, the smallest too small. So every measure but the mean
is taken of means that were drawn together until they spread as the true ones do (`settled`; constrained empirical
Bayes, T. A. Louis, JASA 79, 1984), and its interval comes from bands that hold for all settings at once. With seeds as
blocks (a seed's initial weights and order of data are those of every setting) the model of the log odds of the errors is
``setting[g] + seed[s] + noise``; `sweeps/results/confidence.py` says how they become points again. How often each interval covers
the truth was simulated: :data:`COVERAGE`.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from sweeps.results import confidence
from sweeps.results.confidence import CONFIDENCE, Floats, around, level, log_odds, student, without_bounds
from sweeps.results.grids import Grid
from sweeps.results.values import Interval
from sweeps.spec.rules import MEASURES, NEAR_POINTS

NEAR_CHANCE = 0.9  # of the error of guessing

# How often the 95 % interval of each measure covers the true value, at how many seeds: the least over the simulated grids and
# noises of `bench/coverage.py`, 2,000 sweeps each. The gate trusts no measure whose interval covers less than `ENOUGH`.
ENOUGH = 0.90
COVERAGE: Mapping[str, Mapping[int, float]] = {  # by measure and number of seeds
    "mean": {2: 0.946, 3: 0.944, 5: 0.944, 10: 0.950},
    "best": {2: 0.993, 3: 0.981, 5: 0.978, 10: 0.969},
    "median": {2: 0.996, 3: 0.996, 5: 0.993, 10: 0.984},
    "worst": {2: 0.990, 3: 0.971, 5: 0.971, 10: 0.955},
    "spread": {2: 0.947, 3: 0.952, 5: 0.965, 10: 0.964},
    "area": {2: 0.961, 3: 0.972, 5: 0.975, 10: 0.973},
    "near": {2: 0.976, 3: 0.985, 5: 0.991, 10: 0.996},
    "diverged": {2: 0.988, 3: 0.999, 5: 0.992, 10: 0.980},
    "decays": {2: 1.0, 3: 0.961, 5: 0.949, 10: 0.951},
}


class Bands(NamedTuple):
    """What is known of a grid's true means, for all settings at once, at one confidence.

    `means` are drawn together; `low` and `high` bound each mean, and `above` by how much one setting's mean can exceed
    another's: f64[settings], and a pair of f64[settings, settings], row minus column.
    """

    confidence: float
    means: Floats
    low: Floats
    high: Floats
    above: tuple[Floats, Floats]


def bands(errors: Floats, confidence: float = CONFIDENCE) -> Bands:
    """Bounds for the means of f64[settings, seeds], NaN with one seed.

    In log odds differences have Tukey's simultaneous bounds. Each mean has those of the grid's mean (Student's t over the
    seeds' means) and of its own distance from that (Bonferroni), added in quadrature (MOVER, Zou et al. 2009). A setting
    that is noisier than the pooled noise counts with its own.
    """
    settings, seeds = errors.shape
    means, odds = errors.mean(axis=1), log_odds(errors)
    if seeds == 1:
        nothing = np.full(settings, math.nan)
        both = np.full((settings, settings), math.nan)
        return Bands(confidence, means, nothing, nothing, (both, both))
    middle = student(confidence, seeds - 1) * odds.mean(axis=0).std(ddof=1) / math.sqrt(seeds)
    if settings == 1:
        zero = np.zeros((1, 1))
        return Bands(confidence, means, *around(means, np.array(middle)), (zero, zero))
    left = odds - odds.mean(axis=1, keepdims=True) - odds.mean(axis=0) + odds.mean()
    freedom = (settings - 1) * (seeds - 1)
    pooled = np.square(left).sum() / freedom
    own = np.square(left).sum(axis=1) / (seeds - 1) * settings / (settings - 1)
    squares = np.maximum(own, pooled) / seeds  # squared standard errors, f64[settings]
    away = student(1 - (1 - confidence) / settings, freedom) * np.sqrt(squares * (1 - 1 / settings))
    reach = _tukey(confidence, settings, freedom) * np.sqrt(squares)
    return Bands(confidence, settled(errors), *around(means, np.hypot(middle, away)), _above(means, reach))


def _above(means: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """Bounds of every difference of two means, from how far in log odds each reaches."""
    low, high = around(means, reach)
    less, more = means - low, high - means
    apart = means[:, None] - means[None, :]
    down, up = np.hypot(less[:, None], more[None, :]), np.hypot(more[:, None], less[None, :])
    for half in (down, up):
        np.fill_diagonal(half, 0)
    return apart - down, apart + up


@cache
def _tukey(confidence: float, settings: int, freedom: int) -> float:
    """The bound of the largest of all differences, in standard errors of one; slow to compute."""
    return float(stats.studentized_range.ppf(confidence, settings, freedom)) / math.sqrt(2)


def noise(errors: Floats) -> float:
    """The variance of a middling setting's error without its seed's effect, of f64[settings, seeds], two or more each.

    Effects of seeds are medians over the settings, and the noise is the median of the settings' own, put right by how far
    below the mean the median of a variance is.
    """
    settings, seeds = errors.shape
    left = errors - errors.mean(axis=1, keepdims=True)
    left -= np.median(left, axis=0)
    own = np.square(left).sum(axis=1) / (seeds - 1) * settings / (settings - 1)
    return float(np.median(own)) / _middling(seeds - 1)


@cache
def _middling(freedom: int) -> float:
    """How far below the mean the median of a variance lies, as a part of it."""
    return float(stats.chi2.median(freedom)) / freedom


def settled(errors: Floats) -> Floats:
    """The means of f64[settings, seeds], drawn towards their mean until their variance is that of the true ones.

    What noise adds is taken out. None is drawn beyond what its own setting's seeds have shown.
    """
    means: Floats = errors.mean(axis=1)
    seeds = errors.shape[1]
    variance = float(means.var(ddof=1)) if len(means) > 1 else 0.0
    if seeds == 1 or variance == 0:
        return means
    keep = math.sqrt(max(0.0, 1 - noise(errors) / seeds / variance))
    drawn = means.mean() + keep * (means - means.mean())
    kept: Floats = np.clip(drawn, errors.min(axis=1), errors.max(axis=1))
    return kept


def mean(table: Grid, known: Bands) -> Interval:
    """The mean error over the grid, each setting with its share."""
    return level(table.weights @ table.errors).interval(known.confidence)


def best(table: Grid, known: Bands) -> Interval:
    """The error of the best setting."""
    return _interval(known.means.min(), known.low.min(), known.high.min())


def median(table: Grid, known: Bands) -> Interval:
    """The median of the settings' errors."""
    return _interval(np.median(known.means), np.median(known.low), np.median(known.high))


def worst(table: Grid, known: Bands) -> Interval:
    """The error of the worst setting."""
    return _interval(known.means.max(), known.low.max(), known.high.max())


def spread(table: Grid, known: Bands) -> Interval:
    """Worst minus best, in points: what a wrong choice in the grid can cost."""
    low, high = known.above
    return _interval(np.ptp(known.means), low.max(), high.max())


def area(table: Grid, known: Bands) -> Interval:
    """The mean over the grid of the error above the best, in points, each setting with its share."""
    low, high = (table.weights @ bound for bound in known.above)
    mean = table.weights @ table.errors.mean(axis=1)
    return _interval(mean - known.means.min(), low.max(), high.max())


def near(table: Grid, known: Bands) -> Interval:
    """The share of the grid whose error is within `NEAR_POINTS` of the best: how wide the good range is."""
    low, high = (bound.max(axis=1) <= NEAR_POINTS for bound in known.above[::-1])
    close = known.means <= known.means.min() + NEAR_POINTS
    if math.isnan(known.low[0]):
        return without_bounds(float(table.weights @ close))
    return _interval(table.weights @ close, table.weights @ low, table.weights @ high)


def diverged_share(table: Grid, known: Bands) -> Interval:
    """The share of the trials that diverged."""
    if table.diverged is None:
        return without_bounds(math.nan)
    return confidence.mean_share(table.diverged.mean(axis=0), known.confidence)


def mean_decays(table: Grid, known: Bands) -> Interval:
    """How often a trial's schedule decayed the rate, on average."""
    return confidence.mean_count(table.decays.mean(axis=0), known.confidence, rounding(table))


def rounding(table: Grid) -> float:
    """The least variance of a seed's mean of whole numbers: few seeds often agree in one by chance."""
    return 1 / 12 / len(table.settings)


ESTIMATES: Mapping[str, Callable[[Grid, Bands], Interval]] = {
    "mean": mean,
    "best": best,
    "median": median,
    "worst": worst,
    "spread": spread,
    "area": area,
    "near": near,
    "diverged": diverged_share,
    "decays": mean_decays,
}


def measures(table: Grid) -> dict[str, Interval]:
    """Every measure of an arm, by name, with its interval."""
    known = bands(table.errors)
    return {name: of(table, known) for name, of in ESTIMATES.items()}


def measure(name: str, table: Grid, confidence: float = CONFIDENCE) -> Interval:
    """One measure of an arm, with an interval at a confidence."""
    return ESTIMATES[name](table, bands(table.errors, confidence))


def _interval(value: float, low: float, high: float) -> Interval:
    """A value with its bounds; one that was drawn together may lie beyond them, and is taken to the nearer."""
    if math.isnan(low):
        return without_bounds(float(value))
    low = max(float(low), 0.0)  # no measure can be below nothing
    return Interval(min(max(float(value), low), float(high)), low, float(high))


def trusted(measure: str, seeds: int) -> bool:
    """Whether the measure's interval was seen to cover the truth often enough with as many seeds, or fewer."""
    seen = [covered for count, covered in COVERAGE[measure].items() if count <= seeds]
    return bool(seen) and seen[-1] >= ENOUGH


def near_chance(table: Grid) -> bool:
    """Whether even the best setting's error is above `NEAR_CHANCE` of that of guessing; False where that is not known."""
    return table.guessing is not None and float(settled(table.errors).min()) > NEAR_CHANCE * table.guessing


def telling(table: Grid) -> dict[str, Interval]:
    """An arm's measures by name; of one near chance none that praises it for being steady."""
    hopeless = near_chance(table)
    return {
        name: found for name, found in measures(table).items() if not (hopeless and MEASURES[name].praises_flatness)
    }
