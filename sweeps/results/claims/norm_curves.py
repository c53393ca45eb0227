"""The numbers of the experiments on the weight norm itself: its curve at each rate (figure S5), and why (section 4.1).

A *course* is the norm at one setting, a rate or a strength of L2: at a fixed rate and under ABEL, by seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from abel.curves import Bounces, bounces
from sweeps.results.claims.decay_time import of_seed
from sweeps.results.frames import CURVES, Frames

LEAST_RISE = 0.01  # a norm that ends within 1 % above its minimum has levelled off and not bounced


PREFIX = "dynamics/"
TERMS = ("growth", "decay", "alignment")


@dataclass(frozen=True, kw_only=True)
class NormCourse:
    """Finished trials of one setting; every frame has epochs down and seeds across.

    Args:
        value: the rate, or the strength of L2.
        norm: squared weight norm at the fixed rate.
        abel: squared weight norm under ABEL.
        bounce_epochs: by seed, the epochs at which ABEL decayed because the norm bounced.
        forced_epochs: by seed, the epochs at which its last decay was due.
        equation: sums of each epoch at the fixed rate, by name without `dynamics/`; empty if not recorded.
    """

    value: float
    norm: pd.DataFrame
    abel: pd.DataFrame
    bounce_epochs: Mapping[int, tuple[int, ...]]
    forced_epochs: Mapping[int, tuple[int, ...]]
    equation: Mapping[str, pd.DataFrame]

    @property
    def bounces(self) -> Mapping[int, Bounces]:
        """By seed, the bounces of the norm at the fixed rate."""
        return {int(str(seed)): bounces(curve.dropna()) for seed, curve in self.norm.items()}

    @property
    def epochs(self) -> int:
        """The length of the longest curve."""
        return max([*self.norm.index, *self.abel.index], default=0)

    @property
    def size(self) -> pd.DataFrame:
        """The sum of the magnitudes of the equation's terms, to compare its residual with."""
        growth, decay, alignment = (self.equation[name].abs() for name in TERMS)
        return growth + decay + alignment

    @property
    def approximation(self) -> pd.DataFrame:
        """The paper's change of the norm: the sum of its three terms."""
        growth, decay, alignment = (self.equation[name] for name in TERMS)
        return growth + decay + alignment


def by_rate(frames: Frames) -> list[NormCourse] | None:
    """Return the course at each base rate, highest first; None if trials of one rate differ in more than kind and seed."""
    return _courses(frames, base_rates(frames))


def base_rates(frames: Frames) -> dict[str, float]:
    """Return the largest learning rate at which each trial begins an epoch, by trial id."""
    # Rates are recorded in float32: 0.1 as 0.10000000149.
    largest = frames.curve("learning_rate_first").max()
    return {str(trial): float(f"{rate:.6g}") for trial, rate in largest.items()}


def by_l2(frames: Frames) -> list[NormCourse] | None:
    """Return the course at each strength of L2, highest first; None if the sweep does not vary only L2, or has no terms."""
    named = zip(frames.trials["trial_id"], frames.trials["settings"], strict=True)
    strengths = {trial: settings.get("program.l2") for trial, settings in named}
    if None in strengths.values():
        return None
    courses = _courses(frames, {trial: float(l2) for trial, l2 in strengths.items()})
    return courses if courses and all(course.equation for course in courses) else None


def _courses(frames: Frames, values: Mapping[str, float]) -> list[NormCourse] | None:
    finished = frames.finished[frames.finished["kind"].isin(["constant", "abel"])]
    finished = finished[finished["trial_id"].isin(values)]
    value = finished["trial_id"].map(values)
    if finished.assign(value=value).duplicated(["value", "kind", "seed"]).any():
        return None
    courses = [_course(frames, float(one), finished[value == one]) for one in sorted(set(value), reverse=True)]
    return [course for course in courses if not course.norm.empty] or None


def _course(frames: Frames, value: float, trials: pd.DataFrame) -> NormCourse:
    constant, abel = (trials[trials["kind"] == kind] for kind in ("constant", "abel"))
    names = [name for name in CURVES if name.startswith(PREFIX)]
    sums = {name.removeprefix(PREFIX): frames.by_seed(name, constant) for name in names}
    return NormCourse(
        value=value,
        norm=frames.by_seed("weight_norm_sq", constant),
        abel=frames.by_seed("weight_norm_sq", abel),
        bounce_epochs=of_seed(abel, "bounce_epochs"),
        forced_epochs=of_seed(abel, "forced_epochs"),
        equation={name: table for name, table in sums.items() if not table.empty},
    )
