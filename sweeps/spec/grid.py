"""Axes of a grid: the values that one field takes. Counted by arithmetic, so that a huge one costs nothing to refuse.

schedule.decay_epoch: [2, 5, 10]
schedule.learning_rate: {log: [0.01, 1.0], count: 5}     # evenly spaced in the logarithm, 6 significant digits
program.l2: {range: [0.0, 0.01], step: 0.002}            # both ends included, exact in decimal

Where an arm samples its settings (`sweeps.spec.sampling`), `count` or `step` may be left out: then any number between will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from sweeps.errors import Faults, join, shown, unknown
from sweeps.spec.trial import Setting

Number = int | float


class Axis(Protocol):
    """The values of one field."""

    @property
    def count(self) -> int:
        """How many, without making them."""

    def value(self, index: int) -> Any:
        """One of them, counted from 0."""


def values(axis: Axis) -> Iterator[Any]:
    """All values of an axis, in order."""
    return map(axis.value, range(axis.count))


@dataclass(frozen=True)
class Values:
    """Values listed one by one."""

    listed: tuple[Any, ...]

    @property
    def count(self) -> int:
        """How many are listed."""
        return len(self.listed)

    def value(self, index: int) -> Any:
        """As listed."""
        return self.listed[index]


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included, by `step`; whole numbers stay whole, and 0.1 + 2 * 0.1 is 0.3."""

    low: Number
    high: Number
    step: Number

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step must be > 0, got {shown(self.step)}")
        if not self.low <= self.high:
            raise ValueError(f"range must not fall, got {shown([self.low, self.high])}")

    @property
    def count(self) -> int:
        """How many steps fit, and one."""
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def value(self, index: int) -> Number:
        """So many steps above the low end."""
        found = _exact(self.low) + index * _exact(self.step)
        return int(found) if isinstance(self.low, int) and isinstance(self.step, int) else float(found)


@dataclass(frozen=True)
class Log:
    """`number` values from `low` to `high`, both included, evenly spaced in the logarithm, to 6 significant digits."""

    low: Number
    high: Number
    number: int

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"log must rise from above 0, got {shown([self.low, self.high])}")
        if self.number < 2:
            raise ValueError(f"count must be at least 2, got {shown(self.number)}")

    @property
    def count(self) -> int:
        """As many as asked for."""
        return self.number

    def value(self, index: int) -> float:
        """The ends as they are given, rounded between."""
        if index in (0, self.number - 1):
            return float(self.high if index else self.low)
        low, high = math.log(self.low), math.log(self.high)
        return _rounded(math.exp(low + (high - low) * index / (self.number - 1)))


@dataclass(frozen=True)
class Interval:
    """Any number from `low` to `high`, evenly or evenly in the logarithm; for sampling."""

    low: Number
    high: Number
    log: bool

    def __post_init__(self) -> None:
        if self.log and not self.low > 0:
            raise ValueError(f"log must rise from above 0, got {shown([self.low, self.high])}")
        if not self.low < self.high:
            raise ValueError(f"{'log' if self.log else 'range'} must rise, got {shown([self.low, self.high])}")

    @property
    def count(self) -> int:
        """One stands for all."""
        return 1

    def value(self, index: int) -> float:
        """The low end."""
        return float(self.low)

    def at(self, share: float) -> float:
        """The number that so large a share of the interval lies below, in [0, 1)."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self.rounded(math.exp(low + (high - low) * share))
        return self.rounded(self.low + (self.high - self.low) * share)

    def rounded(self, number: float) -> float:
        """To 6 significant digits, so that machines whose logarithms differ in the last bit sample the same."""
        return min(max(_rounded(number), float(self.low)), float(self.high))


def parse_axis(raw: Any, path: str, faults: Faults, *, sampled: bool = False) -> Axis | None:
    """The axis that a spec describes, for a grid or to sample from; what is wrong with it is noted."""
    if isinstance(raw, list):
        return _listed(raw, path, faults)
    if not isinstance(raw, Mapping) or not ("range" in raw or "log" in raw):
        faults.must(path, "be a list of values, {range: [a, b], step: s} or {log: [a, b], count: n}", raw)
        return None
    kind, other = ("range", "step") if "range" in raw else ("log", "count")
    before = len(faults)
    for key in raw:
        if key not in (kind, other):
            faults.add(join(path, key), unknown("key", key, (kind, other)))
    ends = raw[kind]
    if not (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))):
        faults.must(join(path, kind), "be two finite numbers", ends)
    between = sampled and other not in raw
    if not sampled and other not in raw:
        faults.add(path, f"must have a {other} beside its {kind}, or a search in its arm that draws from it")
    elif not between and (not _is_number(raw.get(other)) or (other == "count" and not isinstance(raw[other], int))):
        faults.must(join(path, other), "be an integer" if other == "count" else "be a finite number", raw.get(other))
    if len(faults) > before:
        return None
    low, high = ends
    try:
        if between:
            return Interval(low, high, log=kind == "log")
        return Range(low, high, raw[other]) if kind == "range" else Log(low, high, raw[other])
    except ValueError as error:
        faults.add(path, str(error))
        return None


def spelled(value: Any) -> Setting:
    """A value as a trial's setting: lists become text, such as "30,60"."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _listed(raw: list[Any], path: str, faults: Faults) -> Values | None:
    if not raw:
        faults.must(path, "have at least one value", raw)
        return None
    seen: set[str] = set()
    readable = True
    for index, value in enumerate(raw):
        if isinstance(value, Mapping):
            readable = False
            faults.must(join(path, index), "be a number, text, true, false, null or a list of these", dict(value))
        elif repr(value) in seen:
            faults.must(join(path, index), "differ from the values before it", value)
        seen.add(repr(value))
    return Values(tuple(raw)) if readable else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _exact(value: Number) -> Fraction:
    """The decimal number that was written, not the binary one nearest to it."""
    return Fraction(repr(value))
