"""Text for numbers and settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.results.values import Interval, Scalar

# By the statistic that a spec names (`sweeps.spec.sections.Statistic`).
_ERRORS = {"minimum": "minimum {}", "final": "final {}", "selected": "{} at the lowest training loss"}


def error_words(statistic: str, metric: str) -> str:
    """Return which error of a trial counts: "minimum error" where the metric is "error"."""
    return _ERRORS[statistic].format(metric)


def in_words(settings: Mapping[str, Any]) -> str:
    """Return a trial's grid point as text."""
    return ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in settings.items())


def setting(settings: Mapping[str, Scalar]) -> str:
    """Return a grid point with only the last part of each name: decay_epoch=30."""
    return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in settings.items()) or "—"


def decay_words(by_seed: Sequence[Sequence[int]]) -> str:
    """Return decay epochs as text: once if all seeds agree, else for each seed."""
    texts = [", ".join(map(str, epochs)) or "none" for epochs in by_seed]
    return texts[0] if len(set(texts)) == 1 else " | ".join(texts) or "—"


def bounded(found: Interval, decimals: int = 1) -> str:
    """Return a number with its bounds, if it has any: 5.9 (5.2 to 6.6)."""
    value, low, high = (f"{number:.{decimals}f}" for number in found)
    return value + ("" if math.isnan(found.low) else f" ({low} to {high})")


def percent(found: Interval) -> str:
    """Return an error with its bounds, if it has any: 5.9 % (5.2 to 6.6)."""
    value, *bounds = bounded(found).partition(" ")
    return f"{value} %{''.join(bounds)}"


def signed(found: Interval) -> str:
    """Return a difference with its bounds, if it has any: +0.4 (-1.6 to +2.5)."""
    return f"{found.value:+.1f}" + ("" if math.isnan(found.low) else f" ({found.low:+.1f} to {found.high:+.1f})")


def counted(count: int, what: str) -> str:
    """Return a count with its noun: 1 seed, 3 seeds."""
    return f"{count:,} {what}{'s' * (count != 1)}"
