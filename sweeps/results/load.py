"""Loads results from the ledger; every verdict, measure, figure and file starts here."""

import hashlib
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abel.schedules import Event, ScheduleState
from sweeps.ledger.queries import Reading
from sweeps.ledger.records import StateRow, SweepRow, TrialRow, TrialStatus, encode
from sweeps.results import summary
from sweeps.results.frames import CURVE_COLUMNS, CURVES, EVENT_COLUMNS, LAYER, TOTAL_NORM, TRIAL_COLUMNS, Frames
from sweeps.results.values import Chance
from sweeps.spec.programs import replaced
from workers.contracts import Metric


class _Curve(NamedTuple):
    """One metric of one trial, f64[epochs]; NaN if a value was not finite."""

    trial: TrialRow
    metric: str
    values: NDArray[np.float64]


def load(
    ledger: Reading, sweep: SweepRow, metrics: Sequence[str] = CURVES, arms: Container[str] | None = None
) -> Frames:
    """Return a sweep's trials, the curves of its metric and of some others, and its schedules' decisions.

    Args:
        arms: the arms whose trials are read; by default all.

    The decisions are those of a schedule that observes the recorded epochs again. With the squared norm comes that of each
    parameter if the sweep's figure or claims are about layers. The epochs of one trial are in memory at a time.

    Needs neither a tracking store nor the plug-ins of the sweep.

    Raises:
        LedgerDamaged: some of it is damaged or missing.
    """
    asked = tuple(dict.fromkeys((sweep.metric.name, *metrics)))
    by_layer = TOTAL_NORM in metrics and _is_about_layers(sweep.spec)
    rows, curves, events = list[Mapping[str, Any]](), list[_Curve](), list[tuple[Any, ...]]()
    trials = [trial for trial in ledger.trials(sweep.id) if arms is None or trial.arm in arms]
    for trial, epochs in zip(trials, ledger.curves(sweep, trials), strict=True):
        after = summary.schedule_states(trial.schedule, epochs)
        rows.append(_row(trial, epochs, after, sweep.metric))
        curves += _curves(trial, epochs, asked, sweep.metric, by_layer=by_layer)
        events += _events(trial, after)
    return Frames(
        trials=pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)),
        curves=_long(curves),
        events=pd.DataFrame(events, columns=list(EVENT_COLUMNS)),
        spec=sweep.spec,
        work=ledger.work(sweep.id),
        metric=sweep.metric,
        chance=_chance(sweep, trials),
        programs={trial.name: _program_digest(trial) for trial in trials},
    )


def _chance(sweep: SweepRow, trials: Sequence[TrialRow]) -> Chance:
    metrics = {encode(one.program): one.metric for one in reversed(sweep.identities)}
    known = {trial.name: metrics.get(encode(trial.program)) for trial in trials}
    guesses = {name: one.worst_error for name, one in known.items() if one is not None and one.worst_error is not None}
    return Chance(guesses=guesses, is_by_hand=bool(sweep.metric.bounds_of))


def _program_digest(trial: TrialRow) -> str:
    program = trial.program
    for name in trial.settings:
        if name.startswith("program."):
            program = replaced(program, name.removeprefix("program."), None)
    return hashlib.sha256(encode(program).encode()).hexdigest()[:16]


def _is_about_layers(spec: Mapping[str, Any]) -> bool:
    return "layers" in (spec.get("figure"), *(spec.get("claims") or {}).get("tested", ()))


def _row(
    trial: TrialRow, epochs: Sequence[StateRow], after: Sequence[ScheduleState], metric: Metric
) -> Mapping[str, Any]:
    result = summary.curve_result(epochs, after, metric)
    lists = {
        name: tuple(state.epoch for state in after if state.event & flags)
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
        "minimum_error": _number(result.minimum),
        "minimum_epoch": _first(epochs, result.minimum, metric),
        "final_error": _number(result.final),
        "selected_error": _number(result.selected),
    }


def _first(epochs: Sequence[StateRow], error: float | None, metric: Metric) -> int:
    """Return the first epoch with this error; 0 if no epoch has it."""
    if error is None:
        return 0
    return next((one.epoch for one in epochs if metric.error_in(one.epoch, one.metrics) == error), 0)


def _number(error: float | None) -> float:
    return math.nan if error is None else error


def _events(trial: TrialRow, after: Sequence[ScheduleState]) -> Iterator[tuple[Any, ...]]:
    for state in after:
        for flag in Event(state.event):
            yield trial.id, trial.arm, trial.seed, state.epoch, str(flag.name).lower()


def _curves(
    trial: TrialRow, epochs: Sequence[StateRow], asked: Sequence[str], metric: Metric, *, by_layer: bool
) -> Iterator[_Curve]:
    known = epochs[0].metrics if epochs else {}
    layers = (name for name in known if by_layer and name.startswith(LAYER))
    for name in (*(one for one in asked if one in known), *layers):
        values = np.array([one.metrics.get(name, math.nan) for one in epochs])
        measured = [name != metric.name or metric.is_measured(one.epoch) for one in epochs]
        yield _Curve(trial, name, np.where(np.isfinite(values) & measured, values, np.nan))


def _long(curves: Sequence[_Curve]) -> pd.DataFrame:
    """Return one table of many curves, a row per value; two million are common."""
    if not curves:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    lengths = [len(one.values) for one in curves]

    def repeated(names: Sequence[str]) -> pd.Categorical:
        kinds = pd.CategoricalDtype(list(dict.fromkeys(names)))
        return pd.Categorical.from_codes(np.repeat(kinds.categories.get_indexer(pd.Index(names)), lengths), dtype=kinds)

    columns = {
        "trial_id": repeated([one.trial.id for one in curves]),
        "arm": repeated([one.trial.arm for one in curves]).astype(object),
        "seed": np.repeat([one.trial.seed for one in curves], lengths),
        "epoch": np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]),
        "metric": repeated([one.metric for one in curves]),
        "value": np.concatenate([one.values for one in curves]),
    }
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS))
