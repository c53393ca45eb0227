"""The only reader of MLflow: a sweep's runs as tidy frames, by trial and by trial, epoch and metric."""

import json
import math
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd

from services.retrying import reason
from services.settings import MLFLOW_ENVIRONMENT
from services.tracking import view
from services.tracking.damage import damage
from services.tracking.histories import FAULTS, histories
from services.tracking.projection import metric_key
from services.tracking.tags import epochs_of, unreadable, whole_number
from sweeps.ledger.records import TrialStatus
from sweeps.urls import without_credentials

os.environ.update(MLFLOW_ENVIRONMENT | os.environ)  # before the import: MLflow reads some of it there

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

ROWS_PER_PAGE = 1000
MARK = "abel.sweep"  # a sweep's name, as a tag of its own run and of its experiment, which people may rename
CURVES = (
    "weight_norm_sq",
    "test_error",
    "train_error",
    "train_loss",
    "learning_rate_first",
    *(f"dynamics/{name}" for name in ("growth", "decay", "alignment", "residual", "ratio", "balance")),
    *(f"dynamics/{name}" for name in ("change_sgd", "change_steps", "change")),
)
CURVE_COLUMNS = ("trial_id", "arm", "seed", "epoch", "metric", "value")
OUTCOMES = frozenset(status for status in TrialStatus if status.final)
TRIAL_COLUMNS = (
    *("trial_id", "run_id", "experiment_id", "number", "name", "arm", "kind", "seed"),
    *("outcome", "epoch", "epochs", "error", "settings"),
    *("decay_epochs", "bounce_epochs", "forced_epochs", "minimum_epochs"),
    *("minimum_test_error", "minimum_epoch", "final_test_error", "selected_test_error"),
)


class RunsError(Exception):
    """The tracking store cannot be read, or does not hold the sweep."""


class StoreDamaged(RunsError):
    """The tracking store's file is damaged."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """A sweep as the tracking store shows it.

    Args:
        sweep_id: id of the sweep.
        run_id: MLflow's id of the sweep's own run.
        about: tags of the sweep's own run, without their prefix ``abel.``.
        trials: one row per trial, by number; ``settings`` holds dicts, ``*_epochs`` tuples, ``*_error`` percent.
        curves: one row per trial, epoch (from 1) and metric.
    """

    sweep_id: str
    run_id: str
    about: Mapping[str, str]
    trials: pd.DataFrame
    curves: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        """The trials that came to their end, by the epochs or by their schedule; only these enter means."""
        return self.trials[self.trials["outcome"] == "finished"]

    def counted(self, guessing: float | None) -> pd.DataFrame:
        """The trials whose errors enter means and comparisons, diverged ones with that of guessing if it is known."""
        diverged = self.trials["outcome"] == "diverged"
        if guessing is None:
            return self.finished
        errors = [name for name in self.trials.columns if name.endswith("_test_error")]
        counts = self.trials.assign(**{name: self.trials[name].mask(diverged, guessing) for name in errors})
        return counts[diverged | (self.trials["outcome"] == "finished")]

    def curve(self, metric: str) -> pd.DataFrame:
        """One metric as a table: epochs down, trial ids across.

        Of a long trial the store shows some epochs only; there an epoch has the value of the last one shown before it.
        """
        chosen = self.curves[self.curves["metric"] == metric]
        table = chosen.pivot(index="epoch", columns="trial_id", values="value")
        every = range(1, int(table.index.max()) + 1) if len(table) else table.index
        return table.reindex(every).rename_axis("epoch").ffill(limit_area="inside")

    def by_seed(self, metric: str, trials: pd.DataFrame) -> pd.DataFrame:
        """One metric of some trials that differ in their seeds only: epochs down, seeds across."""
        seeds = dict(zip(trials["trial_id"], trials["seed"], strict=True))
        table = self.curve(metric)
        known = table[[trial for trial in table.columns if trial in seeds]].rename(columns=seeds)
        return known.sort_index(axis=1).dropna(how="all")


def load(tracking_uri: str, sweep_id: str, metrics: Sequence[str] = CURVES) -> Runs:
    """Read a sweep's runs and the full histories of some metrics.

    Raises:
        RunsError: the store is out of reach or does not know the sweep.
    """
    try:
        runs, _ = one_each(sweep_runs(MlflowClient(tracking_uri), sweep_id))
        parent = runs.pop("", None)
        if parent is None:
            place = without_credentials(tracking_uri)
            rule = f"must be in the tracking store, but {place} does not show it yet"
            raise RunsError(f"sweep {sweep_id}: {rule}; `abel track` brings it there")
        trials = list(runs.values())
        for run in trials:
            if fault := unreadable(run.data.tags):
                raise RunsError(f"run {run.info.run_name!r}: {fault}; `abel track SWEEP --rebuild` restores it")
        curves = _curves(tracking_uri, trials, metrics)
    except FAULTS as error:
        raise _unreadable(error, tracking_uri) from None
    return Runs(
        sweep_id=sweep_id,
        run_id=parent.info.run_id,
        about={name.removeprefix("abel."): text for name, text in parent.data.tags.items() if name.startswith("abel.")},
        trials=_trials(trials, curves),
        curves=curves,
    )


def _unreadable(error: Exception, tracking_uri: str) -> RunsError:
    where = f"tracking {without_credentials(tracking_uri)}"
    if broken := damage(error, tracking_uri):
        return StoreDamaged(f"{where}: {broken}")
    return RunsError(f"{where}: {reason(error)}")


def joined(named: Mapping[str, Runs]) -> Runs:
    """Several sweeps as one, each arm with its sweep's name before it; numbers and tags are those of no sweep."""

    def all_of(frames: Iterable[tuple[str, pd.DataFrame]], *columns: str) -> pd.DataFrame:
        renamed = (
            frame.assign(**{column: f"{name}: " + frame[column].astype(str) for column in columns})
            for name, frame in frames
        )
        return pd.concat(renamed, ignore_index=True)

    return Runs(
        sweep_id="",
        run_id="",
        about={},
        trials=all_of(((name, runs.trials) for name, runs in named.items()), "trial_id", "name", "arm"),
        curves=all_of(((name, runs.curves) for name, runs in named.items()), "trial_id", "arm"),
    )


def sweep_runs(client: MlflowClient, sweep_id: str) -> Iterator[Run]:
    """The live runs of a sweep, its own and its trials', oldest first, read in pages."""
    return _pages(_search(client, "abel.sweep_id", sweep_id, ROWS_PER_PAGE))


def experiment_with(client: MlflowClient, tag: str, text: str) -> Experiment | None:
    """The experiment of the oldest live run with a tag, whatever its name; None where no run has the tag."""
    run = next(iter(_search(client, tag, text, 1)(None)), None)
    return None if run is None else client.get_experiment(run.info.experiment_id)


def _search(client: MlflowClient, tag: str, text: str, size: int) -> Callable[[str | None], Any]:
    """What fetches the page of a token: live runs with a tag, in whatever experiment, oldest first."""
    wanted, order = f"tags.`{tag}` = '{text}'", ["attributes.start_time ASC"]
    known = [found.experiment_id for found in experiments(client)]  # never empty: MLflow makes a "Default" one
    return lambda token: client.search_runs(known, wanted, 1, size, order, token)


def experiments(client: MlflowClient, view_type: int = ViewType.ACTIVE_ONLY) -> Iterator[Experiment]:
    """All experiments of a store, read in pages."""
    return _pages(lambda token: client.search_experiments(view_type, page_token=token))


def comparison(tracking_uri: str, name: str, sweep_id: str) -> str:
    """Where below its address MLflow's UI compares a sweep's trials: on their prepared view, where there is one.

    Raises:
        RunsError: the store is out of reach or does not know the sweep.
    """
    try:
        experiment = experiment_with(MlflowClient(tracking_uri), "abel.sweep_id", sweep_id)
    except FAULTS as error:
        raise _unreadable(error, tracking_uri) from None
    if experiment is None:
        place = without_credentials(tracking_uri)
        raise RunsError(f"sweep {name!r}: must be in the tracking store, but {place} does not show it yet")
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART"}
    if view.TAG + view.key(sweep_id) in experiment.tags:
        query["viewStateShareKey"] = view.key(sweep_id)
    else:  # somebody has removed it
        query |= {"searchFilter": view.trials_of(sweep_id), "orderByKey": view.ORDER, "orderByAsc": "true"}
    return f"/#/experiments/{experiment.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def one_each(runs: Iterable[Run], prefer: Container[str] = ()) -> tuple[dict[str, Run], list[Run]]:
    """The run of each trial by the trial's id, the sweep's own by the empty id; and the runs that are one too many.

    A request that was given up may be carried out late, and then a trial has two runs. The one with an id among
    ``prefer`` is the trial's, else the one that shows more, else the first.
    """
    chosen: dict[str, Run] = {}
    extra = []
    for run in sorted(runs, key=lambda run: (run.info.run_id in prefer, *_shows(run)), reverse=True):
        name = run.data.tags.get("abel.trial_id", "")
        if name in chosen:
            extra.append(run)
        else:
            chosen[name] = run
    return chosen, extra


def _shows(run: Run) -> tuple[int, int]:
    tags = run.data.tags
    return whole_number(tags, "abel.epoch") or whole_number(tags, "abel.event"), len(tags) + len(run.data.params)


def _pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    page = fetch(None)
    yield from page
    while token := getattr(page, "token", None):
        page = fetch(token)
        yield from page


def _curves(tracking_uri: str, runs: Sequence[Run], metrics: Sequence[str]) -> pd.DataFrame:
    named = {metric_key(metric): metric for metric in metrics}
    points = histories(tracking_uri, [run.info.run_id for run in runs], list(named))
    tags = {run.info.run_id: run.data.tags for run in runs}
    of_run = [tags[run_id] for run_id in points["run_id"].cat.categories]
    codes = points["run_id"].cat.codes.to_numpy()
    columns = {
        "trial_id": points["run_id"].cat.rename_categories([tag["abel.trial_id"] for tag in of_run]),
        "arm": np.array([tag["abel.arm"] for tag in of_run], dtype=object)[codes],
        "seed": np.array([int(tag["abel.seed"]) for tag in of_run], dtype=np.int64)[codes],
        "epoch": points["epoch"],
        "metric": points["key"].cat.rename_categories(named),
        "value": points["value"],
    }
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS))


def _trials(runs: Sequence[Run], curves: pd.DataFrame) -> pd.DataFrame:
    errors = curves[curves["metric"] == "test_error"].dropna(subset=["value"]).sort_values("epoch")
    by_trial = {str(trial): group.set_index("epoch")["value"] for trial, group in errors.groupby("trial_id")}
    rows = [_trial(run, by_trial.get(run.data.tags["abel.trial_id"])) for run in runs]
    frame = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    return frame.sort_values("number", ignore_index=True)


def _trial(run: Run, errors: "pd.Series[float] | None") -> dict[str, Any]:
    tags = run.data.tags
    return {
        "trial_id": tags["abel.trial_id"],
        "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id,
        "number": int(tags["abel.number"]),
        "name": tags.get("abel.trial", run.info.run_name),  # the tag is newer than some stores; people rename runs
        "arm": tags["abel.arm"],
        "kind": tags["abel.kind"],
        "seed": int(tags["abel.seed"]),
        "outcome": tags["abel.outcome"],
        "epoch": whole_number(tags, "abel.epoch"),
        "epochs": int(tags["abel.epochs"]),
        "error": tags.get("abel.error", "") if tags["abel.outcome"] == "failed" else "",
        "settings": json.loads(tags["abel.settings"]),
        **{
            name: epochs_of(tags.get(f"abel.{name}", ""))
            for name in ("decay_epochs", "bounce_epochs", "forced_epochs", "minimum_epochs")
        },
        **_reached({} if errors is None else {int(str(epoch)): float(error) for epoch, error in errors.items()}),
        **_told(run),
    }


def _told(run: Run) -> dict[str, Any]:
    """The test errors that the store has of a trial that has ended; they are right also where its curve has gaps.

    Of one that diverged it has the error of guessing, and its curve tells what was recorded.
    """
    known, outcome = run.data.metrics, run.data.tags["abel.outcome"]
    if outcome not in OUTCOMES or outcome == TrialStatus.DIVERGED or "minimum_epoch" not in known:
        return {}
    errors = {name: known[name] for name in ("minimum_test_error", "final_test_error")}
    errors["selected_test_error"] = known.get("selected_test_error", math.nan)  # earlier versions did not tell it
    return {**errors, "minimum_epoch": int(known["minimum_epoch"])}


def _reached(errors: Mapping[int, float]) -> dict[str, Any]:
    if not errors:
        return {"minimum_test_error": float("nan"), "minimum_epoch": 0, "final_test_error": float("nan")}
    best = min(errors, key=lambda epoch: (errors[epoch], epoch))
    return {"minimum_test_error": errors[best], "minimum_epoch": best, "final_test_error": errors[max(errors)]}
