"""The values of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sweeps.results.values import Interval, Scalar


class Design(StrEnum):
    """How the settings of an arm were chosen."""

    SINGLE = "one setting"
    GRID = "grid"
    RANDOM = "random"
    SOBOL = "sobol"

    @property
    def is_drawn(self) -> bool:
        """Whether the settings were drawn from the grid's axes."""
        return self in (Design.RANDOM, Design.SOBOL)


class Tuned(NamedTuple):
    """The median error of the best of so many settings drawn at random, with its band."""

    draws: int
    error: Interval


@dataclass(frozen=True, kw_only=True)
class ArmInWorkload:
    """One arm of one sweep.

    Args:
        workload: the sweep's label.
        kind: the kind of its schedule.
        diverged: number of trials that diverged; they count as the error of guessing.
        best: the error of its best setting.
        default: the setting that the spec writes beside the grid; None if the grid lacks it.
        tunability: error of the default minus error of the best setting, in points.
        rate_sensitivity: LR sensitivity, in units of the training loss.
        initial_loss: what the losses of LR sensitivity are capped at, averaged over seeds.
        tuning_curve: empty if the settings were not drawn.
        missing: why a measure is missing, by the measure's name.
    """

    workload: str
    arm: str
    kind: str
    design: Design
    settings: int
    seeds: int
    diverged: int
    near_chance: bool
    best: Interval
    best_setting: Mapping[str, Scalar]
    default: Mapping[str, Scalar] | None = None
    tunability: Interval | None = None
    rate_sensitivity: Interval | None = None
    initial_loss: float | None = None
    tuning_curve: tuple[Tuned, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ArmAcross:
    """One arm over all workloads; scores are 0 for a bad error and 1 for a good one of the study's arms in a workload.

    Args:
        tuned_score: mean over workloads of the score at the best setting of each.
        common_score: the highest mean score over workloads of one setting.
        common_setting: that setting.
        sensitivity: the first minus the second.
        dimensions: number of fields to tune per workload, the others as in `common_setting`, for 95 % of `tuned_score`.
        tuned_fields: the fields to tune.
        fields: number of fields that its grid varies.
        iqm_at_best: interquartile mean of the scores at the best setting of each workload, chosen on the other seeds.
        iqm_over_settings: interquartile mean of the scores of all settings.
        missing: why a measure is missing, by the measure's name.
    """

    arm: str
    fields: int
    tuned_score: float
    iqm_at_best: Interval
    iqm_over_settings: Interval
    common_score: float | None = None
    common_setting: Mapping[str, Scalar] | None = None
    sensitivity: float | None = None
    dimensions: int | None = None
    tuned_fields: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


class Improvement(NamedTuple):
    """How probably the first arm has a lower error than the second, each at its best setting, averaged over workloads."""

    first: str
    second: str
    probability: Interval


@dataclass(frozen=True, kw_only=True)
class Study:
    """Several sweeps, each a workload.

    Args:
        error: what the errors are, in words.
        workloads: labels of the sweeps, with their ids.
        arms: every arm with results in every workload.
        across: the arms that all workloads have; empty with one workload.
        improvements: pairs of these arms.
        notes: what was left out, and why.
        files: its figures, if they were written.
    """

    error: str
    workloads: Mapping[str, str]
    arms: tuple[ArmInWorkload, ...]
    across: tuple[ArmAcross, ...]
    improvements: tuple[Improvement, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...] = ()
