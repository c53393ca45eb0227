"""The figure of a table: final errors by row and schedule, the paper's beside those found here."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from services.report.figures import arm_colors, bars
from services.report.themes import LIGHT, blank, fitted_legend, themed
from sweeps.results.claims.schedule_table import TableEntry
from sweeps.results.confidence import without_bounds
from sweeps.results.values import Interval

LINE, GAP = 0.34, 0.6  # inches for an entry; lines between rows


def table_figure(entries: Sequence[TableEntry], *, title: str = "") -> Figure:
    """Left: the errors in the paper, if there are any. Right: those found here, with 95 % intervals over seeds."""
    heights = _heights(entries)
    colors = arm_colors({entry.kind: entry.kind for entry in entries})
    reported = {
        index: without_bounds(entry.reported) for index, entry in enumerate(entries) if entry.reported is not None
    }
    panels = [("final error in the paper (%)", reported)] if reported else []
    panels.append(("final error here (%)", {index: entry.found for index, entry in enumerate(entries)}))
    with themed():
        figure = blank(title, (8.4, 1.7 - LINE * heights[-1]))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for own, (label, errors) in zip(axes, panels, strict=True):
            own.set_xlabel(label)
            _points(own, errors, entries, heights, colors)
        _row_names(axes[0], entries, heights)
        handles = {kind: Line2D([], [], color=color, marker="o", linestyle="") for kind, color in colors.items()}
        fitted_legend(figure, handles, "outside lower left", columns=len(handles))
        return figure


def _heights(entries: Sequence[TableEntry]) -> list[float]:
    """Return the height of each entry in lines, downwards from 0, with a gap between rows."""
    rows = [entry.row for entry in entries]
    gaps = [
        sum(one != other for one, other in zip(rows[:index], rows[1 : index + 1], strict=True))
        for index in range(len(rows))
    ]
    return [-index - GAP * gap for index, gap in enumerate(gaps)]


def _points(
    axes: Axes,
    errors: Mapping[int, Interval],
    entries: Sequence[TableEntry],
    heights: Sequence[float],
    colors: Mapping[str, Any],
) -> None:
    for index, found in errors.items():
        place, color = heights[index], colors[entries[index].kind]
        axes.errorbar([found.value], [place], xerr=bars([found]), fmt="o", color=color, markersize=5.5, capsize=3)
        words = f"{found.value:.1f} {entries[index].setting}".strip()
        axes.annotate(words, (found.value, place), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8.5)
    axes.grid(axis="x", color=LIGHT.rule, linewidth=0.7)
    axes.set_xmargin(0.15)
    axes.set_ylim(heights[-1] - 0.7, 1.0)


def _row_names(axes: Axes, entries: Sequence[TableEntry], heights: Sequence[float]) -> None:
    """Name each row on the left, at the middle of its entries."""
    rows = {
        row: [place for entry, place in zip(entries, heights, strict=True) if entry.row == row]
        for row in dict.fromkeys(entry.row for entry in entries)
    }
    axes.set_yticks([sum(places) / len(places) for places in rows.values()], list(rows))
