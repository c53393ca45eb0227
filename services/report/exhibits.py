"""A sweep's main figure with all that the report says about it; the spec's `figure` names which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from matplotlib.figure import Figure

from services.report.figures import decay_time_figure, mean_percent
from services.report.findings import decay_time_findings
from services.report.grid_figures import last_decay_figure, rate_by_factor_figure
from services.report.norm_figures import norm_curves_figure, norm_equation_figure
from services.report.norm_findings import norm_curves_findings, norm_equation_findings
from sweeps.results.claims.decay_time import DecayTime, decay_time
from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.norm_curves import NormCourse, by_l2, by_rate
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
from sweeps.results.wording import signed

_Numbers = TypeVar("_Numbers")

# What a figure is drawn from, for a sweep that asks for it and has something else.
_NEEDS = {
    "decay_time": "one arm of decay_at whose grid varies schedule.decay_epoch alone, beside at most one arm of constant and "
    "one of abel",
    "norm_curves": "at most one trial of constant and one of abel for each rate and seed",
    "rate_by_factor": "one arm of abel whose grid varies rate and decay factor, and at most one arm of each other schedule, "
    "which varies its rate and maybe its factor",
    "last_decay_epoch": "one arm of abel whose grid varies schedule.last_decay_epoch alone",
    "norm_equation": "arms of constant and abel whose grids vary program.l2 alone, with the task's field dynamics",
}
_WITH_DIVERGED = frozenset({"rate_by_factor", "last_decay_epoch"})  # those in which a diverged trial has a place


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A main figure.

    Args:
        file: the name of its PNG.
        heading: what it shows, in a line.
        caption: how to read it.
        draw: draws it, given `theme` and `title`.
        findings: what it says, in sentences.
        tiles: figures to see first, each with what it is.
    """

    file: str
    heading: str
    caption: str
    draw: Callable[..., Figure]
    findings: tuple[str, ...]
    tiles: tuple[tuple[str, str], ...] = ()


def exhibit(frames: Frames, guessing: float | None = None) -> Exhibit | None:
    """The figure that the sweep asks for; None where it asks for none or has not the trials for it.

    Args:
        guessing: the test error of guessing, in percent, which a diverged trial counts as; None where it is not known.
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
        case _:
            return None


def missing(frames: Frames, guessing: float | None = None) -> str:
    """Why a sweep that asks for a figure has none, in a sentence; empty where it asks for none."""
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
        moment = f"decaying after epoch {pair.earlier}, not {pair.later}"
        tiles.append((signed(pair.cost), f"points of test error (95 % interval) for {moment}"))
    if numbers.abel:
        tiles.append((mean_percent(numbers.abel.values()), "minimum test error with ABEL (95 % interval)"))
    return Exhibit(
        file="decay_time.png",
        heading="Minimum test error against the epoch of the one decay",
        caption="Each trial decays its rate once, after the epoch on the horizontal axis; the error is the smallest of all "
        "its epochs. Grey: the norm that ABEL watches, in runs that never decay. Red: when ABEL decays.",
        draw=partial(decay_time_figure, numbers),
        findings=tuple(decay_time_findings(numbers)),
        tiles=tuple(tiles),
    )


def _norm_curves(courses: Sequence[NormCourse]) -> Exhibit:
    return Exhibit(
        file="norm_curves.png",
        heading="The squared weight norm at each rate",
        caption="Grey: the rate stays. Red: ABEL, and when it decays.",
        draw=partial(norm_curves_figure, courses),
        findings=tuple(norm_curves_findings(courses)),
    )


def _norm_equation(courses: Sequence[NormCourse]) -> Exhibit:
    return Exhibit(
        file="norm_equation.png",
        heading="What changes the squared weight norm in each epoch",
        caption="Above: the norm at the fixed rate and under ABEL. Middle: at the fixed rate, what the norm was measured to "
        "change in each epoch, and the terms of the paper's equation 1, summed over its steps, as means over seeds. Below: "
        "what these terms leave unexplained.",
        draw=partial(norm_equation_figure, courses),
        findings=tuple(norm_equation_findings(courses)),
    )


def _rate_by_factor(numbers: RateByFactor) -> Exhibit:
    return Exhibit(
        file="rate_by_factor.png",
        heading="Final test error by learning rate and decay factor",
        caption="Above: each schedule by one of the two, as the mean over the other (rates by their logarithm) with its "
        "95 % interval over seeds. Below: each schedule over both, as means over seeds on one scale of colours.",
        draw=partial(rate_by_factor_figure, numbers),
        findings=tuple(rate_by_factor_findings(numbers)),
    )


def _last_decay(numbers: LastDecay) -> Exhibit:
    return Exhibit(
        file="last_decay_epoch.png",
        heading="Final test error against the epoch of ABEL's last decay",
        caption="ABEL's own decays are the same until the last one; each ring is a seed.",
        draw=partial(last_decay_figure, numbers),
        findings=tuple(last_decay_findings(numbers)),
    )
