"""Checks on specs whose task measures its metric after every so many epochs, and repeats it in the records between.

A repeated value belongs to an earlier state. So trials must end, compete and be judged at epochs at which it is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweeps.errors import Faults
from sweeps.spec.sections import Arm, Check
from sweeps.spec.trial import Trial


def check_cadence(trials: Iterable[Trial], arms: Mapping[str, Arm], check: Check | None, faults: Faults) -> None:
    """Add a fault for each field by which a repeated value of the metric would count."""
    for trial in {(trial.arm, _cadence(trial)): trial for trial in trials}.values():
        if (every := _cadence(trial)) > 1:
            _check_arm(trial, arms[trial.arm], every, faults)
            if check is not None and check.error == "selected":
                rule = "must be minimum or final, as the epoch with the lowest training loss may have a repeated metric"
                faults.add("check.error", f"{rule}: {_measured(every)}, got selected")


def _cadence(trial: Trial) -> int:
    """Return the number of epochs from one measurement of a trial's metric to the next; 1 unless its task says otherwise."""
    return int(getattr(trial.program.task, "cadence", 1))


def _check_arm(trial: Trial, arm: Arm, every: int, faults: Faults) -> None:
    lengths = {"epochs" if arm.epochs is None else f"arms.{trial.arm}.epochs": trial.epochs}
    if trial.halving is not None:  # later rungs are its multiples
        lengths[f"arms.{trial.arm}.halving.grace_epochs"] = trial.halving.grace_epochs
    for path, epochs in lengths.items():
        if epochs % every:
            faults.add(path, f"must be a multiple of {every}, as {_measured(every)}, got {epochs}")
    if (gain := getattr(trial.schedule, "gain_threshold", None)) is not None:
        rule = "must be left out, as training may then end at an epoch with a repeated metric"
        faults.add(f"arms.{trial.arm}.schedule.gain_threshold", f"{rule}: {_measured(every)}, got {gain}")


def _measured(every: int) -> str:
    return f"the task measures its metric every {every} epochs and repeats it in between"
