"""Comparison of two arms, paired by seed: each at its best setting, and over its grid.

The best of noisy settings looks better than it is, the more so the more settings an arm has. So a measure's value is computed
from means that are shrunk until they spread like the true ones (`sweeps/results/measures.py`). Only its scatter over seeds is
that of the chosen settings; `sweeps/results/confidence.py` combines the two into an interval. The shrinkage removes the noise of
a typical setting, because where a rate is so high that some seeds collapse, its noise says nothing about the others.

The coverage of the intervals was simulated (`bench/comparison.py`), also for three alternatives that were rejected: pooling the
noise of all settings, not shrinking the means, and choosing settings on the other seeds and judging them on the one left out.
The last has no bias, but its interval is too short, as the seeds then depend on each other.
"""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import special, stats

from sweeps.results import confidence
from sweeps.results.confidence import ROUNDING, Difference, Floats, Level, Quantity, level
from sweeps.results.grids import Grid, Setting
from sweeps.results.measures import settled
from sweeps.results.values import Interval

Key = TypeVar("Key")

COMPARED = ("best", "mean", "worst", "spread", "area")


class Apart(NamedTuple):
    """The first minus the second, over the seeds that both have.

    `value` is the difference with its interval, `p` is one minus the confidence at which the interval reaches 0. `effect` is
    Cohen's d of paired differences, their mean in units of their standard deviation, times Hedges' correction for few seeds;
    NaN below three seeds. If all differences are equal, their noise is unknown: bounds, effect and p are NaN. But if all are
    0, the arms do not differ and p is 1.
    """

    value: Interval
    effect: float
    p: float


class Row(NamedTuple):
    """One measure of two arms: its value in each, the difference, and its p corrected for all comparisons."""

    first: str
    second: str
    measure: str
    values: tuple[float, float]
    difference: Apart
    corrected: float


def quantities(table: Grid) -> dict[str, Quantity]:
    """Return the measures with one observation per seed, at the settings that are best and worst over all seeds.

    Their values are those of the shrunk means. `mean` is the weighted mean over the grid, `spread` is worst minus best, `area`
    is mean minus best.
    """
    means, mean = settled(table.errors), level(table.weights @ table.errors)
    best, worst = (Level(table.errors[row], float(means[row])) for row in _ends(table.errors, means))
    spread, area = (Difference(one, best, least=0.0) for one in (worst, mean))
    return {"best": best, "mean": mean, "worst": worst, "spread": spread, "area": area}


def _ends(errors: Floats, means: Floats) -> tuple[int, int]:
    """Return the best and the worst setting by their shrunk means; ties are broken by the plain means."""
    order = np.lexsort((errors.mean(axis=1), means))
    return int(order[0]), int(order[-1])


def best_setting(table: Grid) -> Setting:
    """Return the setting with the lowest error over all seeds."""
    return table.settings[_ends(table.errors, settled(table.errors))[0]]


def lowest_mean(errors: Mapping[Key, Mapping[int, float]]) -> Key:
    """Return the setting with the lowest mean of one error per seed, as the paper chooses a learning rate.

    Settings with fewer seeds than others do not compete, as those that are left may be the easy ones.
    """
    most = max(map(len, errors.values()))
    whole = (name for name, by_seed in errors.items() if len(by_seed) == most)
    return min(whole, key=lambda name: fmean(errors[name].values()))


def difference(first: Quantity, second: Quantity) -> Apart:
    """Return the difference of two quantities over the same seeds."""
    apart, value = Difference(first, second), confidence.paired_difference(first, second)
    if math.isnan(value.low):
        return Apart(value, math.nan, math.nan)
    if np.ptp(apart.by_seed) <= ROUNDING:
        return Apart(value, math.nan, 1.0)
    effect = value.value / float(apart.by_seed.std(ddof=1))
    return Apart(value, effect * _hedges(len(apart.by_seed) - 1), apart.p)


def _hedges(freedom: int) -> float:
    """Return the factor that makes a standardised difference unbiased (Hedges 1981); NaN with one degree of freedom."""
    if freedom < 2:
        return math.nan
    return math.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def with_common_seeds(first: Grid, second: Grid) -> tuple[Grid, Grid]:
    """Return both tables with only their common seeds.

    Raises:
        ValueError: there are no common seeds.
    """
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        raise ValueError(f"two arms must have a seed in common, got {first.seeds} and {second.seeds}")
    return first.of_seeds(seeds), second.of_seeds(seeds)


def compare(first: Grid, second: Grid) -> dict[str, tuple[tuple[float, float], Apart]]:
    """Return every measure of two arms, with its value in each and the difference.

    Results that are the same in every seed do not differ, even if the means of the two arms were shrunk differently.
    """
    one, other = map(quantities, with_common_seeds(first, second))
    return {name: ((one[name].value, other[name].value), difference(one[name], other[name])) for name in COMPARED}


def comparisons(tables: Mapping[str, Grid], first: str) -> tuple[Row, ...]:
    """Compare one arm with every other that has a common seed, by every measure, with p corrected for all comparisons.

    Two arms of one setting each have one error each to compare, their mean.
    """
    left = {first, *unpaired(tables, first)}
    compared = [
        (other, name, *found)
        for other, table in tables.items()
        if other not in left
        for name, found in compare(tables[first], table).items()
        if name == "mean" or len(tables[first].settings) > 1 or len(table.settings) > 1
    ]
    ps = corrected([apart.p for *_, apart in compared])
    return tuple(
        Row(first, other, name, values, apart, p) for (other, name, values, apart), p in zip(compared, ps, strict=True)
    )


def unpaired(tables: Mapping[str, Grid], first: str) -> tuple[str, ...]:
    """Return the arms that have no seed in common with the arm ``first``."""
    return tuple(other for other, table in tables.items() if set(table.seeds).isdisjoint(tables[first].seeds))


def corrected(ps: list[float]) -> list[float]:
    """Return p-values corrected by Benjamini and Yekutieli, ignoring NaN: below q, on average at most a fraction q is false.

    Measures of one arm are positively or negatively dependent; this correction holds for any dependence.
    """
    known = [p for p in ps if not math.isnan(p)]
    adjusted = iter(stats.false_discovery_control(known, method="by").tolist() if known else ())
    return [p if math.isnan(p) else next(adjusted) for p in ps]
