"""A sweep's main figure with its caption and findings; the spec's `figure` selects it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from matplotlib.figure import Figure

from services.report.curve_figures import drawable, training_curves_figure
from services.report.figures import decay_time_figure, mean_percent
from services.report.findings import decay_time_findings
from services.report.grid_figures import last_decay_figure, rate_by_factor_figure
from services.report.norm_figures import layers_figure, norm_curves_figure, norm_equation_figure
from services.report.norm_findings import norm_curves_findings, norm_equation_findings
from services.report.table_figures import table_figure
from services.report.tables.best_scores_figure import best_scores_figure
from sweeps.results.claims.decay_time import DecayTime, decay_time
from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.layers import LayerNorms, layer_norms
from sweeps.results.claims.norm_curves import NormCourse, by_l2, by_rate
from sweeps.results.claims.schedule_table import TableEntry, schedule_table, table_findings
from sweeps.results.claims.sensitivity import (
    LastDecay,
    RateByFactor,
    last_decay_findings,
    last_decays,
    rate_by_factor_findings,
    rates_by_factors,
)
from sweeps.results.frames import Frames
from sweeps.results.guessing import UNKNOWN
from sweeps.results.tables.best_scores import ScoreTable, best_score_findings, best_scores
from sweeps.results.wording import signed

_Numbers = TypeVar("_Numbers")

# What each figure needs, for a sweep that requests it but has other trials.
_NEEDS = {
    "decay_time": "one decay_at arm whose grid varies only schedule.decay_epoch, and at most one constant and one abel arm",
    "norm_curves": "at most one constant and one abel trial for each rate and seed",
    "rate_by_factor": "one abel arm whose grid varies rate and decay factor, and at most one arm of each other schedule, "
    "which varies its rate and optionally its factor; or abel arms that vary one of the two each, and other arms likewise",
    "last_decay_epoch": "one abel arm whose grid varies only schedule.last_decay_epoch",
    "table": "any arm",
    "best_scores": "any arm, with a metric from 0 to 100",
    "training_curves": "at most 8 arms and settings, and at most 4 rows",
    "layers": "one setting, with a network of several layers",
    "norm_equation": "constant and abel arms whose grids vary only program.l2, with dynamics: true in program.task",
}
_SELECTED = (
    " As in the paper, simple decay with L2 has its error at the lowest training loss if it rises after the decay."
)
_WITH_DIVERGED = frozenset({"rate_by_factor", "last_decay_epoch"})  # the figures that include diverged trials


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A main figure.

    Args:
        file: the name of its PNG.
        heading: what it shows, in one line.
        caption: how to read it.
        draw: draws it, given `title`.
        findings: what it shows, in sentences.
        tiles: key numbers, each with its label.
    """

    file: str
    heading: str
    caption: str
    draw: Callable[..., Figure]
    findings: tuple[str, ...]
    tiles: tuple[tuple[str, str], ...] = ()


def exhibit(frames: Frames, guessing: float | None = None) -> Exhibit | None:
    """The figure that the sweep requests; None if it requests none or lacks the trials for it.

    Args:
        guessing: the error of guessing, in percent, assigned to diverged trials; None if unknown.
    """
    match frames.spec.get("figure"):
        case "decay_time":
            return _shown(decay_time(frames, guessing), _decay_time)
        case "norm_curves":
            return _shown(by_rate(frames), _norm_curves)
        case "norm_equation":
            return _shown(by_l2(frames), _norm_equation)
        case "rate_by_factor":
            return _shown(_taken(rates_by_factors, frames, guessing), _rate_by_factor)
        case "last_decay_epoch":
            return _shown(_taken(last_decays, frames, guessing), _last_decay)
        case "table":
            return _shown(schedule_table(frames, guessing), _table)
        case "best_scores":
            return _shown(best_scores(frames, guessing), _best_scores)
        case "training_curves":
            return _training_curves(frames, guessing) if drawable(frames) else None
        case "layers":
            return _shown(layer_norms(frames), _layers)
        case _:
            return None


def missing(frames: Frames, guessing: float | None = None) -> str:
    """Why a requested figure is missing, in a sentence; empty if none is requested."""
    figure = frames.spec.get("figure", "")
    if figure not in _NEEDS:
        return ""
    if figure in _WITH_DIVERGED and guessing is None and (frames.trials["outcome"] == "diverged").any():
        return f"There is no figure {figure}: {UNKNOWN}."
    return f"There is no figure {figure}: it needs finished trials of {_NEEDS[figure]}."


def _shown(numbers: _Numbers | None, show: Callable[[_Numbers], Exhibit]) -> Exhibit | None:
    return None if numbers is None else show(numbers)


def _taken(take: Callable[[Evidence], _Numbers], frames: Frames, guessing: float | None) -> _Numbers | None:
    try:
        return take(Evidence(frames=frames, guessing=guessing))
    except ValueError:
        return None


def _decay_time(numbers: DecayTime) -> Exhibit:
    tiles = []
    if numbers.paired is not None:
        pair = numbers.paired
        moment = f"decaying after epoch {pair.earlier} instead of {pair.later}"
        tiles.append((signed(pair.cost), f"points of {numbers.label} (95 % interval) for {moment}"))
    if numbers.abel:
        tiles.append((mean_percent(numbers.abel.values()), f"minimum {numbers.label} with ABEL (95 % interval)"))
    return Exhibit(
        file="decay_time.png",
        heading=f"Minimum {numbers.label} by decay epoch",
        caption="Each trial decays its rate once, after the epoch on the horizontal axis; its error is the minimum over its "
        "epochs. Grey: the norm that ABEL monitors, in runs without decay. Red: ABEL's decays.",
        draw=partial(decay_time_figure, numbers),
        findings=tuple(decay_time_findings(numbers)),
        tiles=tuple(tiles),
    )


def _norm_curves(courses: Sequence[NormCourse]) -> Exhibit:
    return Exhibit(
        file="norm_curves.png",
        heading="Squared weight norm at each learning rate",
        caption="Grey: constant rate. Red: ABEL and its decays.",
        draw=partial(norm_curves_figure, courses),
        findings=tuple(norm_curves_findings(courses)),
    )


def _norm_equation(courses: Sequence[NormCourse]) -> Exhibit:
    return Exhibit(
        file="norm_equation.png",
        heading="What changes the squared weight norm in each epoch",
        caption="Top: the norm at the constant rate and under ABEL. Middle: at the constant rate, the measured change of the "
        "norm in each epoch, and the terms of the paper's equation 1 summed over the epoch's steps; means over seeds. "
        "Bottom: the part of the change that these terms do not explain.",
        draw=partial(norm_equation_figure, courses),
        findings=tuple(norm_equation_findings(courses)),
    )


def _rate_by_factor(numbers: RateByFactor) -> Exhibit:
    together = (
        "Top: each schedule against one of the two, averaged over the other (over the logarithm of the rate), with "
        "95 % intervals over seeds. Bottom: each schedule over both; means over seeds, on one colour scale."
    )
    alone = "Each schedule against one of the two, the other being fixed; means with 95 % intervals over seeds."
    return Exhibit(
        file="rate_by_factor.png",
        heading=f"Final {numbers.label} by learning rate and decay factor",
        caption=alone if numbers.by_factor else together,
        draw=partial(rate_by_factor_figure, numbers),
        findings=tuple(rate_by_factor_findings(numbers)),
    )


def _last_decay(numbers: LastDecay) -> Exhibit:
    return Exhibit(
        file="last_decay_epoch.png",
        heading=f"Final {numbers.label} by the epoch of ABEL's last decay",
        caption="ABEL's decays before the last one are identical; each ring is a seed.",
        draw=partial(last_decay_figure, numbers),
        findings=tuple(last_decay_findings(numbers)),
    )


def _table(entries: Sequence[TableEntry]) -> Exhibit:
    return Exhibit(
        file="table.png",
        heading="Final error by row and schedule",
        caption="Means over seeds with 95 % intervals; where the paper gives a number, it is on the left."
        + (_SELECTED if any(entry.selected for entry in entries) else ""),
        draw=partial(table_figure, entries),
        findings=tuple(table_findings(entries)),
    )


def _best_scores(table: ScoreTable) -> Exhibit:
    return Exhibit(
        file="best_scores.png",
        heading=f"{table.label} by schedule, at the best setting of its grid",
        caption="Means over seeds of the score after the last segment, with 95 % intervals. As in the paper, each is that of the "
        "setting with the best mean, which is chosen by the scores that are shown, so it is too good by a little.",
        draw=partial(best_scores_figure, table),
        findings=tuple(best_score_findings(table)),
    )


def _training_curves(frames: Frames, guessing: float | None) -> Exhibit:
    entries = schedule_table(frames, guessing) or ()
    return Exhibit(
        file="training_curves.png",
        heading="Squared norm, error and rate by epoch",
        caption="Means over seeds; shaded: the range of the norm over seeds.",
        draw=partial(training_curves_figure, frames),
        findings=tuple(table_findings(entries)),
    )


def _layers(numbers: LayerNorms) -> Exhibit:
    return Exhibit(
        file="layers.png",
        heading="Squared norms of the largest layers",
        caption="Top: means over seeds. Bottom: the share of these layers in the squared weight norm; thin: single seeds.",
        draw=partial(layers_figure, numbers),
        findings=(
            f"The {numbers.norms.shape[1]} layers of {numbers.layers} with the largest norms hold "
            f"{numbers.share.mean(axis=1).min():.0f} to {numbers.share.mean(axis=1).max():.0f} % of the squared norm.",
        ),
    )
