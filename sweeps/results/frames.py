"""A sweep as tidy tables: by trial; by trial, epoch and metric; and by event."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from sweeps.ledger.records import Work
from sweeps.results.values import UNKNOWN_CHANCE, Chance, TrialResult
from workers.contracts import Metric
from workers.trajectory import TEST_ERROR

TOTAL_NORM = "weight_norm_sq"
CURVES = (
    TOTAL_NORM,
    "train_error",
    "train_loss",
    "learning_rate_first",
    *(f"dynamics/{name}" for name in ("growth", "decay", "alignment", "residual", "ratio", "balance")),
    *(f"dynamics/{name}" for name in ("change_sgd", "change_steps", "change")),
)
LAYER = f"{TOTAL_NORM}/"  # before the name of a parameter, in the metric of its squared norm
ERRORS = ("minimum_error", "final_error", "selected_error")
CURVE_COLUMNS = ("trial_id", "arm", "seed", "epoch", "metric", "value")
EVENT_COLUMNS = ("trial_id", "arm", "seed", "epoch", "kind")
TRIAL_COLUMNS = (
    *("trial_id", "number", "name", "arm", "kind", "seed"),
    *("outcome", "epoch", "epochs", "error", "settings"),
    *("decay_epochs", "bounce_epochs", "forced_epochs", "minimum_epochs"),
    *("minimum_error", "minimum_epoch", "final_error", "selected_error"),
)


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The ledger's data of a sweep, or of several sweeps as one.

    Args:
        trials: one row per trial, by number; ``settings`` holds dicts, ``*_epochs`` tuples, ``*_error`` the errors by the metric
            in percent.
        curves: one row per trial, epoch (from 1) and metric; NaN if a value was not finite, or not measured.
        events: one row per decision of a schedule: ``minimum``, ``decay``, ``last_decay``, ``milestone`` or ``plateau``.
        spec: the sweep's spec; empty for several sweeps.
        work: the total work for the sweep; None for several sweeps.
        metric: what the trials are compared by; of several sweeps, that of the first.
        chance: the errors of trials that have learned nothing.
        programs: what identifies each trial's program, but for fields that its grid varies, by the trial's name.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    events: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EVENT_COLUMNS)))
    spec: Mapping[str, Any] = field(default_factory=dict)
    work: Work | None = None
    metric: Metric = TEST_ERROR
    chance: Chance = UNKNOWN_CHANCE
    programs: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> pd.DataFrame:
        """The finished trials, ended by their epochs or their schedule; only these enter means."""
        return self.trials[self.trials["outcome"] == "finished"]

    @property
    def results(self) -> tuple[TrialResult, ...]:
        """Every trial's result; the tables know nothing of failed attempts."""
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
            for row in self.trials.to_dict("records")
        )

    def counted(self, guessing: float | None) -> pd.DataFrame:
        """Return the trials whose errors enter means and comparisons; diverged ones have the error of guessing, if known.

        Args:
            guessing: the error of guessing where the ledger has none for a trial, in percent; None if unknown.
        """
        guesses = pd.Series(
            [self.chance.guesses.get(name, guessing) for name in self.trials["name"]], self.trials.index, dtype=float
        )
        replaced = (self.trials["outcome"] == "diverged") & guesses.notna()
        errors = [name for name in self.trials.columns if name in ERRORS]
        counts = self.trials.assign(**{name: self.trials[name].mask(replaced, guesses) for name in errors})
        return counts[replaced | (self.trials["outcome"] == "finished")]

    def curve(self, metric: str) -> pd.DataFrame:
        """Return one metric as a table: epochs down, trial ids across."""
        chosen = self.curves[self.curves["metric"] == metric]
        table = chosen.pivot(index="epoch", columns="trial_id", values="value")
        every = range(1, int(table.index.max()) + 1) if len(table) else table.index
        return table.reindex(every).rename_axis("epoch")

    def rows(self) -> dict[str, "Frames"]:
        """Return the sweep by the row of its table that each arm belongs to; all of it under "" if no arm names one."""
        arms = self.spec.get("arms", {})
        row = self.trials["arm"].map(lambda arm: arms.get(arm, {}).get("row", ""))
        if not row.astype(bool).any():
            return {"": self}
        return {str(name): replace(self, trials=self.trials[row == name]) for name in row.unique()}

    def by_seed(self, metric: str, trials: pd.DataFrame) -> pd.DataFrame:
        """Return one metric of trials that differ only in their seeds: epochs down, seeds across."""
        seeds = dict(zip(trials["trial_id"], trials["seed"], strict=True))
        table = self.curve(metric)
        known = table[[trial for trial in table.columns if trial in seeds]].rename(columns=seeds)
        return known.sort_index(axis=1).dropna(how="all")


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def joined(named: Mapping[str, Frames]) -> Frames:
    """Join several sweeps into one, with the sweep's name as a prefix of each arm."""

    def all_of(frames: Iterable[tuple[str, pd.DataFrame]], *columns: str) -> pd.DataFrame:
        renamed = (
            frame.assign(**{column: f"{name}: " + frame[column].astype(str) for column in columns})
            for name, frame in frames
        )
        return pd.concat(renamed, ignore_index=True)

    guesses = {f"{name}: {trial}": error for name, one in named.items() for trial, error in one.chance.guesses.items()}
    first = next(iter(named.values()))
    return Frames(
        trials=all_of(((name, one.trials) for name, one in named.items()), "trial_id", "name", "arm"),
        curves=all_of(((name, one.curves) for name, one in named.items()), "trial_id", "arm"),
        events=all_of(((name, one.events) for name, one in named.items()), "trial_id", "arm"),
        metric=first.metric,
        chance=replace(first.chance, guesses=guesses),
    )
