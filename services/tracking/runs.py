"""The runs of a sweep in a tracking store, and where MLflow's UI shows them. Results are never read from here."""

import os
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

from services.settings import MLFLOW_ENVIRONMENT
from services.tracking import view
from services.tracking.damage import damage
from services.tracking.tag_parsing import whole_number
from services.upload_retries import reason
from sweeps.ledger.records import SweepRow
from sweeps.urls import without_credentials

os.environ.update(MLFLOW_ENVIRONMENT | os.environ)  # before the import: MLflow reads some of it there

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

FAULTS = (MlflowException, OSError, SQLAlchemyError)
ROWS_PER_PAGE = 1000
MARK = "abel.sweep"  # a sweep's name, as a tag of its own run and of its experiment, which people may rename


class RunsError(Exception):
    """The tracking store cannot be read, or does not have the sweep."""


class StoreDamaged(RunsError):
    """The tracking store's file is damaged."""


def places(tracking_uri: str, sweep_id: str) -> dict[str, str]:
    """Each trial's address in MLflow's UI below its base URL, by trial id; only for trials that have a run.

    Raises:
        RunsError: the store is unreachable or damaged.
    """
    try:
        runs, _ = one_each(sweep_runs(MlflowClient(tracking_uri), sweep_id))
    except FAULTS as error:
        raise _unreadable(error, tracking_uri) from None
    return {
        trial: f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" for trial, run in runs.items() if trial
    }


def _unreadable(error: Exception, tracking_uri: str) -> RunsError:
    where = f"tracking {without_credentials(tracking_uri)}"
    if broken := damage(error, tracking_uri):
        return StoreDamaged(f"{where}: {broken}")
    return RunsError(f"{where}: {reason(error)}")


def sweep_runs(client: MlflowClient, sweep_id: str) -> Iterator[Run]:
    """The live runs of a sweep, its own and its trials', oldest first, read in pages."""
    return _pages(_search(client, "abel.sweep_id", sweep_id, ROWS_PER_PAGE))


def experiment_with(client: MlflowClient, tag: str, text: str) -> Experiment | None:
    """The experiment of the oldest live run with a tag, whatever its name; None if no run has the tag."""
    run = next(iter(_search(client, tag, text, 1)(None)), None)
    return None if run is None else client.get_experiment(run.info.experiment_id)


def _search(client: MlflowClient, tag: str, text: str, size: int) -> Callable[[str | None], Any]:
    """A function that fetches the page of a token: live runs with a tag, in any experiment, oldest first."""
    wanted, order = f"tags.`{tag}` = '{text}'", ["attributes.start_time ASC"]
    known = [found.experiment_id for found in experiments(client)]  # never empty: MLflow makes a "Default" one
    return lambda token: client.search_runs(known, wanted, 1, size, order, token)


def experiments(client: MlflowClient, view_type: int = ViewType.ACTIVE_ONLY) -> Iterator[Experiment]:
    """All experiments of a store, read in pages."""
    return _pages(lambda token: client.search_experiments(view_type, page_token=token))


def comparison(tracking_uri: str, sweep: SweepRow) -> str:
    """The address in MLflow's UI, below its base URL, that compares a sweep's trials: on the saved view, if there is one.

    Raises:
        RunsError: the store is unreachable or damaged, or does not have the sweep.
    """
    try:
        experiment = experiment_with(MlflowClient(tracking_uri), "abel.sweep_id", sweep.id)
    except FAULTS as error:
        raise _unreadable(error, tracking_uri) from None
    if experiment is None:
        place = without_credentials(tracking_uri)
        raise RunsError(f"sweep {sweep.name!r}: must be in the tracking store, but {place} does not show it yet")
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART"}
    if view.TAG + view.key(sweep.id) in experiment.tags:
        query["viewStateShareKey"] = view.key(sweep.id)
    else:  # the view was removed
        ascending = "false" if sweep.metric.higher_is_better else "true"
        order = {"orderByKey": view.order(sweep.metric), "orderByAsc": ascending}
        query |= {"searchFilter": view.trials_of(sweep.id), **order}
    return f"/#/experiments/{experiment.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def one_each(runs: Iterable[Run], prefer: Container[str] = ()) -> tuple[dict[str, Run], list[Run]]:
    """The run of each trial by trial id, the sweep's own under the empty id; and the duplicate runs.

    If the server carries out an abandoned request late, a trial has two runs. The one with an id in ``prefer`` is kept,
    else the one that shows more, else the first.
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
