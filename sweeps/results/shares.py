"""Which part of an axis each of its values stands for: the weights of a mean over a grid."""

import math
from collections.abc import Sequence
from statistics import median

from sweeps.results.values import Scalar

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
