"""Which epochs of a long trial a tracking store shows. Pure.

MLflow's UI draws at most 320 points of a curve, evenly spaced by index, and may miss a short bounce of a longer one. So a
curve has at most 320 points. Whether an epoch is shown depends only on what is known when it is sent, so sending it again
sends the same points.

- Up to 320 planned epochs: every epoch.
- More: the first and every n-th after it, at most 256; the first 20 epochs after which the schedule saw a minimum and the
  first 40 after which it decayed; and for a finished or diverged trial, the last epoch and those of the best value
  of its metric and the lowest norm. If the metric is measured every few epochs, n is such that every n-th epoch has all of its
  measurements or is one of them.
"""

import math
from collections.abc import Iterable, Sequence

from sweeps.ledger.records import StateRow, TrialStatus
from workers.contracts import Metric

POINTS = 320
GRID = 256
MINIMA = 20
DECAYS = 40
AT_THEIR_END = frozenset({TrialStatus.FINISHED, TrialStatus.DIVERGED})  # final: no trial continues after these


def is_whole(epochs: int) -> bool:
    """Whether every epoch of a trial with this many planned epochs is shown."""
    return epochs <= POINTS


def on_grid(epoch: int, epochs: int, metric: Metric) -> bool:
    """Whether an epoch (from 1) of a trial with this many planned epochs is always shown."""
    return is_whole(epochs) or epoch in metric.spaced(epochs, GRID)


def eventful(minima: Iterable[int], decays: Iterable[int]) -> set[int]:
    """The shown epochs among those after which the schedule saw a minimum or decayed."""
    return {*sorted(minima)[:MINIMA], *sorted(decays)[:DECAYS]}


def ends(curve: Sequence[StateRow], metric: Metric) -> set[int]:
    """The last epoch of a finished or diverged trial, and those of the best value of its metric and the lowest norm."""
    if not curve:
        return set()
    found = (metric.error_in(state.epoch, state.metrics) for state in curve)
    errors = [math.nan if error is None else error for error in found]
    norms = [state.metrics["weight_norm_sq"] for state in curve]
    least = (
        min((value, state.epoch) for value, state in zip(values, curve, strict=True) if math.isfinite(value))[1]
        for values in (errors, norms)
        if any(map(math.isfinite, values))
    )
    return {curve[-1].epoch, *least}
