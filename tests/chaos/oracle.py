"""The oracle: the records of the undisturbed run, compared bit by bit with what a ledger and MLflow hold after faults."""

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import SweepSpec
from sweeps.spec.trial import Trial
from workers.cohort import train
from workers.fold import Member
from workers.reports import Cohort, Record
from workers.workshop import Workshop

MOVING = ("seconds", "examples_per_second")  # measured times differ from run to run

# (trial's name, epoch) to metric to value
Curves = Mapping[tuple[str, int], Mapping[str, float]]


@dataclass(kw_only=True)
class Verdict:
    """What was found wrong; all zero is what is promised."""

    records: int = 0
    missing: int = 0
    duplicate: int = 0
    differing: int = 0

    def __iadd__(self, other: "Verdict") -> "Verdict":
        self.records += other.records
        self.missing += other.missing
        self.duplicate += other.duplicate
        self.differing += other.differing
        return self

    @property
    def is_clean(self) -> bool:
        """Whether nothing is missing, double or different."""
        return self.records > 0 and not (self.missing or self.duplicate or self.differing)


def alone(trial: Trial, workshop: Workshop) -> list[Record]:
    """A trial's records when it is trained by itself in this process, without Ray, sharing nothing."""
    cohort = Cohort(
        program=trial.program,
        identity=workshop.identity(trial.program),
        seed=trial.seed,
        epochs=trial.epochs,
        members=(Member(trial=trial.name, schedule=trial.schedule),),
        salt=trial.name,
    )
    return [record for record in train(cohort, workshop) if isinstance(record, Record)]


def undisturbed(spec: SweepSpec, checkpoints: Path) -> Curves:
    """Every trial trained alone."""
    workshop = Workshop(checkpoints=checkpoints, data_dir=None)
    return {
        (trial.name, record.epoch): _without_times(record.metrics)
        for trial in spec.expand()
        for record in alone(trial, workshop)
    }


def curves(ledger: Ledger, sweep_id: str) -> Curves:
    """Every trial's recorded epochs."""
    return {
        (trial.name, state.epoch): _without_times(state.metrics)
        for trial in ledger.trials(sweep_id)
        for state in ledger.curve(trial.head)
    }


def compare(expected: Curves, ledger: Ledger, sweep_id: str) -> Verdict:
    """The ledger's curves, and what its events told of them: each trial of each epoch once."""
    found = curves(ledger, sweep_id)
    names = {trial.id: trial.name for trial in ledger.trials(sweep_id)}
    told: Counter[tuple[str, str]] = Counter()
    for event in ledger.events_of(sweep_id, "progress"):
        told.update((names[trial], key) for trial in event.payload["trials"] for key in event.payload["keys"])
    twice = sum(count - 1 for count in told.values())
    untold = len(expected) - len(told)
    verdict = _compared(expected, found)
    verdict.duplicate += twice
    verdict.missing += max(0, untold)
    return verdict


def is_trial(run: Any) -> bool:
    """Whether a run of a sweep in MLflow is a trial's, not the sweep's own."""
    return "abel.trial_id" in run.data.tags


def compare_tracking(expected: Curves, uri: str, sweep_id: str) -> Verdict:
    """MLflow's runs, read back through its API: one run a trial, every point once, equal as MLflow can hold it."""
    from mlflow import MlflowClient

    from services.tracking.runs import sweep_runs

    client, verdict, found = MlflowClient(uri), Verdict(), {}
    runs = [run for run in sweep_runs(client, sweep_id) if is_trial(run)]
    names = Counter(run.info.run_name for run in runs)
    verdict.duplicate += sum(count - 1 for count in names.values())
    metrics = sorted(next(iter(expected.values())))
    for run in runs:
        for metric in metrics:
            for point in client.get_metric_history(run.info.run_id, metric.replace("/", ".")):
                epoch = found.setdefault((run.info.run_name, point.step), {})
                verdict.duplicate += metric in epoch
                epoch[metric] = point.value
    verdict += _compared(
        {at: {name: _as_shown(value) for name, value in m.items()} for at, m in expected.items()}, found
    )
    return verdict


def _compared(expected: Curves, found: Curves) -> Verdict:
    both = expected.keys() & found.keys()
    return Verdict(
        records=len(found),
        missing=len(expected.keys() - found.keys()),
        duplicate=len(found.keys() - expected.keys()),
        differing=sum(_bits(expected[at]) != _bits(found[at]) for at in both),
    )


def _without_times(metrics: Mapping[str, float]) -> Mapping[str, float]:
    return {name: value for name, value in metrics.items() if name not in MOVING}


def _bits(metrics: Mapping[str, float]) -> dict[str, bytes]:
    return {name: b"nan" if math.isnan(value) else struct.pack("<d", value) for name, value in metrics.items()}


def _as_shown(value: float) -> float:
    return value + 0.0 if math.isfinite(value) else math.nan  # MLflow has neither infinities nor a negative zero
