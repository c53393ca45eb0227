"""Numbers and settings as people say them."""

import math
from collections.abc import Mapping, Sequence

from services.schemas import Interval, Scalar


def setting(settings: Mapping[str, Scalar]) -> str:
    """Grid coordinates without the paths they have in common: decay_epoch=30."""
    return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in settings.items()) or "—"


def decays(by_seed: Sequence[Sequence[int]]) -> str:
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


def span(low: int, high: int) -> str:
    """A whole number, or the range where it is not known yet."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def duration(seconds: float) -> str:
    """A length of time as people say it: 8 s, 4 min 10 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """So many bytes as people say it: 812 B, 1.4 MB, 20 GB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
