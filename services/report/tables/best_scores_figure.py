"""The figure of table S1: scores by schedule and task, the paper's below those found here."""

import math
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.report.themes import LIGHT, blank, themed
from sweeps.results.tables.best_scores import BestScore, ScoreTable

WIDTH, NAME, LINE = 1.15, 1.7, 0.3  # inches: of a column, of the names of rows, of a line of text


def best_scores_figure(table: ScoreTable, *, title: str = "") -> Figure:
    """One row for each schedule: score, 95 % interval and setting; then the paper's rows, if it has numbers."""
    lines = list(_lines(table))
    width, height = NAME + WIDTH * len(table.columns), LINE * (len(lines) + 1)
    with themed():
        figure = blank(title, (width, height + 0.9))
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(-height, 0)
        _write(axes, ["", *table.columns], -LINE / 2, LIGHT.text, "bold")
        for number, (cells, color) in enumerate(lines, start=1):
            _write(axes, cells, -LINE * (number + 0.5), color, "normal")
        axes.axhline(-LINE, color=LIGHT.rule, linewidth=1)
        return figure


def _write(axes: Axes, cells: list[str], height: float, color: str, weight: str) -> None:
    axes.text(0, height, cells[0], va="center", color=color, weight=weight, fontsize=9)
    for number, text in enumerate(cells[1:]):
        place = NAME + WIDTH * (number + 0.5)
        axes.text(place, height, text, ha="center", va="center", color=color, weight=weight, fontsize=9)


def _lines(table: ScoreTable) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each line of text, and its colour."""
    for kind, row in table.rows.items():
        scores = [row.get(column) for column in table.columns]
        yield [kind, *("" if one is None else f"{one.found.value:.1f}" for one in scores)], LIGHT.text
        if any(one is not None and not math.isnan(one.found.low) for one in scores):
            yield ["95 % interval", *map(_bounds, scores)], LIGHT.muted
        if any(one is not None and one.setting for one in scores):
            yield ["at", *("" if one is None else one.setting.rpartition("=")[2] for one in scores)], LIGHT.muted
    for kind, row in table.rows.items():
        if any(one.reported is not None for one in row.values()):
            theirs = [_reported(row.get(column)) for column in table.columns]
            yield [f"{kind}, the paper", *theirs], LIGHT.error


def _bounds(score: BestScore | None) -> str:
    if score is None or math.isnan(score.found.low):
        return ""
    return f"{score.found.low:.1f} to {score.found.high:.1f}"


def _reported(score: BestScore | None) -> str:
    return "" if score is None or score.reported is None else f"{score.reported:.1f}"
