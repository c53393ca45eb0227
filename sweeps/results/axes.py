"""An arm's grid along one or two of its axes: slices, tables for heat maps, and the interaction of two axes."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from sweeps.results.confidence import ROUNDING, Floats, level
from sweeps.results.grids import Grid
from sweeps.results.measures import measure
from sweeps.results.values import Interval, Scalar


class Slice(NamedTuple):
    """One value of an axis: the weighted mean error over the other axes, and the error of the best setting there."""

    value: Scalar
    mean: Interval
    best: Interval


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Errors by two axes, averaged over all others.

    Args:
        down: the axis of the rows, with its values.
        across: the axis of the columns, with its values.
        errors: percent, f64[rows, columns, seeds]; NaN if the grid has no such setting.
    """

    down: tuple[str, tuple[Scalar, ...]]
    across: tuple[str, tuple[Scalar, ...]]
    errors: Floats

    def cell(self, row: int, column: int) -> Interval:
        """Return the mean over seeds of one cell with its interval, not corrected for the other cells."""
        return level(self.errors[row, column]).interval()


class Interaction(NamedTuple):
    """Whether the effect of one axis depends on the other.

    In the model ``error[a, b, s] = level + A[a] + B[b] + AB[a, b]``, with seeds ``s`` as blocks, the effects of each seed
    are the cube minus its row and column means. F is the ratio of the mean square of their mean over seeds to the mean
    square of the residuals, with (R-1)(C-1) and (R-1)(C-1)(n-1) degrees of freedom, as in a repeated-measures analysis of
    variance. If there are no residuals, as in an arm that guessed everywhere, F and p are NaN, as there is no estimate of the
    noise. ``points`` is the standard deviation of AB without the contribution of noise, in points of error.
    """

    f: float
    freedom: tuple[int, int]
    p: float
    points: float


def axes(table: Grid) -> dict[str, tuple[Scalar, ...]]:
    """Return the axes of the grid, with their values in the spec's order; axes with a single value are excluded."""
    names = [name for name, _ in table.settings[0]]
    values = {name: tuple(dict.fromkeys(dict(setting)[name] for setting in table.settings)) for name in names}
    return {name: several for name, several in values.items() if len(several) > 1}


def is_full_grid(table: Grid) -> bool:
    """Whether the settings are all combinations of the axes' values, as opposed to drawn settings."""
    return len(table.settings) == math.prod(map(len, axes(table).values()))


def at_value(table: Grid, axis: str, value: Scalar) -> Grid:
    """Return the settings at one value of an axis, without that axis.

    Raises:
        ValueError: there are no such settings.
    """
    rows = [index for index, setting in enumerate(table.settings) if (axis, value) in setting]
    if not rows:
        raise ValueError(f"{axis} must have a setting with {value}, got none")
    return table.of_settings(rows, [tuple(item for item in table.settings[row] if item[0] != axis) for row in rows])


def without(table: Grid, axis: str, value: Scalar) -> Grid:
    """Return the settings at all other values of an axis."""
    return table.of_settings([index for index, setting in enumerate(table.settings) if (axis, value) not in setting])


def along(table: Grid, axis: str) -> Grid:
    """Return the grid along one axis: errors and decays are weighted means over the other axes.

    Raises:
        ValueError: the grid does not vary the axis.
    """
    values = axes(table).get(axis)
    if values is None:
        raise ValueError(f"the grid must vary {axis}, but varies {', '.join(axes(table)) or 'nothing'}")
    parts = [at_value(table, axis, value) for value in values]
    return replace(
        table,
        settings=tuple(((axis, value),) for value in values),
        errors=np.stack([one.weights @ one.errors for one in parts]),
        decays=np.stack([one.weights @ one.decays for one in parts]),
        diverged=None,
    )


def slices(table: Grid, axis: str) -> tuple[Slice, ...]:
    """Return the arm at each value of an axis; intervals are corrected for the settings of a slice, not for other slices."""
    parts = [(value, at_value(table, axis, value)) for value in axes(table).get(axis, ())]
    return tuple(Slice(value, measure("mean", one), measure("best", one)) for value, one in parts)


def heat(table: Grid, down: str, across: str) -> Heat:
    """Return the errors by two axes."""
    known = axes(table)
    errors = np.full((len(known[down]), len(known[across]), len(table.seeds)), math.nan)
    for row, value in enumerate(known[down]):
        inner = at_value(table, down, value)
        present = {other for setting in inner.settings for name, other in setting if name == across}
        for column, other in enumerate(known[across]):
            if other in present:
                cell = at_value(inner, across, other)
                errors[row, column] = cell.weights @ cell.errors
    return Heat(down=(down, known[down]), across=(across, known[across]), errors=errors)


def interaction(cube: Floats) -> Interaction:
    """Return the interaction of two axes, from errors f64[rows, columns, seeds]; NaN with one seed.

    Raises:
        ValueError: a cell has no error, or an axis has only one value.
    """
    rows, columns, seeds = cube.shape
    if min(rows, columns) < 2 or not np.isfinite(cube).all():
        raise ValueError("an interaction must have two values or more on both axes, and an error in every cell")
    effects = cube - cube.mean(0, keepdims=True) - cube.mean(1, keepdims=True) + cube.mean((0, 1), keepdims=True)
    freedom = (rows - 1) * (columns - 1), (rows - 1) * (columns - 1) * (seeds - 1)
    if seeds == 1:
        return Interaction(math.nan, freedom, math.nan, math.nan)
    shared = effects.mean(axis=2)
    between = seeds * float(np.square(shared).sum()) / freedom[0]
    noise = float(np.square(effects - shared[..., None]).sum()) / freedom[1]
    f = between / noise if noise > ROUNDING**2 else math.nan
    return Interaction(f, freedom, float(stats.f.sf(f, *freedom)), math.sqrt(max(0.0, between - noise) / seeds))
