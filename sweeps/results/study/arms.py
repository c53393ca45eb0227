"""One arm in one workload: its measures, and why some are missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sweeps.results.comparison import best_setting
from sweeps.results.frames import Frames
from sweeps.results.grids import Grid
from sweeps.results.measures import near_chance
from sweeps.results.robustness_tables import Robustness, robustness
from sweeps.results.study.rate_sensitivity import end_losses, rate_sensitivity
from sweeps.results.study.tunability import default_row, tunability
from sweeps.results.study.tuning_curves import FROM_SOBOL, NOT_DRAWN, tuning_curve
from sweeps.results.study.values import ArmInWorkload, Design
from sweeps.results.values import Interval
from sweeps.spec.sections import Statistic

NEAR_CHANCE = "the arm is near chance, so a small difference says nothing"
ONE_SETTING = "there is only one setting"
_BY_HAND = "the training loss of games does not measure how well they are played"

_CURVE_REASONS = {
    Design.SINGLE: {"tuning_curve": ONE_SETTING},
    Design.GRID: {"tuning_curve": NOT_DRAWN},
    Design.SOBOL: {"exact_band": FROM_SOBOL},
}

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A sweep of a study.

    Args:
        label: its name, unique in the study.
        guessing: the error of guessing, in percent; None if unknown.
        error: the error of a trial that counts.
    """

    label: str
    sweep_id: str
    frames: Frames
    guessing: float | None
    error: Statistic

    def arms(self) -> tuple[list[Robustness], list[str]]:
        """Return the arms whose trials all have results, and sentences on why others lack them."""
        found, lacking = robustness(self.frames, self.guessing, self.error)
        return found, [f"{self.label}: {sentence}" for sentence in lacking]


def in_workload(workload: Workload, arm: Robustness) -> ArmInWorkload:
    """Return an arm's measures in one workload."""
    table, spec = arm.table, workload.frames.spec
    design = _design(spec, arm)
    reasons = dict(_CURVE_REASONS.get(design, {}))
    default = _attempt(lambda: default_row(table, spec, arm.arm), "tunability", reasons)
    gain = None if default is None else _attempt(lambda: _tunability(table, default), "tunability", reasons)
    rate = _attempt(lambda: _rate_sensitivity(workload.frames, arm), "rate_sensitivity", reasons)
    return ArmInWorkload(
        workload=workload.label,
        arm=arm.arm,
        kind=arm.kind,
        design=design,
        settings=len(table.settings),
        seeds=len(table.seeds),
        diverged=0 if table.diverged is None else int(table.diverged.sum()),
        near_chance=near_chance(table),
        best=arm.measures["best"],
        best_setting=dict(best_setting(table)),
        default=None if default is None else dict(table.settings[default]),
        tunability=gain,
        rate_sensitivity=rate and rate[0],
        initial_loss=rate and rate[1],
        tuning_curve=tuning_curve(table.errors.mean(axis=1)) if design.is_drawn else (),
        missing=reasons,
    )


def _attempt(measure: Callable[[], Found], name: str, reasons: dict[str, str]) -> Found | None:
    """Return a measure; None if it does not exist, with the reason under its name."""
    try:
        return measure()
    except ValueError as fault:
        reasons[name] = str(fault)
        return None


def _design(spec: Mapping[str, Any], arm: Robustness) -> Design:
    search = spec["arms"][arm.arm].get("search")
    if search is not None:
        return Design(search["kind"])
    return Design.GRID if len(arm.table.settings) > 1 else Design.SINGLE


def _tunability(table: Grid, default: int) -> Interval:
    _must_have_learned(table)
    return tunability(table, default)


def _rate_sensitivity(frames: Frames, arm: Robustness) -> tuple[Interval, float]:
    if frames.chance.is_by_hand:
        raise ValueError(_BY_HAND)
    _must_have_learned(arm.table)
    trials, curves = (frame[frame["arm"] == arm.arm] for frame in (frames.trials, frames.curves))
    return rate_sensitivity(arm.table, end_losses(replace(frames, trials=trials, curves=curves), arm.table))


def _must_have_learned(table: Grid) -> None:
    if near_chance(table):
        raise ValueError(NEAR_CHANCE)
    if len(table.settings) < 2:
        raise ValueError(ONE_SETTING)
