"""An arm's results as a table, settings down and seeds across, and the part of the grid that each setting stands for."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from sweeps.results.confidence import Floats
from sweeps.results.values import Scalar
from sweeps.spec.trial import trained_as

Setting = tuple[tuple[str, Scalar], ...]


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
        diverged: 1 for each trial that diverged, else 0, f64[settings, seeds]; None where it is not known.
        guessing: the error of guessing, in percent; None where it is not known.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    errors: Floats
    decays: Floats
    diverged: Floats | None = None
    guessing: float | None = None

    @property
    def weights(self) -> Floats:
        """Each setting's share of the grid, f64[settings]: by the trapezoid rule along each axis, so that ends count half.

        Rates count by their logarithm, as do other numbers that rise by factors (`sweeps/results/grids.py`). Where the settings
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
        """The table with some of its seeds."""
        columns = [self.seeds.index(seed) for seed in seeds]
        return self._taken((slice(None), columns), seeds=tuple(seeds))

    def of_settings(self, rows: Sequence[int], settings: Sequence[Setting] | None = None) -> "Grid":
        """The table with some of its settings, by their places, maybe under other names."""
        kept = tuple(self.settings[row] for row in rows) if settings is None else tuple(settings)
        return self._taken((list(rows), slice(None)), settings=kept)

    def _taken(self, where: Any, **names: Any) -> "Grid":
        diverged = None if self.diverged is None else self.diverged[where]
        return replace(self, errors=self.errors[where], decays=self.decays[where], diverged=diverged, **names)


def grid(points: Iterable[Point], guessing: float | None = None) -> Grid:
    """The table of an arm's results. Settings whose numbers are equal in float32, as training has them, count once.

    Raises:
        ValueError: there are no results, a setting lacks a seed that another one has, or an error is not finite.
    """
    known = {(point.setting, point.seed): point for point in points}
    first: dict[Setting, Setting] = {}
    for setting, _ in known:
        first.setdefault(trained_as(dict(setting)), setting)
    settings = tuple(first.values())
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
        diverged=np.array([[float(point.diverged) for point in row] for row in table]),
        guessing=guessing,
    )


DECADES = 2.0  # a rule of thumb: what spans less, as decay factors from 0.1 to 0.5, counts as it is


def trapezoid(name: str, axis: Sequence[Scalar]) -> list[float]:
    """The shares of an axis's values by the trapezoid rule; equal ones where they are not numbers, or there is one."""
    numbers = numbers_of(axis)
    if numbers is None or len(axis) == 1:
        return [1 / len(axis)] * len(axis)
    places = [math.log(value) for value in numbers] if logarithmic(name, numbers) else numbers
    order = sorted(range(len(places)), key=places.__getitem__)
    widths = dict.fromkeys(order, 0.0)
    for left, right in zip(order, order[1:], strict=False):
        for end in (left, right):
            widths[end] += (places[right] - places[left]) / 2
    whole = sum(widths.values())
    return [widths[index] / whole for index in range(len(axis))]


def logarithmic(name: str, numbers: Sequence[float]) -> bool:
    """Whether an axis is measured by its logarithm: one of rates, or of numbers over two decades that rise by factors.

    Such numbers have their middle near the geometric mean of their ends, and not near the arithmetic one: 1e-5, 1e-3, 1e-1 do,
    epochs from 1 to 199 do not. None of them may be 0.
    """
    low, high = min(numbers), max(numbers)
    if low <= 0:
        return False
    far = math.log10(high) - math.log10(low) > DECADES - 1e-9  # 1e-4 to 1e-2 are two, whatever rounding makes of them
    geometric, arithmetic = math.sqrt(low) * math.sqrt(high), (low + high) / 2
    return name.endswith("learning_rate") or (far and 2 * median(numbers) < geometric + arithmetic)


def numbers_of(axis: Sequence[Scalar]) -> list[float] | None:
    """An axis's values, if all of them are numbers."""
    numbers = [float(value) for value in axis if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(axis) else None
