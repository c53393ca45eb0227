"""Which epochs of a long trial a tracking store shows. Pure.

MLflow's UI draws at most 320 points of a curve, evenly spaced by their index: of a longer one, a short bounce may be
between them. So a curve has at most as many. Whether an epoch is shown depends only on what is known when it is sent,
so sending it again sends the same points.

- Up to 320 epochs planned: every epoch.
- Beyond: the first, and from it on every n-th, at most 256; of the epochs after which the schedule saw a minimum or
  decayed, the first 20 and 40; and of a trial that came to its end the last, and those of the least test error and norm.
"""

import math
from collections.abc import Iterable, Sequence

from sweeps.ledger.records import StateRow, TrialStatus

POINTS = 320
GRID = 256
MINIMA = 20
DECAYS = 40
AT_THEIR_END = frozenset({TrialStatus.FINISHED, TrialStatus.DIVERGED})  # no trial goes on after these


def is_whole(epochs: int) -> bool:
    """Whether a trial of so many planned epochs is shown with all of them."""
    return epochs <= POINTS


def on_grid(epoch: int, epochs: int) -> bool:
    """Whether an epoch, from 1, of a trial of so many planned epochs is shown whatever happens in it."""
    return is_whole(epochs) or (epoch - 1) % math.ceil(epochs / GRID) == 0


def eventful(minima: Iterable[int], decays: Iterable[int]) -> set[int]:
    """Which are shown of the epochs after which the schedule saw a minimum or decayed."""
    return {*sorted(minima)[:MINIMA], *sorted(decays)[:DECAYS]}


def ends(curve: Sequence[StateRow]) -> set[int]:
    """The last epoch of a trial that came to its end, and those of the least test error and of the least norm."""
    if not curve:
        return set()
    least = (
        min((state.metrics[name], state.epoch) for state in curve if math.isfinite(state.metrics[name]))[1]
        for name in ("test_error", "weight_norm_sq")
        if any(math.isfinite(state.metrics[name]) for state in curve)
    )
    return {curve[-1].epoch, *least}
