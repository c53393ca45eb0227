"""Figures of the weight norm: its curve at each rate, the terms of its equation, and its parts by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from services.report.themes import DASHED, LIGHT, SEQUENCE, blank, fitted_legend, themed
from sweeps.results.claims.layers import LayerNorms
from sweeps.results.claims.norm_curves import NormCourse


def norm_curves_figure(courses: Sequence[NormCourse], *, title: str = "") -> Figure:
    """The squared norm by epoch, one panel per rate, at the constant rate and under ABEL (paper, figure S5)."""
    with themed():
        figure = blank(title, (8.4, 4.4))
        panels = figure.subplots(1, len(courses), sharey=True, squeeze=False)[0]
        handles: dict[str, Any] = {}
        for axes, course in zip(panels, courses, strict=True):
            _heading(axes, f"rate {course.value:g}, {course.epochs} epochs", course.epochs)
            handles |= _norm(axes, course)
            axes.set_xlabel("epoch")
        _from_zero(panels, courses)
        panels[0].set_ylabel("squared weight norm")
        _legend(figure, handles)
        return figure


def norm_equation_figure(courses: Sequence[NormCourse], *, title: str = "") -> Figure:
    """The norm, the terms of its change in each epoch, and their residual; one column per L2 strength (paper, eq. 1)."""
    with themed():
        figure = blank(title, (8.4, 8.6))
        grid = figure.subplots(3, len(courses), sharex="col", squeeze=False, height_ratios=(1.1, 1.4, 0.8))
        handles: dict[str, Any] = {}
        for (upper, middle, lower), course in zip(grid.T, courses, strict=True):
            _heading(upper, f"L2 {course.value:g}" if course.value else "no L2", course.epochs)
            handles |= _norm(upper, course)
            handles |= _terms(middle, course)
            handles |= _residual(lower, course)
            lower.set_xlabel("epoch")
        for axes, course in zip(grid[0], courses, strict=True):
            _from_zero([axes], [course])
        for axes, label in zip(grid[:, 0], ("squared norm", "change in an epoch", "measured − sum"), strict=True):
            axes.set_ylabel(label)
        _legend(figure, handles)
        return figure


def layers_figure(numbers: LayerNorms, *, title: str = "") -> Figure:
    """The norms of the largest layers by epoch, and their share of the whole (paper, figure S2)."""
    with themed():
        figure = blank(title, (8.4, 6.4))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.8, 1.0))
        colors = mpl.colormaps["viridis"](np.linspace(*SEQUENCE, numbers.norms.shape[1]))
        lines = {
            str(layer): above.plot(norm.index, norm, color=tuple(color), linewidth=1.6, label=str(layer))[0]
            for (layer, norm), color in zip(numbers.norms.items(), colors, strict=True)
        }
        above.set_ylabel("squared norm of a layer")
        above.set_ylim(bottom=0)
        below.plot(numbers.share.index, numbers.share, color=LIGHT.norm, linewidth=0.9)
        below.plot(numbers.share.index, numbers.share.mean(axis=1), color=LIGHT.text, linewidth=1.8)
        below.set_ylabel("their share (%)")
        below.set_ylim(0, 100)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        fitted_legend(figure, lines, "outside lower left")
        return figure


def _heading(axes: Axes, text: str, epochs: int) -> None:
    axes.set_title(text, loc="left", fontsize=10.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlim(0, epochs + 1)


def _from_zero(panels: Sequence[Axes], courses: Sequence[NormCourse]) -> None:
    """Give the norms of some panels one scale from 0, so a bounce of 1 % does not look like one of 50 %."""
    highest = max(float(table.max().max()) for course in courses for table in (course.norm, course.abel) if len(table))
    for axes in panels:
        axes.set_ylim(0, 1.06 * highest)


def _norm(axes: Axes, course: NormCourse) -> Mapping[str, Any]:
    entries: dict[str, Any] = {}
    kinds = (("constant rate: mean, range over seeds", course.norm, LIGHT.norm), ("ABEL", course.abel, LIGHT.abel))
    for label, table, color in kinds:
        if table.empty:
            continue
        axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=color, alpha=0.25, linewidth=0)
        axes.plot(table.index, table.mean(axis=1), color=color, linewidth=1.8)
        entries[label] = Patch(facecolor=color, alpha=0.6)
    return entries | dict(_decays(axes, course))


def _decays(axes: Axes, course: NormCourse) -> Iterator[tuple[str, Any]]:
    kinds: tuple[tuple[str, Mapping[int, tuple[int, ...]], Any], ...] = (
        ("ABEL decays after a bounce, by seed", course.bounce_epochs, "-"),
        ("ABEL's last decay, forced", course.forced_epochs, DASHED),
    )
    for label, by_seed, style in kinds:
        epochs = [epoch for seed in by_seed.values() for epoch in seed]
        for epoch in epochs:
            axes.axvline(epoch, color=LIGHT.abel, linewidth=0.9, linestyle=style, alpha=0.7)
        if epochs:
            yield label, Line2D([], [], color=LIGHT.abel, linewidth=1.1, linestyle=style)


def _terms(axes: Axes, course: NormCourse) -> Mapping[str, Any]:
    measured = course.equation["change"]
    lines: tuple[tuple[str, pd.DataFrame, str, Any, float], ...] = (
        ("η²|g|²", course.equation["growth"], LIGHT.arms[2], "-", 1.8),
        ("−2ηλ|w|²", course.equation["decay"], LIGHT.error, "-", 1.8),
        ("−2η g·w", course.equation["alignment"], LIGHT.arms[4], "-", 1.8),
        ("their sum (equation 1)", course.approximation, LIGHT.arms[3], DASHED, 2.0),
    )
    axes.axhline(0, color=LIGHT.muted, linewidth=0.7)
    axes.plot(measured.index, measured.mean(axis=1), "o", color=LIGHT.text, markersize=3.2)
    for _, table, color, style, width in lines:
        axes.plot(table.index, table.mean(axis=1), color=color, linestyle=style, linewidth=width)
    dots = {"measured change of |w|²": Line2D([], [], color=LIGHT.text, marker="o", markersize=3.2, linestyle="")}
    return dots | {label: Line2D([], [], color=color, linestyle=style) for label, _, color, style, _ in lines}


def _residual(axes: Axes, course: NormCourse) -> Mapping[str, Any]:
    table = course.equation["residual"]
    axes.axhline(0, color=LIGHT.muted, linewidth=0.7)
    axes.plot(table.index, table, color=LIGHT.arms[5], linewidth=0.8, alpha=0.8)
    axes.plot(table.index, table.mean(axis=1), color=LIGHT.arms[5], linewidth=1.8)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    return {"measured − sum: mean, each seed": Line2D([], [], color=LIGHT.arms[5], linewidth=1.8)}


def _legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    fitted_legend(figure, handles, "outside lower left", columns=3, handlelength=1.8)
