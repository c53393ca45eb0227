"""Figures of a grid: the error by rate and decay factor, and by the epoch of the last decay."""

from collections.abc import Collection, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from services.report.figures import bars
from services.report.themes import DASHED, LIGHT, WHITE, blank, canvas, fitted_legend, themed
from sweeps.results.axes import along, axes, heat
from sweeps.results.claims.evidence import FACTOR, RATE
from sweeps.results.claims.sensitivity import LastDecay, RateByFactor
from sweeps.results.confidence import Floats, level
from sweeps.results.grids import Grid

MARKS = ("o", "s", "D", "^", "v", "P")
NUMBERED = 90  # a heat map with more cells than this shows no numbers


def rate_by_factor_figure(numbers: RateByFactor, *, title: str = "") -> Figure:
    """Every arm by rate and by factor, averaged over the other; below, each arm over both (paper, figure 3).

    If rate and factor vary one at a time, there is nothing to average, and the lower part is left out.
    """
    with themed():
        if numbers.by_factor:
            figure = blank(title, (8.4, 3.9))
            _curves(figure.subfigures(1, 1), numbers)
            return figure
        figure = blank(title, (8.4, 7.0))
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1.0), squeeze=False)[:, 0]
        _curves(upper, numbers)
        _maps(lower, numbers)
        return figure


def _curves(figure: Any, numbers: RateByFactor) -> None:
    """Every arm against the rate, and against the factor."""
    by_rate, by_factor = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1.0))
    colors = _colors(numbers)
    by_rate.set_xscale("log")
    sides = (by_rate, numbers.arms, RATE, "learning rate"), (by_factor, numbers.grids[-1], FACTOR, "decay factor")
    for axes_, arms, axis, label in sides:
        _lines(axes_, arms, axis, colors)
        axes_.set_xlabel(label)
        _ticks(axes_, {_number(value) for arm in arms.values() for value in axes(arm).get(axis, ())})
    by_rate.set_ylabel(f"final {numbers.label} (%)")
    fitted_legend(figure, _legend(colors), "outside upper left", columns=len(colors))


def _colors(numbers: RateByFactor) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each arm."""
    others = [arm for arm in numbers.arms if arm != numbers.abel]
    plain = {arm: LIGHT.arms[index % len(LIGHT.arms)] for index, arm in enumerate(others)}
    return {arm: (plain.get(arm, LIGHT.abel), MARKS[index % len(MARKS)]) for index, arm in enumerate(numbers.arms)}


def _legend(colors: Mapping[str, tuple[str, str]]) -> dict[str, Line2D]:
    return {
        arm: Line2D([], [], color=color, marker=mark, linewidth=2, markersize=5)
        for arm, (color, mark) in colors.items()
    }


def _lines(axes_: Axes, arms: Mapping[str, Grid], axis: str, colors: Mapping[str, tuple[str, str]]) -> None:
    for arm, table in arms.items():
        if axis not in axes(table):
            continue
        one, (color, mark) = along(table, axis), colors[arm]
        places = [_number(value) for ((_, value),) in one.settings]
        axes_.errorbar(
            places,
            one.errors.mean(axis=1),
            bars(level(errors).interval() for errors in one.errors),
            color=color,
            marker=mark,
            markersize=5,
            linewidth=1.8,
            capsize=3,
        )
    axes_.grid(axis="y", color=LIGHT.rule, linewidth=0.7)


def _maps(figure: Any, numbers: RateByFactor) -> None:
    """A heat map for each arm, on one colour scale; an arm without a factor is one row."""
    arms = numbers.arms
    panels = figure.subplots(1, len(arms), squeeze=False)[0]
    every = np.concatenate([table.errors.mean(axis=1) for table in arms.values()])
    scale, colormap = Normalize(every.min(), every.max()), mpl.colormaps["viridis"]
    for panel, (arm, table) in zip(panels, arms.items(), strict=True):
        known = axes(table)
        factors = known.get(FACTOR, ("",))
        means = (
            heat(table, FACTOR, RATE).errors.mean(axis=2)
            if FACTOR in known
            else along(table, RATE).errors.mean(axis=1)[None]
        )
        image = panel.imshow(means, cmap=colormap, norm=scale, aspect="auto")
        _numbered(panel, means, colormap, scale)
        panel.set_title(arm, loc="left", fontsize=10.5)
        panel.set_xticks(
            range(len(known[RATE])), [f"{_number(value):g}" for value in known[RATE]], rotation=60, fontsize=8.5
        )
        panel.set_yticks(range(len(factors)), [str(value) for value in factors], fontsize=8.5)
        panel.set_xlabel("learning rate")
        for spine in panel.spines.values():
            spine.set_visible(False)
    panels[0].set_ylabel("decay factor")
    bar = figure.colorbar(image, ax=list(panels), fraction=0.03, pad=0.02)
    bar.set_label(f"final {numbers.label} (%)", color=LIGHT.text)
    bar.outline.set_visible(False)


def _numbered(panel: Axes, means: Floats, colormap: Colormap, scale: Normalize) -> None:
    if means.size > NUMBERED:
        return
    for (row, column), mean in np.ndenumerate(means):
        red, green, blue, _ = colormap(scale(mean))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        panel.text(column, row, f"{mean:.0f}", ha="center", va="center", fontsize=8, color="#000000" if dark else WHITE)


def last_decay_figure(numbers: LastDecay, *, title: str = "") -> Figure:
    """The final error by the epoch of ABEL's last decay (paper, figure S1)."""
    with themed():
        figure, axes_ = canvas(title, (8.4, 4.4))
        epochs, errors = numbers.epochs, numbers.table.errors
        means = errors.mean(axis=1)
        axes_.axhline(means[numbers.reference], color=LIGHT.muted, linestyle=DASHED, linewidth=1.2)
        axes_.plot(
            epochs,
            errors,
            color=LIGHT.abel,
            linewidth=0.9,
            marker="o",
            markersize=4,
            markerfacecolor="none",
            alpha=0.75,
        )
        axes_.plot(epochs, means, color=LIGHT.abel, linewidth=2.2, marker="o", markersize=6, zorder=4)
        axes_.set_xlabel("epoch of the last decay")
        axes_.set_ylabel(f"final {numbers.label} (%)")
        axes_.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes_.grid(axis="y", color=LIGHT.rule, linewidth=0.7)
        told = f"its mean with the last decay after epoch {epochs[numbers.reference]:g}, 85 % of training"
        handles = {
            "ABEL, mean; thin: single seeds": Line2D([], [], color=LIGHT.abel, marker="o", markersize=5, linewidth=2),
            told: Line2D([], [], color=LIGHT.muted, linestyle=DASHED, linewidth=1.2),
        }
        fitted_legend(figure, handles, "outside lower left", handlelength=2.4)
        return figure


def _ticks(axes_: Axes, places: Collection[float]) -> None:
    axes_.set_xticks(sorted(places), [f"{place:g}" for place in sorted(places)])
    axes_.xaxis.set_minor_locator(NullLocator())


def _number(value: Any) -> float:
    return float(value)
