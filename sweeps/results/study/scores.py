"""Scores of errors that can be averaged over workloads, and arms that have the same settings in all of them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from sweeps.results.confidence import ROUNDING, Floats
from sweeps.results.grids import Grid
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
    wanted = {trained_as(dict(setting)): setting for setting in first.settings}
    found = {label: first}
    for other, table in others:
        rows = {trained_as(dict(setting)): row for row, setting in enumerate(table.settings)}
        for here, keys, left in ((label, wanted, rows), (other, rows, wanted)):
            if alone := [key for key in keys if key not in left]:
                shown = in_short(dict(alone[0]))
                raise ValueError(f"the settings must be the same in all workloads, but only {here} has {shown}")
        found[other] = table.of_settings([rows[key] for key in wanted], tuple(wanted.values()))
    return found
