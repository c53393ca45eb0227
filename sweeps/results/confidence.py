"""Intervals over seeds: one method for each kind of quantity, used wherever it is shown, compared or judged.

- *A mean error* (percent, between 0 and 100): Student's t on the log odds, placed around the mean error. Far from both ends
  this is Student's interval.
- *A difference of two mean errors*: from the bounds of both (MOVER, Zou & Donner 2008), times the ratio of the scatter of the
  paired differences to that of independent ones. Far from both ends this is Student's interval of the paired differences; it
  stays between -100 and 100. Two seeds cannot estimate that ratio, so it is 1.
- *A share of trials*: Clopper and Pearson's interval with one draw per seed, as a seed may fail in all settings at once.
- *A mean count* (decays): Student's t, not below 0, with at least the variance that rounding gives a count.

Every interval contains its estimate. The coverage of each was simulated by `bench/coverage.py` and `bench/comparison.py`, with
results in `bench/RESULTS.md`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from sweeps.results.values import Interval

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
ROUNDING = 1e-9  # percent: errors that differ by no more are equal
NEAREST = 0.05  # percent: errors closer to 0 or 100 are treated as this far away; half an image in a test set of 1,000
SMALLEST_P = 1e-12
COUNT_VARIANCE = 1 / 12  # that of a trial's count is at least that of rounding it, as a few seeds often agree by chance


class Quantity(Protocol):
    """A number with one observation per seed."""

    @property
    def value(self) -> float:
        """The estimate."""

    @property
    def by_seed(self) -> Floats:
        """The observations, f64[seeds]."""

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the estimate with its bounds, NaN with one seed."""


@dataclass(frozen=True, eq=False)
class Level:
    """A mean error in percent; its estimate `value` may differ from the mean of the observations."""

    by_seed: Floats
    value: float

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the estimate with its bounds, between 0 and 100."""
        seeds = len(self.by_seed)
        if seeds < 2:
            return without_bounds(self.value)
        half = student(confidence, seeds - 1) * log_odds(self.by_seed).std(ddof=1) / math.sqrt(seeds)
        low, high = around(np.array(self.value), np.array(half))
        return Interval(self.value, float(low), float(high))


@dataclass(frozen=True, eq=False)
class Difference:
    """One quantity minus another over the same seeds, in points; `least` is its lower limit."""

    first: Quantity
    second: Quantity
    least: float = -math.inf

    @property
    def value(self) -> float:
        """The difference of the estimates."""
        return max(self.first.value - self.second.value, self.least)

    @property
    def by_seed(self) -> Floats:
        """The differences of the observations, f64[seeds]."""
        return self.first.by_seed - self.second.by_seed

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the estimate with its bounds, of zero width if all observed differences are equal."""
        if len(self.by_seed) < 2:
            return without_bounds(self.value)
        ratio = paired_scatter(self.first.by_seed, self.second.by_seed)
        _, low, high = minus(self.first.interval(confidence), self.second.interval(confidence), ratio)
        return Interval(self.value, max(low, self.least), max(high, self.value))

    @property
    def p(self) -> float:
        """One minus the confidence at which the interval reaches 0: below 0.05 if the 95 % interval excludes 0."""
        if math.isnan(self.interval().low):
            return math.nan

        def excess(logarithm: float) -> float:
            found = self.interval(1 - 10**logarithm)
            return found.low if self.value > 0 else -found.high

        least = math.log10(SMALLEST_P)
        if self.value == 0 or excess(-1e-9) <= 0:
            return 1.0
        return SMALLEST_P if excess(least) > 0 else float(10 ** optimize.brentq(excess, least, -1e-9, xtol=1e-6))


def level(by_seed: Sequence[float] | Floats) -> Level:
    """Return the mean of one error per seed."""
    errors = np.asarray(by_seed, float)
    return Level(errors, float(errors.mean()))


def minus(first: Interval, second: Interval, ratio: float = 1.0) -> Interval:
    """Return the first minus the second, from the bounds of both.

    Args:
        ratio: ratio of the scatter of the differences to that of independent ones.
    """
    value = first.value - second.value
    low = value - _joined(first.value - first.low, second.high - second.value, ratio)
    high = value + _joined(first.high - first.value, second.value - second.low, ratio)
    return Interval(value, low, high)


def paired_difference(first: Quantity, second: Quantity, confidence: float = CONFIDENCE) -> Interval:
    """Return the first minus the second over the same seeds, without bounds if all differences are equal and not 0."""
    apart = Difference(first, second)
    if len(apart.by_seed) > 1 and np.abs(apart.by_seed).max() <= ROUNDING:
        return Interval(0.0, 0.0, 0.0)
    return without_bounds(apart.value) if np.ptp(apart.by_seed) <= ROUNDING else apart.interval(confidence)


def paired_scatter(first: Floats, second: Floats) -> float:
    """Return the standard deviation of paired differences divided by that of independent ones; 1 for two that differ."""
    if np.ptp(first - second) <= ROUNDING:
        return 0.0
    if len(first) < 3:
        return 1.0
    return float((first - second).std(ddof=1) / math.hypot(first.std(ddof=1), second.std(ddof=1)))


def mean_count(
    values: Sequence[float] | Floats, confidence: float = CONFIDENCE, least_variance: float = 0.0
) -> Interval:
    """Return the mean of one count per seed, with Student's interval cut off at 0."""
    found = mean_difference(values, confidence, least_variance)
    return found if math.isnan(found.low) else found._replace(low=max(found.low, 0.0))


def mean_difference(
    values: Sequence[float] | Floats, confidence: float = CONFIDENCE, least_variance: float = 0.0
) -> Interval:
    """Return the mean of one difference of counts per seed, with Student's interval."""
    value, seeds = float(np.mean(values)), len(values)
    if seeds < 2:
        return without_bounds(value)
    variance = max(float(np.var(values, ddof=1)), least_variance)
    half = student(confidence, seeds - 1) * math.sqrt(variance / seeds)
    return Interval(value, value - half, value + half)


def mean_share(by_seed: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of one share of trials per seed; exact if every share is 0 or 1, else conservative; NaN with one seed."""
    seeds, found = len(by_seed), float(by_seed.sum())
    if seeds < 2:
        return without_bounds(found)
    risk = (1 - confidence) / 2
    low = float(stats.beta.ppf(risk, found, seeds - found + 1)) if found > 0 else 0.0
    high = float(stats.beta.ppf(1 - risk, found + 1, seeds - found)) if found < seeds else 1.0
    return Interval(found / seeds, low, high)


def without_bounds(value: float) -> Interval:
    """Return an estimate with unknown noise."""
    return Interval(value, math.nan, math.nan)


def log_odds(errors: Floats) -> Floats:
    """Return log(e / (100 - e)) of errors in percent."""
    odds: Floats = special.logit(np.clip(errors, NEAREST, 100 - NEAREST) / 100)
    return odds


def around(values: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Return bounds at a distance ``half`` in log odds around errors; they contain the errors and lie between 0 and 100."""
    odds = log_odds(values)
    low, middle, high = (100 * special.expit(odds + shift) for shift in (-half, 0.0, half))
    return np.clip(values + (low - middle), 0, 100), np.clip(values + (high - middle), 0, 100)


def student(confidence: float, freedom: int) -> float:
    """Return the two-sided quantile of Student's t at a confidence."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def _joined(one: float, other: float, ratio: float) -> float:
    return min(ratio * math.hypot(one, other), one + other)
