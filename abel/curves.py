"""Bounces of a recorded curve of the squared weight norm: where, how deep, and when ABEL would have decayed.

>>> seen = bounces([10.0, 8.0, 6.0, 5.0, 6.0, 7.0, 8.0, 7.9, 7.5, 7.0])
>>> seen.minima, seen.decays
((5,), (8,))
>>> seen.bounced, seen.whole
(True, Bounce(start=1, minimum=4, peak=7, fall=0.5, rise=0.6))

Epochs count from 1. Algorithm 1 detects a turning point one epoch after it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from abel import bounce, checks

__all__ = ["Bounce", "Bounces", "bounces"]


class Bounce(NamedTuple):
    """A fall of the norm and the rise after it, in epochs; `start` and `peak` have the highest norm on either side."""

    start: int
    minimum: int
    peak: int
    fall: float  # from start to minimum, relative to the norm at start
    rise: float  # from minimum to peak, relative to the norm at the minimum


class Bounces(NamedTuple):
    """The bounces of a curve; `minima` and `decays` are the epochs at which Algorithm 1 detects them."""

    minima: tuple[int, ...]
    decays: tuple[int, ...]
    each: tuple[Bounce, ...]  # one for each of the minima
    whole: Bounce  # the whole curve as one bounce, around its lowest norm

    @property
    def bounced(self) -> bool:
        """Whether the norm is higher on both sides of its minimum, by any amount."""
        return self.whole.fall > 0 and self.whole.rise > 0


def bounces(norms: Iterable[float], *, ignore_until_falling: bool = False) -> Bounces:
    """Return the bounces of the squared norms at the ends of epochs 1, 2, … (paper, Algorithm 1, without its last decay).

    The recorded run did not necessarily decay at these epochs, unless ABEL set its rate. If the norm rises first,
    Algorithm 1 takes the maximum for a minimum: a bounce whose fall and rise are 0.

    Args:
        norms: finite, >= 0, at least one; truncate the curve of a run that diverged.
        ignore_until_falling: as in `bounce.update`.
    """
    curve = checks.curve("norms", norms)
    ignore_until_falling = checks.flag("ignore_until_falling", ignore_until_falling)
    if not curve:
        raise ValueError("norms must have at least one epoch, got none")
    for epoch, norm in enumerate(curve, start=1):
        if not 0 <= norm < math.inf:
            raise ValueError(f"norms must be finite and >= 0, got {norm!r} at epoch {epoch}")
    minima, decays = _events(curve, ignore_until_falling)
    starts = (1, *(epoch - 1 for epoch in decays))
    ends = (*(epoch - 1 for epoch in decays), len(curve))
    each = tuple(_around(curve, epoch - 1, start, end) for epoch, start, end in zip(minima, starts, ends, strict=False))
    return Bounces(minima, decays, each, _around(curve, curve.index(min(curve)) + 1, 1, len(curve)))


def _events(curve: Sequence[float], ignore_until_falling: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    state, found = bounce.init(), {bounce.MINIMUM: list[int](), bounce.DECAY: list[int]()}
    for epoch, norm in enumerate(curve, start=1):
        state, event = bounce.update(state, norm, ignore_until_falling=ignore_until_falling)
        if event:
            found[int(event)].append(epoch)
    return tuple(found[bounce.MINIMUM]), tuple(found[bounce.DECAY])


def _around(curve: Sequence[float], minimum: int, start: int, end: int) -> Bounce:
    """Return the bounce around `minimum`, with the highest norms from `start` to it and from it to `end`."""
    highest = max(range(start, minimum + 1), key=lambda epoch: curve[epoch - 1])
    peak = max(range(minimum, end + 1), key=lambda epoch: curve[epoch - 1])
    top, low, later = (curve[epoch - 1] for epoch in (highest, minimum, peak))
    fall = (top - low) / top if top else 0.0
    rise = (later - low) / low if low else (math.inf if later > low else 0.0)
    return Bounce(highest, minimum, peak, fall, rise)
