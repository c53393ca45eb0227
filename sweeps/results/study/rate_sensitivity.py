"""LR sensitivity of an arm: what a wrong learning rate costs, in training loss.

Source: Wortsman et al., arXiv 2309.14322 (2023), section 2.2: the mean over learning rates of min(loss, loss at initialisation),
minus the loss at the best rate. Their rates are even on a logarithmic scale; here they are weighted by the trapezoid rule on it.
They take the validation loss. Here it is the training loss that the ledger has for every task, the mean over an epoch without
the L2 penalty. No epoch records the loss at initialisation, so that of the first epoch at the lowest rate takes its place.
"""

import math
from typing import NamedTuple

import numpy as np

from sweeps.results import confidence
from sweeps.results.claims.evidence import RATE
from sweeps.results.confidence import Floats
from sweeps.results.frames import Frames
from sweeps.results.grids import Grid, numbers_of, trapezoid
from sweeps.results.values import Interval

LOSS = "train_loss"


class EndLosses(NamedTuple):
    """Training losses of the first and the last epoch of each trial, f64[settings, seeds]; NaN if not finite."""

    first: Floats
    last: Floats


def end_losses(frames: Frames, table: Grid) -> EndLosses:
    """Return the losses of the trials of a table; the last loss of a diverged trial is NaN.

    Args:
        frames: the trials of the table's arm alone.
    """
    curve = frames.curve(LOSS)
    losses = EndLosses(*(np.full(table.errors.shape, math.nan) for _ in EndLosses._fields))
    rows = {setting: row for row, setting in enumerate(table.settings)}
    for trial in frames.trials.to_dict("records"):
        row = rows.get(tuple(sorted(trial["settings"].items())))
        if row is None or trial["trial_id"] not in curve:
            continue
        cell = row, table.seeds.index(trial["seed"])
        losses.first[cell] = curve.loc[1, trial["trial_id"]]
        if trial["outcome"] == "finished":
            losses.last[cell] = curve.loc[trial["epoch"], trial["trial_id"]]
    return losses


def rate_sensitivity(table: Grid, losses: EndLosses) -> tuple[Interval, float]:
    """Return LR sensitivity with Student's interval over seeds, and the initial loss, averaged over seeds.

    A loss that is not finite counts as the initial loss. If the grid varies other fields too, it is the mean over their settings.

    Raises:
        ValueError: the grid does not vary the rate, or not for each setting of the other fields, or has no initial loss.
    """
    rates = sorted(numbers_of(list({dict(setting).get(RATE) for setting in table.settings})) or ())
    if len(rates) < 2:
        raise ValueError(f"the grid must vary {RATE}")
    groups: dict[tuple[object, ...], dict[object, int]] = {}
    for row, setting in enumerate(table.settings):
        others = tuple(item for item in setting if item[0] != RATE)
        groups.setdefault(others, {})[dict(setting)[RATE]] = row
    if len(groups) * len(rates) != len(table.settings):
        raise ValueError(f"the grid must have every {RATE} with each setting of the other fields")
    cube = np.array([[own[rate] for rate in rates] for own in groups.values()])  # rows of the table, [groups, rates]
    initial = losses.first[cube[:, 0]].mean(axis=0)
    if not np.isfinite(initial).all():
        raise ValueError("the trials at the lowest rate must have a finite training loss in their first epoch")
    capped = np.fmin(losses.last[cube], initial)  # f64[groups, rates, seeds]
    best = capped.mean(axis=2).argmin(axis=1)
    weighted = np.einsum("r,grs->gs", trapezoid(RATE, rates), capped)
    above = weighted - capped[np.arange(len(capped)), best]
    return confidence.mean_count(above.mean(axis=0)), float(initial.mean())
