"""Figures of robustness: the error by each axis, over two axes, and for every trial across all axes."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from services.report.bounce_figures import bounces_figure, shown_of
from services.report.figures import arm_colors, bars
from services.report.themes import DOTTED, LIGHT, SEQUENCE, WHITE, blank, fitted_legend, themed
from sweeps.results.axes import Slice, heat, slices
from sweeps.results.axes import axes as axes_of
from sweeps.results.frames import Frames
from sweeps.results.grids import logarithmic, numbers_of
from sweeps.results.robustness_tables import Robustness, ordered
from sweeps.results.values import Scalar

PANEL_WIDTH, PANEL_HEIGHT = 4.2, 3.6  # inches
Table = np.ndarray[Any, np.dtype[np.float64]]
TICKS = 8  # more labels on an axis would overlap
MARKERS = "osD^vP"


class Panel(NamedTuple):
    """A robustness figure; ``file`` is its name without the ending."""

    file: str
    figure: Figure
    heading: str
    caption: str


def robustness_panels(frames: Frames, arms: Sequence[Robustness], guessing: float | None) -> Iterator[Panel]:
    """The robustness figures that have data."""
    if axis_names(arms):
        caption = (
            "Solid: means over the other axes, with 95 % intervals over the seeds. Dotted: the best setting at each value. "
            "Points: randomly drawn settings."
        )
        yield Panel("axes", axes_figure(arms), "Error by setting", caption)
    if planes := [arm for arm in arms if arm.whole and len(arm.axes) > 1]:
        caption = "The first two axes of each arm; means over its other axes and its seeds. Blue is low, yellow high."
        yield Panel("planes", heat_figure(planes), "Error over two settings", caption)
    if len(frames.trials) > 1 and len(with_results(frames, guessing)):
        caption = "Each line is a trial, coloured by its error: blue is low, yellow high. Settings that its arm does not vary "
        caption += "are at the bottom."
        if guessing is not None and (frames.trials["outcome"] == "diverged").any():
            caption += " A diverged trial counts as guessing."
        yield Panel("trials", parallel_figure(frames, guessing), "Every trial at once", caption)
    drawn, count = shown_of(frames)
    if count:
        some = f" {drawn} of {count} trials are drawn." if drawn < count else ""
        caption = (
            "Trials whose schedule saw a minimum of the norm. Bottom: each curve relative to its lowest value before the "
            "schedule first saw a minimum, with epochs counted from there. A schedule sees a minimum once the norm has risen "
            "again."
        )
        yield Panel("bounces", bounces_figure(frames), "Bounces and the schedule's decisions", caption + some)


def axes_figure(arms: Sequence[Robustness]) -> Figure:
    """The error by each axis, one line for each arm that has the axis.

    Solid: means over the other axes, with 95 % intervals. Dotted, if there are other axes: the best setting at each value.
    Randomly drawn settings are points, as each value comes with other values of the other axes.
    """
    names = axis_names(arms)
    with themed():
        rows, columns = math.ceil(len(names) / 2), min(len(names), 2)
        figure = blank("", (2 * PANEL_WIDTH, PANEL_HEIGHT * rows + 0.5))
        colors = arm_colors({arm.arm: arm.kind for arm in arms})
        markers = {arm.arm: MARKERS[index % len(MARKERS)] for index, arm in enumerate(arms)}
        handles: dict[str, Any] = {}
        first: Axes | None = None
        for index, name in enumerate(names):
            axes = figure.add_subplot(rows, columns, index + 1, sharey=first)
            first = first or axes
            having = [arm for arm in arms if name in arm.axes]
            values = ordered(value for arm in having for value in axes_of(arm.table)[name])
            places = _places(axes, name, values)
            for number, arm in enumerate(having):
                points = sorted(slices(arm.table, name), key=lambda point: places[point.value])
                shift = (number - (len(having) - 1) / 2) * 0.012  # intervals must not overlap
                line = _line(axes, points, places, shift, arm.whole, colors[arm.arm], markers[arm.arm])
                handles.setdefault(arm.arm, line)
            axes.set_xlabel(_label(name))
            axes.grid(axis="y", color=LIGHT.rule, linewidth=0.7)
            if index % 2 == 0:
                axes.set_ylabel(f"{arms[0].in_words} (%)")
        fitted_legend(figure, handles, "outside upper left")
        return figure


def _line(
    axes: Axes,
    points: Sequence[Slice],
    places: Mapping[Scalar, float],
    shift: float,
    joined: bool,
    color: Any,
    marker: str,
) -> Any:
    width = max(places.values()) - min(places.values()) or 1.0
    x = np.array([places[point.value] + shift * width for point in points])
    means, best = (np.array([getattr(point, name).value for point in points]) for name in ("mean", "best"))
    if joined and not np.allclose(means, best):
        axes.plot(x, best, color=color, linewidth=1, linestyle=DOTTED)
    style = "-" if joined else "none"
    return axes.errorbar(
        x,
        means,
        bars(point.mean for point in points),
        color=color,
        linestyle=style,
        marker=marker,
        markersize=5,
        linewidth=1.6,
        capsize=3,
        elinewidth=1,
    )


def axis_names(arms: Sequence[Robustness]) -> tuple[str, ...]:
    """The axes that vary in any arm."""
    return tuple(dict.fromkeys(name for arm in arms for name in arm.axes))


def _places(axes: Axes, name: str, values: Sequence[Scalar]) -> dict[Scalar, float]:
    """Positions of an axis's values: numbers on a linear or logarithmic scale, anything else evenly spaced."""
    numbers = numbers_of(values)
    if numbers is None:
        numbers = [float(index) for index in range(len(values))]
    elif logarithmic(name, numbers):
        numbers = [math.log10(number) for number in numbers]
    _ticks(axes.xaxis, numbers, values)
    return dict(zip(values, numbers, strict=True))


def heat_figure(arms: Sequence[Robustness]) -> Figure:
    """The error over the first two axes of each arm, as means over its other axes and its seeds."""
    with themed():
        columns = min(len(arms), 2)
        rows = math.ceil(len(arms) / columns)
        figure = blank("", (2 * PANEL_WIDTH, PANEL_HEIGHT * rows))
        maps = [heat(arm.table, *reversed(arm.axes[:2])) for arm in arms]
        low, high = (float(how([how(one.errors.mean(axis=2)) for one in maps])) for how in (np.nanmin, np.nanmax))
        panels = []
        for index, (arm, one) in enumerate(zip(arms, maps, strict=True)):
            axes = figure.add_subplot(rows, columns, index + 1)
            panels.append(axes)
            down, across = (ordered(values) for _, values in (one.down, one.across))
            order = np.ix_(
                [one.down[1].index(value) for value in down], [one.across[1].index(value) for value in across]
            )
            table = one.errors.mean(axis=2)[order]
            image = axes.imshow(table, cmap="cividis", vmin=low, vmax=high, aspect="auto", origin="lower")
            _ticks(axes.xaxis, range(len(across)), across)
            _ticks(axes.yaxis, range(len(down)), down)
            axes.set_xlabel(_label(one.across[0]))
            axes.set_ylabel(_label(one.down[0]))
            axes.set_title(arm.arm, fontsize=10.5, loc="left")
            _cells(axes, table, (low + high) / 2)
        figure.colorbar(image, ax=panels, label=f"{arms[0].in_words} (%)", shrink=0.85)
        return figure


def _cells(axes: Axes, table: Table, middle: float) -> None:
    if table.size > 100:
        return
    for (row, column), value in np.ndenumerate(table):
        color = "#000000" if value > middle else WHITE  # cividis goes from dark to light
        axes.text(column, row, "" if math.isnan(value) else f"{value:.1f}", ha="center", va="center", color=color)


def with_results(frames: Frames, guessing: float | None) -> pd.DataFrame:
    """The trials with an error; a diverged trial counts as guessing, or is left out if the error of guessing is unknown."""
    diverged = frames.trials["outcome"] == "diverged"
    counted = frames.trials["minimum_error"].mask(diverged, guessing)
    return frames.trials.assign(minimum_error=counted).dropna(subset=["minimum_error"])


def parallel_figure(frames: Frames, guessing: float | None) -> Figure:
    """Every trial with a result as a line across arm, settings, seed and decays to its error, which sets its colour."""
    trials = with_results(frames, guessing)
    columns = _columns(trials)
    errors = trials["minimum_error"].to_numpy(dtype=float)
    with themed():
        figure = blank("", (8.4, 4.2))
        axes = figure.add_subplot()
        heights = [_heights(axes, index, values) for index, values in enumerate(columns.values())]
        scale = Normalize(errors.min(), errors.max() if np.ptp(errors) else errors.min() + 1)
        heights.append(scale(errors))
        _ruler(axes, len(columns), {0.0: f"{scale.vmin:.1f} %", 1.0: f"{scale.vmax:.1f} %"})
        axes.add_collection(_lines(np.array(heights).T, scale(errors)))
        axes.set_xlim(-0.3, len(columns) + 0.45)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xticks(range(len(columns) + 1), [*columns, f"minimum\n{frames.metric.error_label}"])
        axes.set_yticks([])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="x", length=0, pad=8)
        return figure


def _columns(trials: pd.DataFrame) -> Mapping[str, Sequence[Any]]:
    """What the lines of the trials cross before their errors."""
    names = sorted({name for settings in trials["settings"] for name in settings})
    return {
        "arm": [textwrap.shorten(arm, 18, placeholder="…") for arm in trials["arm"]],
        **{_label(name): [settings.get(name) for settings in trials["settings"]] for name in names},
        "seed": list(trials["seed"]),
        "decays": [len(epochs) for epochs in trials["decay_epochs"]],
    }


def _lines(heights_TC: Table, errors_T: Table) -> LineCollection:
    """A line for each trial through its heights, all scaled to between 0 and 1; the best are drawn last, on top."""
    low, high = SEQUENCE
    shades = mpl.colormaps["viridis"](low + errors_T * (high - low))
    lines = [np.column_stack([np.arange(heights_TC.shape[1]), row]) for row in heights_TC]
    worst_first = np.argsort(-errors_T)
    few = len(lines) <= 200
    return LineCollection(
        [lines[index] for index in worst_first],
        colors=shades[worst_first],
        linewidths=1.1 if few else 0.5,
        alpha=0.85 if few else 0.5,
        rasterized=not few,
    )


def _heights(axes: Axes, index: int, values: Sequence[Any]) -> Table:
    """Where each trial crosses a column; values are evenly spaced, missing ones at the bottom."""
    distinct = list(dict.fromkeys(values))
    ranks = [None] * (None in distinct) + ordered(value for value in distinct if value is not None)
    places = {value: 0.5 if len(ranks) == 1 else rank / (len(ranks) - 1) for rank, value in enumerate(ranks)}
    shown = places if len(places) <= 12 else {value: places[value] for value in (ranks[0], ranks[-1])}
    _ruler(axes, index, {place: "not varied" if value is None else _text(value) for value, place in shown.items()})
    return np.array([places[value] for value in values])


def _ruler(axes: Axes, index: int, ticks: Mapping[float, str]) -> None:
    axes.axvline(index, color=mpl.rcParams["axes.edgecolor"], linewidth=1, zorder=0)
    halo = {"facecolor": mpl.rcParams["axes.facecolor"], "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
    for place, text in ticks.items():
        axes.text(index + 0.03, place, text, fontsize=8.5, va="center", zorder=6, bbox=halo)


def _ticks(axis: Axis, places: Sequence[float], values: Sequence[Scalar]) -> None:
    """Label every value, or every n-th if there are many."""
    step = math.ceil(len(values) / TICKS)
    axis.set_ticks(list(places)[::step], [_text(value) for value in values[::step]])


def _label(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _text(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
