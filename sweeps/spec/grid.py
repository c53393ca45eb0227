"""Axes of a grid: the values of one field. They are counted without being built, so a huge axis is rejected at once.

schedule.decay_epoch: [2, 5, 10]
schedule.learning_rate: {log: [0.01, 1.0], count: 5}     # evenly spaced in the logarithm, 6 significant digits
program.l2: {range: [0.0, 0.01], step: 0.002}            # both ends included, exact in decimal

If an arm samples its settings (`sweeps.spec.sampling`), `count` or `step` may be left out to sample from the whole interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import WithJsonSchema

from sweeps.errors import Faults, join
from sweeps.spec.shapes import STRICT, Must, shape_of
from workers.config import require

Number = int | float
Setting = bool | int | float | str | None
Finite = Annotated[Number, Must("be a finite number")]
Ends = Annotated[tuple[Number, Number], Must("be two finite numbers")]


class Axis(Protocol):
    """The values of one field."""

    @property
    def count(self) -> int:
        """Number of values, without building them."""

    def value(self, index: int) -> Any:
        """Return the value at an index, from 0."""


def values(axis: Axis) -> Iterator[Any]:
    """Return all values of an axis, in order."""
    return map(axis.value, range(axis.count))


@dataclass(frozen=True)
class Values:
    """A list of values."""

    listed: tuple[Any, ...]

    @property
    def count(self) -> int:
        """Length of the list."""
        return len(self.listed)

    def value(self, index: int) -> Any:
        """Return the list item at an index."""
        return self.listed[index]


@dataclass(frozen=True, kw_only=True)
class Range:
    """From the first to the second number, by step, in exact decimals: integers stay integers, and 0.1 + 2 * 0.1 is 0.3."""

    __pydantic_config__ = STRICT
    range: Ends  # first and last number
    step: Annotated[Finite, WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]  # between two numbers

    def __post_init__(self) -> None:
        low, high = self.range
        require(self.step > 0, "step", "be > 0", self.step)
        require(low <= high, "range", "not be decreasing", self.range)

    @property
    def count(self) -> int:
        """Number of steps that fit, plus one."""
        low, high = map(_exact, self.range)
        return int((high - low) // _exact(self.step)) + 1

    def value(self, index: int) -> Number:
        """Return the number that is `index` steps above the low end."""
        low, step = self.range[0], self.step
        found = _exact(low) + index * _exact(step)
        return int(found) if isinstance(low, int) and isinstance(step, int) else float(found)


@dataclass(frozen=True, kw_only=True)
class Log:
    """From the first to the second number, evenly spaced in the logarithm, to 6 significant digits."""

    __pydantic_config__ = STRICT
    log: Ends  # first and last number
    count: Annotated[int, Must("be an integer"), WithJsonSchema({"type": "integer", "minimum": 2})]  # how many numbers

    def __post_init__(self) -> None:
        require(0 < self.log[0] < self.log[1], "log", "be positive and increasing", self.log)
        require(self.count >= 2, "count", "be at least 2", self.count)

    def value(self, index: int) -> float:
        """Return the value at an index: the ends as given, the values between rounded."""
        if index in (0, self.count - 1):
            return float(self.log[bool(index)])
        low, high = map(math.log, self.log)
        return _rounded(math.exp(low + (high - low) * index / (self.count - 1)))


class Between:
    """Any number in an interval; for sampling."""

    @property
    def ends(self) -> Ends:
        """Lower and upper end."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """Always 1: one value stands for the interval."""
        return 1

    def value(self, index: int) -> float:
        """Return the lower end."""
        return float(self.ends[0])

    def at(self, share: float) -> float:
        """Return the number below which a fraction `share`, in [0, 1), of the interval lies."""
        raise NotImplementedError

    def rounded(self, number: float) -> float:
        """Round to 6 significant digits, so machines whose logarithms differ in the last bit draw the same samples."""
        return min(max(_rounded(number), float(self.ends[0])), float(self.ends[1]))


@dataclass(frozen=True, kw_only=True)
class EvenInterval(Between):
    """Any number between the two ends."""

    __pydantic_config__ = STRICT
    range: Ends  # the two ends

    def __post_init__(self) -> None:
        require(self.range[0] < self.range[1], "range", "be increasing", self.range)

    @property
    def ends(self) -> Ends:
        """Lower and upper end."""
        return self.range

    def at(self, share: float) -> float:
        """Return the number at `share`, distributed uniformly."""
        low, high = self.range
        return self.rounded(low + (high - low) * share)


@dataclass(frozen=True, kw_only=True)
class LogInterval(Between):
    """Any number between the two ends, uniform in the logarithm."""

    __pydantic_config__ = STRICT
    log: Ends  # the two ends

    def __post_init__(self) -> None:
        require(self.log[0] > 0, "log", "be positive and increasing", self.log)
        require(self.log[0] < self.log[1], "log", "be increasing", self.log)

    @property
    def ends(self) -> Ends:
        """Lower and upper end."""
        return self.log

    def at(self, share: float) -> float:
        """Return the number at `share`, distributed uniformly in the logarithm."""
        low, high = map(math.log, self.log)
        return self.rounded(math.exp(low + (high - low) * share))


class Form(NamedTuple):
    """How an axis is written: its class with the `other` key, and its class without it if settings are drawn."""

    whole: Any
    other: str
    drawn: Any


FORMS = {"range": Form(Range, "step", EvenInterval), "log": Form(Log, "count", LogInterval)}


def parse_axis(raw: Any, path: str, faults: Faults, *, sampled: bool = False) -> Axis | None:
    """Return the axis that a spec describes, for a grid or for sampling, or None after adding to `faults`."""
    if isinstance(raw, list):
        return _listed(raw, path, faults)
    form = next((form for form in FORMS if form in raw), None) if isinstance(raw, Mapping) else None
    if form is None:
        faults.must(path, "be a list of values, {range: [a, b], step: s} or {log: [a, b], count: n}", raw)
        return None
    whole, other, drawn = FORMS[form]
    axis: Axis | None
    axis, found = shape_of(drawn if sampled and other not in raw else whole).decode(raw)
    for place, rule in found.items():
        if place == other and rule == "is missing":
            faults.add(path, f"must have a {other} next to its {form}, or a search in its arm")
        else:
            faults.add(f"{path}.{place}", rule)
    return axis


def spelled(value: Any) -> Setting:
    """Return a value as a trial's setting: lists become text, such as "30,60"."""
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


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _exact(value: Number) -> Fraction:
    """Return the decimal number as written, not the nearest binary one."""
    return Fraction(repr(value))
