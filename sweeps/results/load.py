"""Loads results from the ledger; every verdict, figure and file starts here."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from abel.schedules import Event
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import EventRow, StateRow, SweepRow, TrialRow, TrialStatus
from sweeps.results import summary
from sweeps.results.frames import CURVE_COLUMNS, CURVES, EVENT_COLUMNS, LAYER, TRIAL_COLUMNS, Frames
from workers.contracts import Metric


def load(ledger: Ledger, sweep: SweepRow, metrics: Sequence[str] = CURVES) -> Frames:
    """Return a sweep's trials, the curves of its metric and of some others, and its schedules' decisions.

    The norm of each parameter is among them if the sweep's figure or claims are about layers.

    Needs neither a tracking store nor the plug-ins of the sweep.

    Raises:
        LedgerDamaged: some of it is damaged or missing.
    """
    trials = ledger.trials(sweep.id)
    decisions: dict[str, list[EventRow]] = defaultdict(list)
    for event in ledger.events_of(sweep.id, "schedule"):
        decisions[event.payload["trial"]].append(event)
    by_layer = "layers" in (sweep.spec.get("figure"), *(sweep.spec.get("claims") or {}).get("tested", ()))
    rows, curves, named = [], [], dict.fromkeys((sweep.metric.name, *metrics))
    for trial, states in zip(trials, ledger.curves(sweep, trials), strict=True):
        rows.append(_row(trial, states, decisions[trial.id], sweep.metric))
        known = states[0].metrics if states else {}
        of_layers = (metric for metric in known if by_layer and metric.startswith(LAYER))
        curves += [(trial, states, metric) for metric in (*(one for one in named if one in known), *of_layers)]
    return Frames(
        trials=pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)),
        curves=_curves(curves),
        events=_events(trials, decisions),
        spec=sweep.spec,
        work=ledger.work(sweep.id),
        metric=sweep.metric,
    )


def _row(
    trial: TrialRow, states: Sequence[StateRow], decisions: Sequence[EventRow], metric: Metric
) -> Mapping[str, Any]:
    result = summary.trial_result(trial, states, metric)
    lists = {
        name: tuple(sorted({row.payload["epoch"] for row in decisions if Event(row.payload["event"]) & flags}))
        for name, flags in summary.EPOCH_LISTS.items()
    }
    return {
        "trial_id": trial.id,
        "number": trial.number,
        "name": trial.name,
        "arm": trial.arm,
        "kind": str(trial.schedule["kind"]),
        "seed": trial.seed,
        "outcome": str(trial.status),
        "epoch": trial.epoch,
        "epochs": trial.epochs,
        "error": (trial.error or "") if trial.status is TrialStatus.FAILED else "",
        "settings": trial.settings,
        **lists,
        "minimum_error": _number(result.minimum_error),
        "minimum_epoch": _first(states, result.minimum_error, metric),
        "final_error": _number(result.final_error),
        "selected_error": _number(result.selected_error),
    }


def _first(states: Sequence[StateRow], error: float | None, metric: Metric) -> int:
    """Return the first epoch with this error; 0 if no epoch has it."""
    return next((state.epoch for state in states if metric.error_of(state.metrics) == error), 0)


def _number(error: float | None) -> float:
    return math.nan if error is None else error


def _curves(curves: Sequence[tuple[TrialRow, Sequence[StateRow], str]]) -> pd.DataFrame:
    """Return one long table of many curves; two million points are common."""
    if not curves:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    lengths = [len(states) for _, states, _ in curves]
    values = np.fromiter(
        (state.metrics.get(metric, math.nan) for _, states, metric in curves for state in states), float, sum(lengths)
    )

    def repeated(names: Sequence[str]) -> pd.Categorical:
        kinds = pd.CategoricalDtype(list(dict.fromkeys(names)))
        return pd.Categorical.from_codes(np.repeat(kinds.categories.get_indexer(pd.Index(names)), lengths), dtype=kinds)

    columns = {
        "trial_id": repeated([trial.id for trial, _, _ in curves]),
        "arm": repeated([trial.arm for trial, _, _ in curves]).astype(object),
        "seed": np.repeat([trial.seed for trial, _, _ in curves], lengths),
        "epoch": np.fromiter((state.epoch for _, states, _ in curves for state in states), np.int32, sum(lengths)),
        "metric": repeated([metric for _, _, metric in curves]),
        "value": np.where(np.isfinite(values), values, np.nan),
    }
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS))


def _events(trials: Sequence[TrialRow], decisions: Mapping[str, Sequence[EventRow]]) -> pd.DataFrame:
    rows = [
        (trial.id, trial.arm, trial.seed, event.payload["epoch"], str(flag.name).lower())
        for trial in trials
        for event in decisions.get(trial.id, ())
        for flag in Event(event.payload["event"])
    ]
    return pd.DataFrame(rows, columns=list(EVENT_COLUMNS))
