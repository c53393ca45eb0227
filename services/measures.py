"""How much a schedule's result depends on its hyperparameters: one arm over its grid and seeds, in numbers.

An arm's trials are a table of test errors, settings down and seeds across (`Grid`). Its settings' means over seeds are
estimated with noise, and the largest of noisy means is too large, the smallest too small. So every measure but the mean
is taken of means that were drawn together until they spread as the true ones do (`settled`; constrained empirical
Bayes, T. A. Louis, JASA 79, 1984), and its interval comes from bands that hold for all settings at once. With seeds as
blocks (a seed's initial weights and order of data are those of every setting) the model is ``error[g, s] = setting[g] +
seed[s] + noise``. How often each interval covers the truth was simulated: `services/coverage.py`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from services.schemas import Interval, Scalar
from services.shares import trapezoid

Floats = NDArray[np.float64]
Setting = tuple[tuple[str, Scalar], ...]

CONFIDENCE = 0.95
ROUNDING = 1e-9  # percent: errors that are no further apart are equal
NEAR_POINTS = 1.0  # within so many points of the best a setting is near it


class Point(NamedTuple):
    """One trial's result: its place in the grid, its seed, its test error in percent, and how often it decayed."""

    setting: Setting
    seed: int
    error: float
    decays: int = 0
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An arm's test errors.

    Args:
        settings: the points of the grid, in the spec's order.
        seeds: in ascending order.
        errors: percent, f64[settings, seeds]; a diverged trial has the error of guessing.
        decays: how often each trial's schedule decayed the rate, f64[settings, seeds].
        diverged: how many trials diverged.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    errors: Floats
    decays: Floats
    diverged: int = 0

    @property
    def weights(self) -> Floats:
        """Each setting's share of the grid, f64[settings]: by the trapezoid rule along each axis, so that ends count half.

        Rates count by their logarithm, as do other numbers that rise by factors (`services/shares.py`). Where the settings
        are not all combinations of their axes' values, each has the same share.
        """
        names = [name for name, _ in self.settings[0]]
        axes = [list(dict.fromkeys(dict(setting)[name] for setting in self.settings)) for name in names]
        if len(self.settings) != math.prod(map(len, axes)):
            return np.full(len(self.settings), 1 / len(self.settings))
        shares = [dict(zip(axis, trapezoid(name, axis), strict=True)) for name, axis in zip(names, axes, strict=True)]
        return np.array(
            [math.prod(share[value] for share, (_, value) in zip(shares, s, strict=True)) for s in self.settings]
        )

    def of_seeds(self, seeds: Sequence[int]) -> "Grid":
        """The table with some of its seeds; which trials diverged is not known of a part, unless it is the whole."""
        if tuple(seeds) == self.seeds:
            return self
        columns = [self.seeds.index(seed) for seed in seeds]
        return replace(
            self, seeds=tuple(seeds), errors=self.errors[:, columns], decays=self.decays[:, columns], diverged=0
        )


def grid(points: Iterable[Point]) -> Grid:
    """The table of an arm's results.

    Raises:
        ValueError: there is none, a setting lacks a seed that another one has, or an error is not finite.
    """
    known = {(point.setting, point.seed): point for point in points}
    settings = tuple(dict.fromkeys(setting for setting, _ in known))
    seeds = tuple(sorted({seed for _, seed in known}))
    if not known:
        raise ValueError("an arm must have at least one trial with a result, got none")
    for setting, seed in product(settings, seeds):
        if (setting, seed) not in known or not math.isfinite(known[setting, seed].error):
            where = f"seed {seed}" + "".join(f", {name} {value}" for name, value in setting)
            raise ValueError(f"every setting must have a result for every seed, got none for {where}")
    table = [[known[setting, seed] for seed in seeds] for setting in settings]
    return Grid(
        settings=settings,
        seeds=seeds,
        errors=np.array([[point.error for point in row] for row in table]),
        decays=np.array([[float(point.decays) for point in row] for row in table]),
        diverged=sum(point.diverged for row in table for point in row),
    )


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

    Differences have Tukey's simultaneous bounds. Each mean has those of the grid's mean (Student's t over the seeds'
    means) and of its own distance from that (Bonferroni), added in quadrature (MOVER, Zou et al. 2009). A setting that
    is noisier than the pooled noise counts with its own.
    """
    settings, seeds = errors.shape
    means = errors.mean(axis=1)
    if seeds == 1:
        unknown = np.full(settings, math.nan)
        both = np.full((settings, settings), math.nan)
        return Bands(confidence, means, unknown, unknown, (both, both))
    level = _student(confidence, seeds - 1) * errors.mean(axis=0).std(ddof=1) / math.sqrt(seeds)
    if settings == 1:
        zero = np.zeros((1, 1))
        return Bands(confidence, means, means - level, means + level, (zero, zero))
    left = errors - means[:, None] - errors.mean(axis=0) + errors.mean()
    freedom = (settings - 1) * (seeds - 1)
    pooled = np.square(left).sum() / freedom
    own = np.square(left).sum(axis=1) / (seeds - 1) * settings / (settings - 1)
    squares = np.maximum(own, pooled) / seeds  # squared standard errors, f64[settings]
    away = _student(1 - (1 - confidence) / settings, freedom) * np.sqrt(squares * (1 - 1 / settings))
    half = np.hypot(level, away)
    reach = _tukey(confidence, settings, freedom) * np.sqrt(squares[:, None] + squares[None, :])
    np.fill_diagonal(reach, 0)
    apart = means[:, None] - means[None, :]
    together = settled(means, noise(errors) / seeds)
    return Bands(confidence, together, means - half, means + half, (apart - reach, apart + reach))


@cache
def _student(confidence: float, freedom: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


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


def settled(means: Floats, noise: float) -> Floats:
    """The means, drawn towards their mean until their variance is that of the true ones: what noise adds is taken out."""
    variance = means.var(ddof=1)
    keep = math.sqrt(max(0.0, 1 - noise / variance)) if variance > 0 else 0.0
    center = float(means.mean())
    return center + keep * (means - center)


def mean(table: Grid, known: Bands) -> Interval:
    """The mean error over the grid, each setting with its share."""
    return _interval(*mean_of(table.weights @ table.errors, known.confidence))


def mean_of(values: Sequence[float] | Floats, confidence: float = CONFIDENCE, least_variance: float = 0.0) -> Interval:
    """The mean of one value a seed, with Student's t."""
    value, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(value, math.nan, math.nan)
    variance = max(float(np.var(values, ddof=1)), least_variance)
    half = _student(confidence, count - 1) * math.sqrt(variance / count)
    return Interval(value, value - half, value + half)


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
        return Interval(float(table.weights @ close), math.nan, math.nan)
    return _interval(table.weights @ close, table.weights @ low, table.weights @ high)


def diverged(table: Grid, known: Bands) -> Interval:
    """The share of the trials that diverged, with Clopper and Pearson's interval."""
    found = stats.binomtest(table.diverged, table.errors.size)
    low, high = found.proportion_ci(confidence_level=known.confidence, method="exact")
    return Interval(found.statistic, float(low), float(high))


def decays(table: Grid, known: Bands) -> Interval:
    """How often a trial's schedule decayed the rate, on average."""
    return _interval(*mean_of(table.decays.mean(axis=0), known.confidence, rounding(table)))


def rounding(table: Grid) -> float:
    """The least variance of a seed's mean of whole numbers: few seeds often agree in one by chance."""
    return 1 / 12 / len(table.settings)


MEASURES: Mapping[str, Callable[[Grid, Bands], Interval]] = {
    "mean": mean,
    "best": best,
    "median": median,
    "worst": worst,
    "spread": spread,
    "area": area,
    "near": near,
    "diverged": diverged,
    "decays": decays,
}
MORE_IS_BETTER = frozenset({"near"})


def measures(table: Grid) -> dict[str, Interval]:
    """Every measure of an arm, by name, with its interval."""
    known = bands(table.errors)
    return {name: of(table, known) for name, of in MEASURES.items()}


def measure(name: str, table: Grid, confidence: float = CONFIDENCE) -> Interval:
    """One measure of an arm, with an interval at a confidence."""
    return MEASURES[name](table, bands(table.errors, confidence))


def _interval(value: float, low: float, high: float) -> Interval:
    """A value with its bounds; one that was drawn together may lie beyond them, and is taken to the nearer."""
    if math.isnan(low):
        return Interval(float(value), math.nan, math.nan)
    low = max(float(low), 0.0)  # no measure can be below nothing
    return Interval(min(max(float(value), low), float(high)), low, float(high))
