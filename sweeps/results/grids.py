"""An arm's results as a table, settings down and seeds across, and the weight of each setting in the grid."""

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
    """One trial's result: grid point, seed, error in percent, and number of decays."""

    setting: Setting
    seed: int
    error: float
    decays: int = 0
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An arm's errors.

    Args:
        settings: the points of the grid, in the spec's order.
        seeds: in ascending order.
        errors: percent, f64[settings, seeds]; a diverged trial has the error of guessing.
        decays: number of decays of each trial, f64[settings, seeds].
        diverged: 1 for each trial that diverged, else 0, f64[settings, seeds]; None if unknown.
        guessing: the error of guessing, in percent; None if unknown.
        is_by_hand: whether the range that errors are a percentage of was chosen by hand.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    errors: Floats
    decays: Floats
    diverged: Floats | None = None
    guessing: float | None = None
    is_by_hand: bool = False

    @property
    def weights(self) -> Floats:
        """Each setting's weight in the grid, f64[settings]: by the trapezoid rule along each axis, so ends count half.

        Rates are weighted on a logarithmic scale, as are other numbers that grow geometrically (`logarithmic`). If the settings
        are not all combinations of the axes' values, all have the same weight.
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
        """Return the table with some of its seeds."""
        columns = [self.seeds.index(seed) for seed in seeds]
        return self._taken((slice(None), columns), seeds=tuple(seeds))

    def of_settings(self, rows: Sequence[int], settings: Sequence[Setting] | None = None) -> "Grid":
        """Return the table with some of its settings, by index, optionally renamed."""
        kept = tuple(self.settings[row] for row in rows) if settings is None else tuple(settings)
        return self._taken((list(rows), slice(None)), settings=kept)

    def _taken(self, where: Any, **names: Any) -> "Grid":
        diverged = None if self.diverged is None else self.diverged[where]
        return replace(self, errors=self.errors[where], decays=self.decays[where], diverged=diverged, **names)


def grid(points: Iterable[Point], guessing: float | None = None) -> Grid:
    """Return the table of an arm's results. Settings that are equal in float32, the precision of training, count once.

    Raises:
        ValueError: there are no results, the settings have different seeds, or an error is not finite.
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


DECADES = 2.0  # a rule of thumb: axes that span less, such as decay factors from 0.1 to 0.5, are linear


def trapezoid(name: str, axis: Sequence[Scalar]) -> list[float]:
    """Return the weights of an axis's values by the trapezoid rule; equal weights if they are not all numbers."""
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
    """Whether an axis is logarithmic: learning rates, or numbers that span two decades and grow geometrically.

    The median of such numbers is closer to the geometric than to the arithmetic mean of their ends. This holds for 1e-5, 1e-3,
    1e-1, but not for epochs from 1 to 199. All numbers must be above 0.
    """
    low, high = min(numbers), max(numbers)
    if low <= 0:
        return False
    far = math.log10(high) - math.log10(low) > DECADES - 1e-9  # tolerant to rounding: 1e-4 to 1e-2 are two
    geometric, arithmetic = math.sqrt(low) * math.sqrt(high), (low + high) / 2
    return name.endswith("learning_rate") or (far and 2 * median(numbers) < geometric + arithmetic)


def numbers_of(axis: Sequence[Scalar]) -> list[float] | None:
    """Return an axis's values if all of them are numbers, else None."""
    numbers = [float(value) for value in axis if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(axis) else None
