"""The numbers of the decay-time experiment (paper, figure S6): when is the best time for a single decay?

Every trial of a ``decay_at`` arm decays once, at different epochs; a ``constant`` arm shows the norm that ABEL would observe; an
``abel`` arm shows when ABEL decays on a bounce. The epoch *after the bounce* depends only on norms: it is the first epoch of
the grid that is not before the first bounce decay of any seed. Errors are compared but select nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.results.comparison import difference
from sweeps.results.confidence import Level, level
from sweeps.results.frames import Frames
from sweeps.results.values import Interval


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Differences between two sets of trials, seed by seed.

    Args:
        earlier: decay epoch of the first set.
        later: decay epoch of the second.
        errors: by seed, minimum error (%) of the first and of the second.
    """

    earlier: int
    later: int
    errors: Mapping[int, tuple[float, float]]

    @property
    def means(self) -> tuple[float, float]:
        """Mean minimum error of the first and of the second set."""
        return self._levels[0].value, self._levels[1].value

    @property
    def cost(self) -> Interval:
        """The first minus the second, in points of error."""
        return difference(*self._levels).value

    @property
    def _levels(self) -> tuple[Level, Level]:
        firsts, seconds = zip(*(self.errors[seed] for seed in sorted(self.errors)), strict=True)
        return level(firsts), level(seconds)


@dataclass(frozen=True, kw_only=True)
class DecayTime:
    """The numbers of the figure. Errors are minimum errors in percent; trials without a result are excluded.

    Args:
        grid: one row per trial that decays once: ``decay_epoch``, ``seed``, ``error``.
        norm: squared weight norm of the constant arm, epochs down, seeds across.
        constant: error by seed of the constant arm.
        abel: error by seed of the ABEL arm.
        bounce_epochs: by seed, the epochs at which ABEL decayed because the norm bounced.
        forced_epochs: by seed, the epochs at which its last decay was due.
        paired: the earliest decay epoch compared with the first one after the bounce; None if there is no such pair.
        no_pair: why there is no pair.
        label: the name in words of the errors.
    """

    grid: pd.DataFrame
    norm: pd.DataFrame
    constant: Mapping[int, float]
    abel: Mapping[int, float]
    bounce_epochs: Mapping[int, tuple[int, ...]]
    forced_epochs: Mapping[int, tuple[int, ...]]
    paired: Paired | None
    no_pair: str = ""
    label: str

    @property
    def costs(self) -> dict[int, Interval]:
        """By decay epoch, the error minus that of the pair's later epoch; empty if there is no pair."""
        if self.paired is None:
            return {}
        later, table = self.paired.later, self.grid.pivot(index="seed", columns="decay_epoch", values="error")
        others = [epoch for epoch in map(int, table.columns) if epoch != later]
        return {epoch: found.cost for epoch in others if (found := _between(table, epoch, later)) is not None}


def decay_time(frames: Frames, guessing: float | None = None) -> DecayTime | None:
    """Return the experiment's numbers; None if the sweep has no grid of decay epochs, or varies anything else.

    A diverged trial has the error of guessing, and is excluded if that is unknown.

    Two arms of one of the three kinds also count as varying something else: the figure has one line for each kind.
    """
    finished = frames.counted(guessing)
    if not _is_decay_time(finished):
        return None
    once = finished[finished["kind"] == "decay_at"]
    grid = pd.DataFrame(
        {
            "decay_epoch": [settings["schedule.decay_epoch"] for settings in once["settings"]],
            "seed": once["seed"].to_numpy(),
            "error": once["minimum_error"].to_numpy(),
        }
    ).sort_values(["decay_epoch", "seed"], ignore_index=True)
    constant, abel = (finished[finished["kind"] == kind] for kind in ("constant", "abel"))
    bounces = of_seed(abel, "bounce_epochs")
    paired, no_pair = _pair(grid, bounces)
    return DecayTime(
        grid=grid,
        norm=frames.by_seed("weight_norm_sq", constant[constant["outcome"] == "finished"]),
        constant=of_seed(constant, "minimum_error"),
        abel=of_seed(abel, "minimum_error"),
        bounce_epochs=bounces,
        forced_epochs=of_seed(abel, "forced_epochs"),
        paired=paired,
        no_pair=no_pair,
        label=frames.metric.error_label,
    )


def _is_decay_time(finished: pd.DataFrame) -> bool:
    varied = {name for settings in finished["settings"] for name in settings}
    arms = finished.groupby("kind")["arm"].nunique()
    one_of_each = all(arms.get(kind, 0) <= 1 for kind in ("decay_at", "constant", "abel"))
    return bool(arms.get("decay_at", 0)) and one_of_each and varied == {"schedule.decay_epoch"}


def of_seed(trials: pd.DataFrame, column: str) -> dict[int, Any]:
    """Return a column, by seed, of trials that differ only in their seeds."""
    return dict(zip(trials["seed"], trials[column], strict=True))


def _pair(grid: pd.DataFrame, bounces: Mapping[int, tuple[int, ...]]) -> tuple[Paired | None, str]:
    first = [epochs[0] for epochs in bounces.values() if epochs]
    if not bounces:
        return None, "the sweep has no finished ABEL trial to say where the bounce is"
    if not first:
        return None, "the norm did not bounce: ABEL made no bounce decay"
    after = [int(epoch) for epoch in sorted(grid["decay_epoch"].unique()) if epoch >= max(first)]
    if not after:
        return (
            None,
            f"the grid has no decay epoch at or after ABEL's first bounce decays (the latest after epoch {max(first)})",
        )
    earlier, later = int(grid["decay_epoch"].min()), after[0]
    table = grid.pivot(index="seed", columns="decay_epoch", values="error")
    if earlier == later:
        return None, f"the earliest decay epoch of the grid ({earlier}) is already after the bounce"
    found = _between(table, earlier, later)
    return found, "" if found else f"no seed finished trials with decays at both epoch {earlier} and {later}"


def _between(table: pd.DataFrame, one: int, other: int) -> Paired | None:
    both = table[[one, other]].dropna()
    errors = {int(str(seed)): (float(row[one]), float(row[other])) for seed, row in both.iterrows()}
    return Paired(earlier=one, later=other, errors=errors) if errors else None
