"""Two arms against each other, paired by seed: each at its own best setting, and over its grid.

The best of noisy settings looks better than it is, and the more so the more settings an arm has. So a measure's value is
that of means which were drawn together until they spread as the true ones do (`sweeps/results/measures.py`), and only its
scatter over the seeds is that of the settings that were chosen: `sweeps/results/confidence.py` makes an interval of the two. The
noise that the drawing takes out is that of a middling setting: where a rate is so high that some seeds collapse, its noise
says nothing of the others. How often the intervals cover the truth was simulated (`bench/comparison.py`), beside three ways
that were not taken: with the noise of all settings pooled, without drawing the means together, and with settings chosen on
the other seeds and judged on the one left out, which has no bias but too short an interval, as the seeds then depend on
each other.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from sweeps.results import confidence
from sweeps.results.confidence import ROUNDING, Difference, Floats, Level, Quantity, level
from sweeps.results.grids import Grid, Setting
from sweeps.results.measures import settled
from sweeps.results.values import Interval

COMPARED = ("best", "mean", "worst", "spread", "area")


class Apart(NamedTuple):
    """The first less the second, over the seeds that both have.

    `value` is the difference with its interval, `p` one minus the confidence at which that reaches 0. `effect` is Cohen's d
    of paired differences, their mean in their standard deviations, times Hedges' correction, without which few seeds
    overstate it; NaN below three seeds. Where all differences are equal nothing is known of their noise: bounds, effect and
    p are NaN. Only where all of them are 0 the arms do not differ: p is 1.
    """

    value: Interval
    effect: float
    p: float


class Row(NamedTuple):
    """One measure of two arms: its mean over seeds in each, the difference, and its p among all that was compared."""

    first: str
    second: str
    measure: str
    values: tuple[float, float]
    difference: Apart
    corrected: float


def quantities(table: Grid) -> dict[str, Quantity]:
    """The measures with one observation a seed, at the settings that are best and worst over all seeds.

    Their values are those of the means drawn together. `mean` is that over the grid, each setting with its share; `spread`
    is worst less best, `area` mean less best.
    """
    means, mean = settled(table.errors), level(table.weights @ table.errors)
    best, worst = (Level(table.errors[row], float(means[row])) for row in _ends(table.errors, means))
    spread, area = (Difference(one, best, least=0.0) for one in (worst, mean))
    return {"best": best, "mean": mean, "worst": worst, "spread": spread, "area": area}


def _ends(errors: Floats, means: Floats) -> tuple[int, int]:
    """The best and the worst setting by their drawn means, by the plain ones where those are equal."""
    order = np.lexsort((errors.mean(axis=1), means))
    return int(order[0]), int(order[-1])


def best_setting(table: Grid) -> Setting:
    """The setting with the least error over all seeds."""
    return table.settings[_ends(table.errors, settled(table.errors))[0]]


def difference(first: Quantity, second: Quantity) -> Apart:
    """Two quantities over the same seeds."""
    apart, value = Difference(first, second), confidence.paired_difference(first, second)
    if math.isnan(value.low):
        return Apart(value, math.nan, math.nan)
    if np.ptp(apart.by_seed) <= ROUNDING:
        return Apart(value, math.nan, 1.0)
    effect = value.value / float(apart.by_seed.std(ddof=1))
    return Apart(value, effect * _hedges(len(apart.by_seed) - 1), apart.p)


def _hedges(freedom: int) -> float:
    """What makes a standardised difference unbiased (Hedges 1981); NaN with one degree of freedom, as there is none."""
    if freedom < 2:
        return math.nan
    return math.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def with_common_seeds(first: Grid, second: Grid) -> tuple[Grid, Grid]:
    """Both tables with the seeds that both have.

    Raises:
        ValueError: there is none.
    """
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        raise ValueError(f"two arms must have a seed in common, got {first.seeds} and {second.seeds}")
    return first.of_seeds(seeds), second.of_seeds(seeds)


def compare(first: Grid, second: Grid) -> dict[str, tuple[tuple[float, float], Apart]]:
    """Every measure of two arms, with its value in each.

    Results that are the same in every seed do not differ, though each arm's means may have been drawn together by another
    amount.
    """
    one, other = map(quantities, with_common_seeds(first, second))
    return {name: ((one[name].value, other[name].value), difference(one[name], other[name])) for name in COMPARED}


def comparisons(tables: Mapping[str, Grid], first: str) -> tuple[Row, ...]:
    """One arm against every other with a seed in common, by every measure, p corrected for all of them together."""
    left = {first, *unpaired(tables, first)}
    compared = [
        (other, name, *found)
        for other, table in tables.items()
        if other not in left
        for name, found in compare(tables[first], table).items()
    ]
    ps = corrected([apart.p for *_, apart in compared])
    return tuple(
        Row(first, other, name, values, apart, p) for (other, name, values, apart), p in zip(compared, ps, strict=True)
    )


def unpaired(tables: Mapping[str, Grid], first: str) -> tuple[str, ...]:
    """The arms that have no seed in common with one of them."""
    return tuple(other for other, table in tables.items() if set(table.seeds).isdisjoint(tables[first].seeds))


def corrected(ps: list[float]) -> list[float]:
    """p-values by Benjamini and Yekutieli, NaN left out: of those below q, no more than q are false on average.

    Measures of one arm depend on each other in both directions; this correction holds for any dependence.
    """
    known = [p for p in ps if not math.isnan(p)]
    adjusted = iter(stats.false_discovery_control(known, method="by").tolist() if known else ())
    return [p if math.isnan(p) else next(adjusted) for p in ps]
