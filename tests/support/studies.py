"""Sweeps in a real ledger whose results are made up: a trial's error is a function of its arm, settings and seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from stories import IDENTITY, PROGRAM

from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialRow, TrialStatus
from sweeps.results.grids import Grid
from sweeps.spec.programs import program_from_dict
from sweeps.spec.sweep import parse_document
from workers.contracts import Metric
from workers.reports import Record

EPOCHS = 2
RATES = (0.01, 0.1, 1.0)
GUESSING = 90.0


def table(settings: Sequence[Mapping[str, Any]], errors: Any) -> Grid:
    """A table with these errors, settings down and seeds across."""
    rows = np.asarray(errors, float)
    names = tuple(tuple(sorted(setting.items())) for setting in settings)
    seeds = tuple(range(rows.shape[1]))
    none = np.zeros_like(rows)
    return Grid(settings=names, seeds=seeds, errors=rows, decays=none, diverged=none)


Errors = Callable[[str, Mapping[str, Any], int], float]


def grid(kind: str = "constant", **axes: Any) -> dict[str, Any]:
    """An arm over all combinations of its axes; its own schedule has the rate 0.1 and the factor 0.5."""
    factor = {"decay_factor": 0.5} if kind == "abel" else {}
    own = {"schedule": {"kind": kind, "learning_rate": 0.1, **factor}}
    return own | ({"grid": {f"schedule.{name}": values for name, values in axes.items()}} if axes else {})


def drawn(kind: str, samples: int) -> dict[str, Any]:
    """An arm whose rates are drawn."""
    return grid(learning_rate={"log": [0.001, 1.0]}) | {"search": {"kind": kind, "samples": samples}}


def over_rates(arm: str, settings: Mapping[str, Any], seed: int) -> float:
    """Errors that rise by 10 points with each decade from the rate 0.1, and by 1 with each seed."""
    return 20 + 10 * abs(math.log10(settings.get("schedule.learning_rate", 0.1)) + 1) + seed


@dataclass(frozen=True)
class Recorder:
    """Writes finished sweeps into a ledger."""

    ledger: Ledger

    def sweep(
        self,
        name: str,
        arms: Mapping[str, Any],
        errors: Errors = over_rates,
        *,
        seeds: int = 3,
        metric: Metric = IDENTITY.metric,
        left: str = "",
        **spec: Any,
    ) -> str:
        """Record a sweep, and return its id. A trial with an error of NaN diverges at last; those of the arm ``left`` wait.

        The training loss is 2 in the first epoch and a hundredth of the error in the last.
        """
        document = {"name": name, "program": PROGRAM, "epochs": EPOCHS, "seeds": list(range(seeds)), "arms": arms}
        parsed = parse_document(document | spec)
        identity = replace(IDENTITY, metric=replace(metric, worst=GUESSING))
        known = {program_from_dict(PROGRAM): identity}
        sweep_id = self.ledger.create_sweep(name, parsed.to_dict(), parsed.expand(), known)
        invocation = self.ledger.begin_invocation(sweep_id)
        for trial in self.ledger.trials(sweep_id):
            if trial.arm != left:
                error = errors(trial.arm, trial.settings, trial.seed)
                self.ledger.commit(sweep_id, invocation, self._trained(trial, error, metric))
        status = SweepStatus.INTERRUPTED if left else SweepStatus.FINISHED
        self.ledger.end_invocation(sweep_id, invocation, status)
        return sweep_id

    def _trained(self, trial: TrialRow, error: float, metric: Metric) -> Batch:
        records, parent = [], IDENTITY.root(trial.seed)
        for epoch, loss in ((1, 2.0), (EPOCHS, error / 100)):
            key = sha256(f"{trial.id} {error} {epoch}".encode()).hexdigest()
            value = 99.0 if epoch == 1 or math.isnan(error) else error
            metrics = {"train_loss": loss, "weight_norm_sq": 1.0, "seconds": 1.0, metric.name: value}
            records.append(Record(key=key, parent=parent, epoch=epoch, metrics=metrics, finished_at_ms=epoch))
            parent = key
        status = TrialStatus.DIVERGED if math.isnan(error) else TrialStatus.FINISHED
        ended = {"trial": trial.id, "status": status, "epoch": EPOCHS, "error": None}
        return Batch(
            records=records,
            heads={trial.id: (parent, EPOCHS)},
            ended={trial.id: (status, None)},
            events=[
                ("progress", {"trials": [trial.id], "keys": [record.key for record in records]}),
                ("trial_ended", ended),
            ],
        )
