"""Measures of how much a schedule's result depends on its hyperparameters: one arm over its grid and seeds.

An arm's trials are a table of errors, settings down and seeds across (`Grid`). The means of settings over seeds are noisy,
and the largest of noisy means is too large, the smallest too small. So every measure except the mean is computed from means
that are shrunk until they spread like the true ones (`settled`; constrained empirical Bayes, T. A. Louis, JASA 79, 1984), and
its interval comes from simultaneous bands for all settings. Seeds are blocks, as a seed's initial weights and data order are
the same in every setting. The model of the log odds of the errors is ``setting[g] + seed[s] + noise``;
`sweeps/results/confidence.py` converts them back to points. The coverage of each interval was simulated: :data:`COVERAGE`.
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
from sweeps.spec.measures import MEASURES, NEAR_POINTS

NEAR_CHANCE = 0.9  # of the error of guessing, where an error of 0 is the best there can be

# Coverage of the 95 % interval of each measure by number of seeds: the minimum over the simulated grids and noises of
# `bench/coverage.py`, 2,000 sweeps each. The gate does not trust a measure with a coverage below `ENOUGH`.
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
    """Simultaneous bounds on a grid's true means for all settings, at one confidence.

    `means` are the shrunk means. `low` and `high`, f64[settings], bound each mean. `above`, a pair of f64[settings, settings],
    bounds the difference of two means, row minus column.
    """

    confidence: float
    means: Floats
    low: Floats
    high: Floats
    above: tuple[Floats, Floats]


def bands(errors: Floats, confidence: float = CONFIDENCE) -> Bands:
    """Return bounds on the means of f64[settings, seeds], NaN with one seed.

    In log odds, differences have Tukey's simultaneous bounds. The bounds of each mean add in quadrature (MOVER, Zou et al.
    2009) those of the grid's mean (Student's t over the seeds' means) and of its distance from that (Bonferroni). A setting
    that is noisier than the pooled noise uses its own noise.
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
    """Return bounds on every difference of two means, from the half-width of each in log odds."""
    low, high = around(means, reach)
    less, more = means - low, high - means
    apart = means[:, None] - means[None, :]
    down, up = np.hypot(less[:, None], more[None, :]), np.hypot(more[:, None], less[None, :])
    for half in (down, up):
        np.fill_diagonal(half, 0)
    return apart - down, apart + up


@cache
def _tukey(confidence: float, settings: int, freedom: int) -> float:
    """Return Tukey's bound on the largest of all differences, in standard errors of one mean; slow to compute."""
    return float(stats.studentized_range.ppf(confidence, settings, freedom)) / math.sqrt(2)


def noise(errors: Floats) -> float:
    """Return a typical setting's variance without the seeds' effects, from f64[settings, seeds] with two or more of each.

    The effect of a seed is a median over the settings. The noise is the median of the settings' variances, corrected for the
    bias of the median of a variance.
    """
    settings, seeds = errors.shape
    left = errors - errors.mean(axis=1, keepdims=True)
    left -= np.median(left, axis=0)
    own = np.square(left).sum(axis=1) / (seeds - 1) * settings / (settings - 1)
    return float(np.median(own)) / _middling(seeds - 1)


@cache
def _middling(freedom: int) -> float:
    """Return the ratio of the median to the mean of a sample variance."""
    return float(stats.chi2.median(freedom)) / freedom


def settled(errors: Floats) -> Floats:
    """Return the means of f64[settings, seeds], shrunk towards their mean until their variance is that of the true means.

    This removes the variance due to noise. A mean never leaves the range of its own setting's seeds.
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
    """Return the weighted mean error over the grid."""
    return level(table.weights @ table.errors).interval(known.confidence)


def best(table: Grid, known: Bands) -> Interval:
    """Return the error of the best setting."""
    return within_bounds(known.means.min(), known.low.min(), known.high.min())


def median(table: Grid, known: Bands) -> Interval:
    """Return the median of the settings' errors."""
    return within_bounds(np.median(known.means), np.median(known.low), np.median(known.high))


def worst(table: Grid, known: Bands) -> Interval:
    """Return the error of the worst setting."""
    return within_bounds(known.means.max(), known.low.max(), known.high.max())


def spread(table: Grid, known: Bands) -> Interval:
    """Return worst minus best, in points: the cost of the worst choice in the grid."""
    low, high = known.above
    return within_bounds(np.ptp(known.means), low.max(), high.max())


def area(table: Grid, known: Bands) -> Interval:
    """Return the weighted mean over the grid of the error above the best, in points."""
    low, high = (table.weights @ bound for bound in known.above)
    mean = table.weights @ table.errors.mean(axis=1)
    return within_bounds(mean - known.means.min(), low.max(), high.max())


def near(table: Grid, known: Bands) -> Interval:
    """Return the share of the grid with an error within `NEAR_POINTS` of the best, the width of the good range."""
    low, high = (bound.max(axis=1) <= NEAR_POINTS for bound in known.above[::-1])
    close = known.means <= known.means.min() + NEAR_POINTS
    if math.isnan(known.low[0]):
        return without_bounds(float(table.weights @ close))
    return within_bounds(table.weights @ close, table.weights @ low, table.weights @ high)


def diverged_share(table: Grid, known: Bands) -> Interval:
    """Return the share of trials that diverged."""
    if table.diverged is None:
        return without_bounds(math.nan)
    return confidence.mean_share(table.diverged.mean(axis=0), known.confidence)


def mean_decays(table: Grid, known: Bands) -> Interval:
    """Return the mean number of decays of a trial."""
    return confidence.mean_count(table.decays.mean(axis=0), known.confidence, rounding(table))


def rounding(table: Grid) -> float:
    """Return a lower limit on the variance of a seed's mean count, as a few seeds often agree by chance."""
    return confidence.COUNT_VARIANCE / len(table.settings)


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
    """Return every measure of an arm, by name, with its interval."""
    known = bands(table.errors)
    return {name: of(table, known) for name, of in ESTIMATES.items()}


def measure(name: str, table: Grid, confidence: float = CONFIDENCE) -> Interval:
    """One measure of an arm, with an interval at a confidence."""
    return ESTIMATES[name](table, bands(table.errors, confidence))


def within_bounds(value: float, low: float, high: float) -> Interval:
    """Return a value with its bounds; a shrunk value outside its bounds is moved to the nearer one."""
    if math.isnan(low):
        return without_bounds(float(value))
    low = max(float(low), 0.0)  # no measure can be negative
    return Interval(min(max(float(value), low), float(high)), low, float(high))


def trusted(measure: str, seeds: int) -> bool:
    """Whether the simulated coverage of the measure's interval is sufficient with this many seeds."""
    seen = [covered for count, covered in COVERAGE[measure].items() if count <= seeds]
    return bool(seen) and seen[-1] >= ENOUGH


def near_chance(table: Grid) -> bool:
    """Whether even the best setting has not learned (see `has_learned`); False if the error of guessing is unknown."""
    if table.guessing is None:
        return False
    value = float(settled(table.errors).min())
    found = best(table, bands(table.errors))._replace(value=value) if table.is_by_hand else without_bounds(value)
    return not has_learned(found, table.guessing, table.is_by_hand)


def chance_error(guessing: float, is_by_hand: bool) -> float:
    """Return the error below which something was learned, in percent; see `has_learned`."""
    return guessing if is_by_hand else NEAR_CHANCE * guessing


def has_learned(found: Interval, guessing: float, is_by_hand: bool) -> bool:
    """Whether an error, in percent, is that of trials that have learned something.

    It is below `NEAR_CHANCE` times that of guessing. In a range that was chosen by hand, such as that of a game's returns, a
    share of the range means nothing: there the whole interval, or with one seed the error, lies below guessing.
    """
    surely = is_by_hand and not math.isnan(found.high)
    return (found.high if surely else found.value) < chance_error(guessing, is_by_hand)


def chance_in_words(is_by_hand: bool) -> str:
    """Return what errors of trials that have not learned are, in words."""
    return (
        "not surely better than guessing"
        if is_by_hand
        else f"at {100 * NEAR_CHANCE:g} % of the error of guessing or more"
    )


def telling(table: Grid) -> dict[str, Interval]:
    """Return an arm's measures by name; for an arm near chance, without those that reward equally bad settings."""
    hopeless = near_chance(table)
    return {
        name: found for name, found in measures(table).items() if not (hopeless and MEASURES[name].praises_flatness)
    }
