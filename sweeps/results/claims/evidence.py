"""A sweep's results as needed for the paper's claims: each arm's grid for any test error, and where the norm bounced."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import pandas as pd

from abel.curves import bounces
from sweeps.results import baseline
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
        guessing: the test error of guessing, in percent, assigned to diverged trials; None if unknown.
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

    def table(self, kind: str, error: Statistic) -> Grid:
        """Return the results of the only arm of a kind.

        Raises:
            ValueError: there is no such arm, one of its trials has no result, or one diverged and guessing is unknown.
        """
        own = [result for result in self.results if result.arm == self.arm(kind)]
        (table,) = baseline.tables(own, error, self.guessing).values()
        return table

    @cached_property
    def base_rates(self) -> dict[str, float]:
        """The base rate of each trial, by trial id."""
        return base_rates(self.frames)

    @cached_property
    def norms(self) -> pd.DataFrame:
        """The squared weight norms: epochs down, trial ids across."""
        return self.frames.curve("weight_norm_sq")

    @cached_property
    def results(self) -> tuple[TrialResult, ...]:
        """Every trial's result."""
        return tuple(
            TrialResult(
                name=row["name"],
                arm=row["arm"],
                seed=row["seed"],
                settings=row["settings"],
                status=row["outcome"],
                epoch=row["epoch"],
                epochs=row["epochs"],
                minimum_error=_known(row["minimum_error"]),
                final_error=_known(row["final_error"]),
                selected_error=_known(row["selected_error"]),
                decays=tuple(row["decay_epochs"]),
                error=row["error"] or None,
                failure=None,
                attempts=0,
            )
            for _, row in self.frames.trials.iterrows()
        )

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


def _known(error: float) -> float | None:
    return None if pd.isna(error) else float(error)
