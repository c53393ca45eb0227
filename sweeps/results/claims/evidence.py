"""A sweep's results as needed for the paper's claims: each arm's grid for any error, and where the norm bounced."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import pandas as pd

from abel.curves import bounces
from sweeps.results import baseline
from sweeps.results.claims.layers import LayerNorms, layer_norms
from sweeps.results.claims.norm_curves import LEAST_RISE, base_rates
from sweeps.results.frames import Frames
from sweeps.results.grids import Grid
from sweeps.results.values import Scalar, TrialResult
from sweeps.spec.sections import Statistic

RATE, FACTOR = "schedule.learning_rate", "schedule.decay_factor"
DECAY, LAST = "schedule.decay_epoch", "schedule.last_decay_epoch"
COLLAPSE = 0.99  # a network whose squared norm has fallen by this fraction no longer learns


class NormShape(StrEnum):
    """What the norm does at a rate before the first decay, in every seed; mixed if seeds differ."""

    BOUNCES = "bounces"
    LEVELS = "does not bounce"
    COLLAPSES = "collapses"
    MIXED = "differs by seed"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A sweep, with everything derived from it.

    Args:
        guessing: the error of guessing, in percent, assigned to diverged trials; None if unknown.
    """

    frames: Frames
    guessing: float | None = None

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of schedule of each arm."""
        return dict(zip(self.frames.trials["arm"], self.frames.trials["kind"], strict=True))

    def arm(self, kind: str) -> str:
        """Return the only arm of a kind of schedule.

        Raises:
            ValueError: there is none, or there are several.
        """
        named = [arm for arm, own in self.kinds.items() if own == kind]
        if len(named) != 1:
            raise ValueError(f"needs one arm of kind {kind}, got {len(named)}")
        return named[0]

    def table(self, kind: str, error: Statistic, axis: str = "") -> Grid:
        """Return the results of the only arm of a kind; of several, all that vary along this axis alone, as one grid.

        Raises:
            ValueError: there is no such arm, two trials share a value of the axis and a seed, a trial has no result, or one
                diverged and guessing is unknown.
        """
        arms = self.parts(kind, axis)
        own = self._joined(arms, axis) if arms else [one for one in self.results if one.arm == self.arm(kind)]
        (table,) = baseline.tables(own, error, self.guessing, self.frames.chance).values()
        if table.errors.size < len(own) and arms:
            raise ValueError(f"needs each value of {axis} in one of the arms {', '.join(arms)}")
        return table

    def parts(self, kind: str, axis: str) -> tuple[str, ...]:
        """Return the arms of a kind that vary this axis alone, if there are several arms of that kind; else none."""
        arms = [arm for arm, own in self.kinds.items() if own == kind]
        return tuple(arm for arm in arms if self._varied[arm] == {axis}) if len(arms) > 1 else ()

    def _joined(self, arms: tuple[str, ...], axis: str) -> list[TrialResult]:
        """Return the trials of the parts of a grid, and those of other arms that lie on its axis, in ascending order."""
        found = [replace(one, arm=arms[0]) for one in self.results if one.arm in arms]
        for arm, varied in self._varied.items():
            if arm in arms or len(varied) != 1:
                continue
            (crossed,) = varied
            fixed = self._fixed(arm, axis, crossed)
            if like := [part for part in arms if fixed and self._fixed(part, axis, crossed) == fixed]:
                at, settings = self._schedule(like[0])[crossed], {axis: self._schedule(arm)[axis]}
                own = [one for one in self.results if one.arm == arm and one.settings[crossed] == at]
                found += [replace(one, arm=arms[0], settings=settings) for one in own]
        return sorted(found, key=lambda one: float(str(one.settings[axis])))

    @cached_property
    def _varied(self) -> dict[str, set[str]]:
        """The axes of each arm's grid."""
        varied: dict[str, set[str]] = {}
        for arm, settings in zip(self.frames.trials["arm"], self.frames.trials["settings"], strict=True):
            varied.setdefault(arm, set()).update(settings)
        return varied

    def _schedule(self, arm: str) -> dict[str, Any]:
        """Return the fields of an arm's schedule, named as axes."""
        schedule = self.frames.spec.get("arms", {}).get(arm, {}).get("schedule", {})
        return {f"schedule.{name}": value for name, value in schedule.items()}

    def _fixed(self, arm: str, *varied: str) -> dict[str, Any]:
        """Return all of an arm but its grid and some fields of its schedule; nothing if its schedule lacks them."""
        schedule = self._schedule(arm)
        if not set(varied) <= schedule.keys():
            return {}
        rest = {
            name: value for name, value in self.frames.spec["arms"][arm].items() if name not in ("grid", "schedule")
        }
        return rest | {name: value for name, value in schedule.items() if name not in varied}

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The learning rates at which epochs begin: epochs down, trial ids across."""
        return self.frames.curve("learning_rate_first")

    @cached_property
    def base_rates(self) -> dict[str, float]:
        """The base rate of each trial, by trial id."""
        return base_rates(self.frames)

    @cached_property
    def layers(self) -> LayerNorms | None:
        """The norms of the largest layers; None if they are unknown."""
        return layer_norms(self.frames)

    @cached_property
    def norms(self) -> pd.DataFrame:
        """The squared weight norms: epochs down, trial ids across."""
        return self.frames.curve("weight_norm_sq")

    @cached_property
    def results(self) -> tuple[TrialResult, ...]:
        """Every trial's result."""
        return self.frames.results

    def courses(self, kind: str) -> dict[Scalar, NormShape]:
        """Return, by rate, what the norm of an arm does before its first decay."""
        trials = self.frames.finished[self.frames.finished["arm"] == self.arm(kind)]
        seen: dict[Scalar, set[NormShape]] = {}
        for _, row in trials.iterrows():
            until = row["decay_epochs"][0] if row["decay_epochs"] else row["epoch"]
            curve = self.norms[row["trial_id"]].loc[:until].dropna()
            seen.setdefault(row["settings"].get(RATE), set()).add(_course(curve))
        return {rate: found.pop() if len(found) == 1 else NormShape.MIXED for rate, found in seen.items()}


def _course(curve: "pd.Series[float]") -> NormShape:
    found = bounces(curve)
    if found.whole.fall >= COLLAPSE:
        return NormShape.COLLAPSES
    return NormShape.BOUNCES if found.bounced and found.whole.rise >= LEAST_RISE else NormShape.LEVELS
