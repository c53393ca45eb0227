"""Interquartile mean and probability of improvement over workloads, with stratified bootstrap intervals.

Source: Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4, and their library rliable. The bootstrap draws the seeds of
each workload again, and for a pair those of each arm, as theirs does. So an interval holds for the workloads at hand. Theirs is
too short with few seeds; here its percentiles are expanded (Hesterberg, The American Statistician 69, 2015). A seed is drawn with
all its settings, an interval contains its estimate and has no bounds if all draws agree, and the draws are always the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from sweeps.results.confidence import CONFIDENCE, ROUNDING, Floats, student, without_bounds
from sweeps.results.values import Interval

RESAMPLES = 9999
TRIMMED = 0.25  # of the scores, at either end
AT_ONCE = 1_000_000  # scores of resamples in memory


def iqm(scores: Sequence[Floats]) -> Interval:
    """Return the mean of the middle half of all scores, from f64[settings, seeds] of each workload."""

    def middle(drawn: Sequence[Any]) -> Any:
        pools = [np.moveaxis(one, 0, -1) for one in drawn]
        whole = np.concatenate([one.reshape(*one.shape[:-2], -1) for one in pools], axis=-1)
        return stats.trim_mean(whole, TRIMMED, axis=-1)

    return _bootstrapped(scores, middle)


def improvement(first: Sequence[Floats], second: Sequence[Floats]) -> Interval:
    """Return how probably a seed of the first arm has a lower error than one of the second, averaged over workloads.

    Equal errors count half, as in the statistic of Mann and Whitney.

    Args:
        first: errors in each workload, f64[seeds].
        second: as many workloads; the seeds may be others.
    """

    def averaged(drawn: Sequence[Any]) -> Any:
        errors = [rows[0] for rows in drawn]
        return np.mean([_lower(*pair) for pair in zip(errors[: len(first)], errors[len(first) :], strict=True)], axis=0)

    return _bootstrapped([errors[None] for errors in (*first, *second)], averaged)


def _lower(first: Any, second: Any) -> Any:
    less, equal = first[..., :, None] < second[..., None, :], first[..., :, None] == second[..., None, :]
    return (less + 0.5 * equal).mean(axis=(-2, -1))


def _bootstrapped(tables: Sequence[Floats], statistic: Callable[[Sequence[Any]], Any]) -> Interval:
    """Return a statistic of f64[rows, seeds] of each workload with its percentile interval, if seeds show any noise."""

    def drawn(*seeds: Any, axis: int) -> Any:
        return statistic([table[:, chosen] for table, chosen in zip(tables, seeds, strict=True)])

    every = [np.arange(table.shape[1]) for table in tables]
    value = float(drawn(*every, axis=-1))
    if min(map(len, every)) < 2:
        return without_bounds(value)
    found = stats.bootstrap(
        every,
        drawn,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // sum(table.size for table in tables)),
        vectorized=True,
        confidence_level=_expanded([len(seeds) for seeds in every]),
        method="percentile",
        rng=0,
    ).confidence_interval
    low, high = min(float(found.low), value), max(float(found.high), value)
    return without_bounds(value) if high - low <= ROUNDING else Interval(value, low, high)


def _expanded(counts: Sequence[int]) -> float:
    """Return the confidence of a percentile interval over strata of so many seeds that covers about `CONFIDENCE`.

    A resample has (n - 1) / n of the variance, and its percentiles are those of a normal instead of Student's distribution.
    """
    fewest, freedom = min(counts), sum(counts) - len(counts)
    reach = student(CONFIDENCE, freedom) * math.sqrt(fewest / (fewest - 1))
    return float(1 - 2 * stats.norm.sf(reach))
