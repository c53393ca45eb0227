"""Figures of bounces: squared norms with the schedule's decisions, by epoch and aligned at their minimum."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from services.report.figures import arm_colors
from services.report.themes import LIGHT, blank, fitted_legend, themed
from sweeps.results.frames import Frames

MANY = 40  # with more trials than this, an even selection is drawn
EVENTS = (
    ("minimum_epochs", "o", "norm minimum, seen by ABEL"),
    ("bounce_epochs", "v", "decay after a bounce"),
    ("forced_epochs", "s", "last decay"),
)


def bounces_figure(frames: Frames) -> Figure:
    """Squared norms of the trials whose schedule saw a minimum.

    Top: by epoch. Bottom: relative to the lowest value before the schedule first saw a minimum, with epochs counted from
    there, which aligns the bounces of different settings.
    """
    trials = frames.trials[frames.trials["minimum_epochs"].map(bool)]
    table = frames.curve("weight_norm_sq")
    trials = trials[trials["trial_id"].isin(table.columns)]
    some = trials.iloc[np.unique(np.linspace(0, len(trials) - 1, min(MANY, len(trials))).round().astype(int))]
    kinds = dict(zip(frames.trials["arm"], frames.trials["kind"], strict=True))
    with themed():
        figure = blank("", (8.4, 6.4))
        above, below = figure.subplots(2, 1)
        colors = arm_colors(kinds)
        for _, trial in some.iterrows():
            curve = table[trial["trial_id"]].dropna()
            _draw(above, trial, curve, colors[trial["arm"]])
            known = curve.loc[: trial["minimum_epochs"][0]]
            if len(known):
                lowest = int(known.idxmin())  # which the schedule sees an epoch later
                _draw(below, trial, curve / curve[lowest], colors[trial["arm"]], shift=lowest)
        below.axvline(0, color=LIGHT.muted, linewidth=0.8, linestyle=":")
        _labels(above, "epoch", "squared weight norm")
        _labels(below, "epochs since the norm's first minimum", "norm / its minimum")
        fitted_legend(figure, dict(_legend(some, colors)), "outside upper left")
        return figure


def shown_of(frames: Frames) -> tuple[int, int]:
    """How many trials `bounces_figure` draws, and how many there are."""
    count = int(frames.trials["minimum_epochs"].map(bool).sum())
    return min(MANY, count), count


def _draw(axes: Axes, trial: "pd.Series[Any]", curve: "pd.Series[float]", color: Any, shift: int = 0) -> None:
    axes.plot(curve.index - shift, curve, color=color, linewidth=1.1, alpha=0.8)
    for name, marker, _ in EVENTS:
        at = [epoch for epoch in trial[name] if epoch in curve.index]
        axes.scatter(
            np.array(at) - shift,
            curve[at],
            marker=marker,
            s=22,
            facecolor="none",
            edgecolor=color,
            linewidth=1.1,
            zorder=3,
        )


def _labels(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(axis="y", color=LIGHT.rule, linewidth=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))


def _legend(trials: pd.DataFrame, colors: Any) -> Iterator[tuple[str, Line2D]]:
    for arm in dict.fromkeys(trials["arm"]):
        yield arm, Line2D([], [], color=colors[arm], linewidth=2)
    for name, marker, label in EVENTS:
        if trials[name].map(bool).any():
            yield label, Line2D([], [], color=LIGHT.muted, marker=marker, markerfacecolor="none", linestyle="")
