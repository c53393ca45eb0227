"""Training curves: squared norm, error and rate by epoch, for each arm and setting, one column for each row of the table."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from services.report.figures import arm_colors, points
from services.report.themes import DASHED, LIGHT, SEQUENCE, blank, fitted_legend, themed
from sweeps.results.frames import Frames
from sweeps.results.wording import setting

LOGARITHMIC = 30  # a norm that varies by more than this factor has a logarithmic scale
MOST_COLUMNS, MOST_LINES = 4, 8


def training_curves_figure(frames: Frames, *, title: str = "") -> Figure:
    """Norm, error by the metric and learning rate by epoch: means over seeds, and for the norm the range over them."""
    columns = frames.rows()
    colors = _colors(_lines(frames))
    metrics = (
        ("weight_norm_sq", "squared weight norm"),
        (frames.metric.name, frames.metric.label_with_unit),
        ("learning_rate_first", "learning rate"),
    )
    with themed():
        figure = blank(title, (8.4, 7.6))
        grid = figure.subplots(
            3, len(columns), sharex="col", sharey="row", squeeze=False, height_ratios=(1.3, 1.3, 0.8)
        )
        for down, (metric, label) in enumerate(metrics):
            table = frames.curve(metric)
            for axes, own in zip(grid[down], columns.values(), strict=True):
                _draw(axes, own, table, colors, is_norm=metric == "weight_norm_sq")
            _scale(grid[down], table, metric)
            grid[down][0].set_ylabel(label)
        for axes, name in zip(grid[0], columns, strict=True):
            axes.set_title(name, loc="left", fontsize=10.5)
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        handles = {
            " ".join(line).strip(): Line2D([], [], color=color, linewidth=2, **_dashed(color))
            for line, color in colors.items()
        }
        fitted_legend(figure, handles, "outside lower left")
        return figure


def drawable(frames: Frames) -> bool:
    """Whether there are curves, and few enough to tell them apart."""
    return 0 < len(set(_lines(frames))) <= MOST_LINES and len(frames.rows()) <= MOST_COLUMNS


def _lines(frames: Frames) -> list[tuple[str, str]]:
    """Return the name of each trial's line: its kind where rows tell the arms apart, else its arm; with its grid point."""
    name = "arm" if "" in frames.rows() else "kind"
    finished = frames.finished
    return [
        (str(arm), setting(point) if point else "")
        for arm, point in zip(finished[name], finished["settings"], strict=True)
    ]


def _colors(lines: list[tuple[str, str]]) -> Mapping[tuple[str, str], Any]:
    """Return a colour for each line: by arm, or along a scale if there is one arm with several settings."""
    distinct = list(dict.fromkeys(lines))
    if len(distinct) > 1 and len({arm for arm, _ in distinct}) == 1:
        scale = mpl.colormaps["viridis"](np.linspace(*SEQUENCE, len(distinct)))
        return dict(zip(distinct, map(tuple, scale), strict=True))
    colors = arm_colors({" ".join(line): line[0] for line in distinct})
    return {line: colors[" ".join(line)] for line in distinct}


def _draw(
    axes: Axes, own: Frames, table: pd.DataFrame, colors: Mapping[tuple[str, str], Any], *, is_norm: bool
) -> None:
    trials = list(zip(_lines(own), own.finished["trial_id"], strict=True))
    for line in dict.fromkeys(line for line, _ in trials):
        curves = table[[trial for other, trial in trials if other == line and trial in table.columns]].dropna(how="all")
        color = colors[line]
        axes.plot(curves.index, curves.mean(axis=1), color=color, linewidth=1.8, **points(curves), **_dashed(color))
        if is_norm:
            axes.fill_between(curves.index, curves.min(axis=1), curves.max(axis=1), color=color, alpha=0.2, linewidth=0)
    axes.grid(axis="y", color=LIGHT.rule, linewidth=0.7)


def _dashed(color: Any) -> dict[str, Any]:
    """Return a line's style: ABEL equals simple decay where the norm does not bounce, and dashes show both."""
    return {"linestyle": DASHED, "zorder": 4} if color == LIGHT.abel else {}


def _scale(panels: Any, table: pd.DataFrame, metric: str) -> None:
    positive = table.where(table > 0).stack()
    wide = metric == "weight_norm_sq" and len(positive) and positive.max() > LOGARITHMIC * positive.min()
    if wide or metric == "learning_rate_first":
        panels[0].set_yscale("log")
    elif metric == "weight_norm_sq":
        panels[0].set_ylim(bottom=0)
