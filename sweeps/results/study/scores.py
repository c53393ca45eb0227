"""Scores of errors that can be averaged over workloads, and arms that have the same settings in all of them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from sweeps.results.confidence import ROUNDING, Floats
from sweeps.results.grids import Grid, Setting
from sweeps.results.measures import settled
from sweeps.results.wording import setting as in_short
from sweeps.spec.trial import trained_as

PERCENTILES = (5, 95)


class Scale(NamedTuple):
    """The errors of a workload that have the scores 1 and 0, in percent."""

    good: float
    bad: float

    def scores(self, errors: Floats) -> Floats:
        """Return the scores of errors; those beyond the two ends are above 1 or below 0."""
        return (self.bad - errors) / (self.bad - self.good)


def score_scale(tables: Iterable[Grid]) -> Scale:
    """Return the scale of a workload: the 5th and 95th percentile of the errors of all settings of its arms.

    Source: the percentile normalisation of Adkins, Bowling, White, arXiv 2412.07165 (2024), for errors instead of returns.

    Raises:
        ValueError: the percentiles do not differ.
    """
    good, bad = np.percentile(np.concatenate([settled(table.errors) for table in tables]), PERCENTILES)
    if bad - good <= ROUNDING:
        raise ValueError(f"settings must differ in their errors, but the 5th and 95th percentile are both {good:g} %")
    return Scale(float(good), float(bad))


def aligned(tables: Mapping[str, Grid]) -> dict[str, Grid]:
    """Return an arm's table in each workload with the settings in one order.

    Raises:
        ValueError: the settings of two workloads differ.
    """
    (label, first), *others = tables.items()
    wanted, found = trained_rows(first), {label: first}
    for other, table in others:
        rows = trained_rows(table)
        for here, own, keys, lacking in ((label, first, wanted, rows), (other, table, rows, wanted)):
            if alone := [row for key, row in keys.items() if key not in lacking]:
                shown = in_short(dict(own.settings[alone[0]]))
                raise ValueError(f"the settings must be the same in all workloads, but only {here} has {shown}")
        found[other] = table.of_settings([rows[key] for key in wanted], first.settings)
    return found


def best_errors(table: Grid) -> Floats:
    """Return the error of each seed at the setting that is best over the other seeds, f64[seeds].

    A setting that is chosen on the same seeds looks better than it is, the more so the more settings an arm has. A single seed
    has no others.
    """
    seeds = len(table.seeds)
    others = table.errors.sum(axis=1, keepdims=True) - table.errors if seeds > 1 else table.errors
    found: Floats = table.errors[others.argmin(axis=0), np.arange(seeds)]
    return found


def trained_rows(table: Grid) -> dict[Setting, int]:
    """Return the row of each setting, by the setting as it is trained (`trained_as`)."""
    return {trained_as(dict(setting)): row for row, setting in enumerate(table.settings)}
