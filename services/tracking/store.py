"""The only writer to MLflow: a run for each sweep and one for each of its trials.

Everything may be sent again: runs are found by their tags before they are created, and points keep the timestamps of their
records (to MLflow, points with the same key, step, value and timestamp are the same point).
"""

import os
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from services.settings import MLFLOW_ENVIRONMENT, Settings
from services.tracking.batches import batches
from services.tracking.damage import damage
from services.tracking.projection import DataSet, MetricPoint
from services.tracking.runs import MARK, experiment_with, experiments, one_each, sweep_runs
from services.tracking.tag_parsing import whole_number
from services.tracking.view import SavedView
from services.upload_retries import reason
from sweeps.files import make_private
from sweeps.ledger.database import LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.urls import formerly_shown, is_server, sqlite_file, without_credentials

os.environ.update(MLFLOW_ENVIRONMENT | os.environ)  # before the import: MLflow reads some of it there

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

FAULTS = (MlflowException, OSError, SQLAlchemyError, LedgerError)
REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "INVALID_PARAMETER_VALUE",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "UNAUTHENTICATED",
    }
)


class TrackingError(Exception):
    """The tracking store lacks what was requested, or must be repaired by hand."""


def is_refusal(error: Exception) -> bool:
    """Whether a store has understood a request and refuses it, so waiting does not help."""
    return isinstance(error, MlflowException) and error.error_code in REFUSALS


@dataclass
class Shown:
    """What the store is known to show of one run."""

    run_id: str
    status: str
    ended_ms: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, run: Run) -> "Shown":
        """The state that the store has just reported."""
        return cls(run.info.run_id, run.info.status, run.info.end_time, dict(run.data.tags), set(run.data.params))

    @property
    def epoch(self) -> int:
        """All points up to this epoch are in the store."""
        return whole_number(self.tags, "abel.epoch")

    @property
    def event(self) -> int:
        """The last of the ledger's events that a sweep's own run vouches for."""
        return whole_number(self.tags, "abel.event")


class Store:
    """A tracking store. Every method may raise one of :data:`FAULTS`; then what the store shows is unknown."""

    def __init__(self, tracking_uri: str, artifacts: Path) -> None:
        self.target = without_credentials(tracking_uri)
        self.former_target = formerly_shown(tracking_uri)
        # A server keeps artifacts where it was configured to; for a database they are here, in folders named by run ids.
        if (file := sqlite_file(tracking_uri)) is not None:
            make_private(file.parent)
        self._location = None if is_server(tracking_uri) else artifacts.absolute().as_uri()
        self._uri = tracking_uri
        self._sqlite = None if file is None else tracking_uri

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(self._uri)  # which opens a database

    def experiment(self, name: str, sweep_id: str) -> str:
        """The id of a sweep's experiment, created if the store has none.

        Users may rename an experiment. So it is the one with the sweep's runs, else the one marked with the sweep's name,
        else one of this name that is empty or has sweeps. An experiment with other work is left alone.

        Raises:
            TrackingError: the experiment is deleted.
        """
        found = self._holding(name, sweep_id) or self._marked(name) or self._named(name)
        if found is None:
            return self._create(name, sweep_id)
        if found.lifecycle_stage == "deleted":
            cure = f"`mlflow experiments restore --experiment-id {found.experiment_id}` restores it"
            raise TrackingError(f"experiment {found.name!r} in {self.target}: must not be deleted; {cure}")
        if MARK not in found.tags:
            self._client.set_experiment_tag(found.experiment_id, MARK, name)
        return str(found.experiment_id)

    def _holding(self, name: str, sweep_id: str) -> Experiment | None:
        """The experiment with this sweep's runs, else with those of another sweep of its name."""
        own = experiment_with(self._client, "abel.sweep_id", sweep_id)
        return own or experiment_with(self._client, MARK, name)

    def _marked(self, name: str) -> Experiment | None:
        """The oldest experiment marked with a sweep's name; a deleted one only if there is no other."""
        marked = [found for found in experiments(self._client, ViewType.ALL) if found.tags.get(MARK) == name]
        return min(marked, key=lambda found: (found.lifecycle_stage == "deleted", found.creation_time), default=None)

    def _named(self, name: str) -> Experiment | None:
        """The experiment of a name, unless it is marked with a sweep's name or has only other runs."""
        found = self._client.get_experiment_by_name(name)
        if found is None or MARK in found.tags:
            return None
        runs = (
            self._client.search_runs([found.experiment_id], wanted, ViewType.ALL, 1)
            for wanted in ("tags.`abel.sweep_id` LIKE '%'", "")
        )
        ours, all_runs = runs
        return found if ours or not all_runs else None

    def _create(self, name: str, sweep_id: str) -> str:
        names = (name, f"{name} (abel)", f"{name} (abel, {sweep_id})")  # deleted experiments keep their names
        free = next((each for each in names if self._client.get_experiment_by_name(each) is None), name)
        # Without a kind, MLflow takes an experiment for a language-model one and opens it on an empty page.
        tags = {"mlflow.experimentKind": "custom_model_development", MARK: name}
        return str(self._client.create_experiment(free, artifact_location=self._location, tags=tags))

    def save_view(self, experiment: str, view: SavedView) -> None:
        """Save a view of MLflow's UI in the experiment; one of the same key is replaced."""
        self._client.set_experiment_tag(experiment, view.tag, view.text)

    def runs(self, sweep_id: str, prefer: Container[str] = ()) -> dict[str, Shown]:
        """The runs of a sweep's trials by trial id, and its own under the empty id; duplicate runs are deleted."""
        chosen, extra = one_each(sweep_runs(self._client, sweep_id), prefer)
        for run in extra:
            self._client.delete_run(run.info.run_id)
        return {name: Shown.of(run) for name, run in chosen.items()}

    def make(self, experiment: str, name: str, started_ms: int, tags: Mapping[str, str]) -> Shown:
        """Create a run."""
        return Shown.of(self._client.create_run(experiment, started_ms, dict(tags), name))

    def use(self, shown: Shown, data: DataSet) -> None:
        """Record the data set that a run is trained on."""
        dataset = Dataset(data.name, data.digest, "abel", data.source, profile=data.profile)
        context = InputTag(MLFLOW_DATASET_CONTEXT, "training")
        self._client.log_inputs(shown.run_id, [DatasetInput(dataset, [context])])

    def attach(self, shown: Shown, document: Mapping[str, Any], file: str) -> None:
        """Attach a document to a run as a file."""
        self._client.log_dict(shown.run_id, dict(document), file)

    def count(self) -> None:
        """Update SQLite's index statistics, if the store is SQLite: without them, it reads a metric's points of all runs."""
        if self._sqlite is None:
            return
        engine = create_engine(self._sqlite)
        try:
            with engine.begin() as connection:
                connection.execute(text("PRAGMA analysis_limit = 1000"))  # rows to examine per index
                connection.execute(text("ANALYZE metrics"))
        finally:
            engine.dispose()

    def send(
        self,
        shown: Shown,
        points: Sequence[MetricPoint] = (),
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Send points, and the parameters and tags that the run lacks; tags come last, since they vouch for the rest."""
        new = {name: value for name, value in (tags or {}).items() if shown.tags.get(name) != value}
        missing = {name: value for name, value in (parameters or {}).items() if name not in shown.parameters}
        for batch in batches(points, missing, new):
            self._client.log_batch(
                shown.run_id,
                [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in batch.points],
                [Param(name, value) for name, value in batch.parameters],
                [RunTag(name, value) for name, value in batch.tags],
            )
        shown.tags |= new
        shown.parameters |= missing.keys()

    def set_status(self, shown: Shown, status: str, ended_ms: int | None = None) -> None:
        """Set a run's status and, if it is final, the time of its end."""
        if shown.status == status:
            return
        if ended_ms is None:
            self._client.update_run(shown.run_id, status)
        else:
            self._client.set_terminated(shown.run_id, status, ended_ms)
        shown.status, shown.ended_ms = status, ended_ms


def attach_figure(settings: Settings, sweep_id: str, paths: Sequence[Path]) -> None:
    """Attach a report's files to the sweep's own run, under ``report/``; files of the same name are replaced.

    Raises:
        TrackingError: the store does not have the sweep, or is unreachable.
    """
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        name = ledger.sweep(sweep_id).name
    target = without_credentials(settings.tracking_uri)
    try:
        client = MlflowClient(settings.tracking_uri)
        runs, _ = one_each(sweep_runs(client, sweep_id))
        if "" not in runs:
            raise TrackingError(f"sweep {name!r}: has no run in {target} yet")
        for path in paths:
            client.log_artifact(runs[""].info.run_id, str(path), "report")
    except FAULTS as error:
        why = damage(error, settings.tracking_uri) or reason(error)
        raise TrackingError(f"tracking {target}: {why}") from None
