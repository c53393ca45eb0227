"""Tests for `services/report/bounce_figures.py`."""

import numpy as np
import pandas as pd
import pytest

from services.report.bounce_figures import MANY, bounces_figure, shown_of
from sweeps.results.frames import CURVE_COLUMNS, TRIAL_COLUMNS, Frames


def frames(trials: int) -> Frames:
    """Trials whose norm is lowest at epoch 5 + number, which the schedule sees an epoch later; each decays 10 epochs after it."""
    rows, points = [], []
    for number in range(trials):
        low = 5 + number
        row = dict.fromkeys(TRIAL_COLUMNS, "") | {
            "trial_id": f"{number}",
            "arm": "abel",
            "kind": "abel",
            "seed": number,
        }
        row |= {
            "minimum_epochs": (low + 1,),
            "bounce_epochs": (low + 10,),
            "forced_epochs": (),
            "decay_epochs": (low + 10,),
        }
        rows.append(row)
        points += [
            (f"{number}", "abel", number, epoch, "weight_norm_sq", 50.0 + abs(epoch - low)) for epoch in range(1, 60)
        ]
    rows.append(dict.fromkeys(TRIAL_COLUMNS, "") | {"trial_id": "never", "arm": "simple", "kind": "simple"})
    for name in ("minimum_epochs", "bounce_epochs", "forced_epochs", "decay_epochs"):
        rows[-1][name] = ()
    curves = pd.DataFrame(points, columns=list(CURVE_COLUMNS))
    return Frames(trials=pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)), curves=curves)


def test_bounces_lie_over_each_other_at_their_first_minimum() -> None:
    figure = bounces_figure(frames(3))
    above, below = figure.axes
    assert len(above.lines) == 3
    aligned = [line for line in below.lines if len(line.get_xdata()) > 2]
    assert len(aligned) == 3
    for line in aligned:
        across, up = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert up[across == 0] == pytest.approx([1.0]) and up.min() == 1.0
    decays = [points for points in below.collections if len(points.get_offsets()) and points.get_offsets()[0][0] == 10]
    assert len(decays) == 3


def test_of_many_trials_some_are_drawn_and_it_is_said_how_many() -> None:
    assert shown_of(frames(3)) == (3, 3)
    assert shown_of(frames(MANY + 10)) == (MANY, MANY + 10)
    assert len(bounces_figure(frames(MANY + 10)).axes[0].lines) == MANY
