"""Numbers and settings in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.results.values import Interval, Scalar


def in_words(settings: Mapping[str, Any]) -> str:
    """A trial's place in its arm's grid, as text."""
    return ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in settings.items())


def setting(settings: Mapping[str, Scalar]) -> str:
    """Grid coordinates without the paths they have in common: decay_epoch=30."""
    return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in settings.items()) or "—"


def decay_words(by_seed: Sequence[Sequence[int]]) -> str:
    """Decay epochs: once if all seeds agree, else seed by seed."""
    texts = [", ".join(map(str, epochs)) or "none" for epochs in by_seed]
    return texts[0] if len(set(texts)) == 1 else " | ".join(texts) or "—"


def bounded(found: Interval) -> str:
    """A number with its bounds, if it has any: 5.9 (5.2 to 6.6)."""
    return f"{found.value:.1f}" + ("" if math.isnan(found.low) else f" ({found.low:.1f} to {found.high:.1f})")


def percent(found: Interval) -> str:
    """An error with its bounds, if it has any: 5.9 % (5.2 to 6.6)."""
    value, *bounds = bounded(found).partition(" ")
    return f"{value} %{''.join(bounds)}"


def signed(found: Interval) -> str:
    """A difference with its bounds, if it has any: +0.4 (-1.6 to +2.5)."""
    return f"{found.value:+.1f}" + ("" if math.isnan(found.low) else f" ({found.low:+.1f} to {found.high:+.1f})")


def counted(count: int, what: str) -> str:
    """So many of something: 1 seed, 3 seeds."""
    return f"{count:,} {what}{'s' * (count != 1)}"
