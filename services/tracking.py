"""The only writer to MLflow: tails a sweep's events in the ledger and shows them as runs, in a process of its own.

    python -m services.tracking --ledger URL --sweep ID --tracking-uri URI --artifacts DIR [--follow]

Training never waits for it. Whatever was sent may be sent again: runs are found by their tags before they are made,
points keep the timestamps of their records (to MLflow a point with the same key, step, value and timestamp is the same
point), and the ledger remembers the last event that the store has acknowledged. So the answer to any fault is to forget
what was known of the store and to go on from there.

With ``--follow`` it ends when the sweep has ended and its last event is shown, or when the process that started it is
gone. Exit code 0: everything that the ledger holds is shown. 1: the store is out of reach or refuses, or a signal came;
run it again to go on. 2: the arguments are wrong.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from services import projection
from services.patience import Ending, Patience, Stop, persist, reason, sole
from services.projection import Change, Point
from services.runs import is_trial, sweep_runs
from services.settings import MLFLOW_ENVIRONMENT, Settings, SettingsError, is_server, without_credentials
from sweeps.database import LedgerError
from sweeps.ledger import Ledger
from sweeps.rows import EventRow, StateRow, SweepStatus, TrialRow, TrialStatus

os.environ.update(MLFLOW_ENVIRONMENT | os.environ)  # before the import: MLflow reads some of it there

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

EVENTS_PER_PAGE = 500
POINTS_PER_REQUEST = 900  # MLflow takes 1,000 entities a request, and the last request carries tags and parameters too
FAULTS = (MlflowException, OSError, SQLAlchemyError)
REFUSED = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "INVALID_PARAMETER_VALUE",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "UNAUTHENTICATED",
    }
)
ENDED_AS = {str(TrialStatus.FINISHED): "FINISHED"}  # a trial that diverged or failed is red in MLflow's list
SHOWN_AS = {
    SweepStatus.RUNNING: "RUNNING",
    SweepStatus.FINISHED: "FINISHED",
    SweepStatus.INTERRUPTED: "KILLED",
    SweepStatus.FAILED: "FAILED",
}


class TrackingError(Exception):
    """The tracking store does not hold what was asked for, or must be put right by hand."""


@dataclass
class _Shown:
    """What the store is known to show of one run."""

    run_id: str
    status: str
    has_parameters: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> "_Shown":
        return cls(run.info.run_id, run.info.status, bool(run.data.params), dict(run.data.tags))

    @property
    def epoch(self) -> int:
        """All points up to this epoch are in the store."""
        return int(self.tags.get("abel.epoch", "0"))


class Projector:
    """Shows one sweep of a ledger in one tracking store."""

    def __init__(self, ledger: Ledger, sweep_id: str, tracking_uri: str, artifacts: Path) -> None:
        self._ledger = ledger
        self._sweep = ledger.sweep(sweep_id)
        self._target = without_credentials(tracking_uri)
        # A server keeps artifacts where it was told to; beside a database they lie here, in folders named by run ids.
        self._location = None if is_server(tracking_uri) else artifacts.absolute().as_uri()
        self._client = MlflowClient(tracking_uri)
        self._experiment = ""
        self._parent: _Shown | None = None
        self._trials: dict[str, _Shown] = {}
        self._rows: dict[str, TrialRow] = {}
        self.offset = 0

    def step(self) -> bool:
        """Show the next page of events and note that it is shown; returns whether more is waiting.

        Raises:
            MlflowException, OSError, SQLAlchemyError: the store is out of reach or refuses; the next call starts anew.
            TrackingError: the store must be put right by hand.
        """
        try:
            parent = self._parent or self._connect()
            page = self._ledger.events(self._sweep.id, after=self.offset, limit=EVENTS_PER_PAGE)
            if page:
                self._show(parent, page)
                self._ledger.save_tracking_offset(self._sweep.id, self._target, page[-1].id)
                self.offset = page[-1].id
        except Exception:
            self._parent = None
            raise
        return len(page) == EVENTS_PER_PAGE

    def running(self) -> bool:
        """Whether the ledger has the sweep as running, so that more events may come."""
        return self._ledger.sweep(self._sweep.id).status is SweepStatus.RUNNING

    def _connect(self) -> _Shown:
        """Learn what the store shows already; where the sweep's own run is gone, everything is shown again."""
        self._experiment = self._find_experiment()
        self._rows = self._read_rows()
        known = list(sweep_runs(self._client, self._sweep.id))
        self._trials = {run.data.tags["abel.trial_id"]: _Shown.of(run) for run in known if is_trial(run)}
        parent = next((_Shown.of(run) for run in known if not is_trial(run)), None)
        self.offset = self._ledger.tracking_offset(self._sweep.id, self._target) if parent else 0
        parent = parent or self._make_parent()
        if "abel.spec" not in parent.tags:
            self._describe(parent)
        self._parent = parent
        return parent

    def _describe(self, parent: _Shown) -> None:
        """Show what the spec says, as a file and in the tags of the sweep's run."""
        self._client.log_dict(parent.run_id, dict(self._sweep.spec), "spec.yaml")
        self._send(parent, tags=projection.sweep_tags(self._sweep, len(self._rows)) | {"abel.spec": "spec.yaml"})

    def _read_rows(self) -> dict[str, TrialRow]:
        return {row.id: row for row in self._ledger.trials(self._sweep.id)}

    def _find_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._sweep.name)
        if experiment is None:
            # Without its kind MLflow takes an experiment for one of language models, and opens it on an empty page.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(self._sweep.name, artifact_location=self._location, tags=kind))
        if experiment.lifecycle_stage == "deleted":
            cure = f"`mlflow experiments restore --experiment-id {experiment.experiment_id}` brings it back"
            raise TrackingError(f"experiment {self._sweep.name!r} in {self._target}: must not be deleted; {cure}")
        return str(experiment.experiment_id)

    def _make_parent(self) -> _Shown:
        tags = projection.sweep_tags(self._sweep, len(self._rows))
        name = f"sweep {self._sweep.name}"
        return _Shown.of(self._client.create_run(self._experiment, self._sweep.created_ms, tags, name))

    def _make_trial(self, row: TrialRow, parent: _Shown, started_ms: int) -> _Shown:
        tags = projection.trial_tags(row) | {"mlflow.parentRunId": parent.run_id}
        return _Shown.of(self._client.create_run(self._experiment, started_ms, tags, row.name))

    def _show(self, parent: _Shown, page: Sequence[EventRow]) -> None:
        changes = projection.changes(page)
        if any(change.ended for change in changes.values()):
            self._rows = self._read_rows()  # for the heads of those that have ended
        states = self._ledger.states({key for change in changes.values() for key in change.keys})
        for trial, change in changes.items():
            if trial not in self._trials:
                self._trials[trial] = self._make_trial(self._rows[trial], parent, change.first_ms)
            self._show_trial(self._rows[trial], self._trials[trial], change, states)
        self._show_sweep(parent, page)

    def _show_trial(self, row: TrialRow, shown: _Shown, change: Change, states: Mapping[str, StateRow]) -> None:
        news = self._news(row, shown, change, states)
        points, tags = projection.trial_update(shown.tags, change, news)
        if change.ended:
            points += projection.bounce_points(self._ledger.curve(self._head(row, change, states)))
        self._send(shown, points, tags, {} if shown.has_parameters else projection.trial_parameters(row))
        status = "RUNNING" if change.ended is None else ENDED_AS.get(tags["abel.outcome"], "FAILED")
        self._set_status(shown, status, change.ended.at_ms if change.ended else None)

    def _news(self, row: TrialRow, shown: _Shown, change: Change, states: Mapping[str, StateRow]) -> list[StateRow]:
        """The trial's records that the store lacks, in order: the events' own, or its path where they leave a gap."""
        news = [states[key] for key in change.keys if states[key].epoch > shown.epoch]
        last = news[-1].epoch if news else shown.epoch
        if [state.epoch for state in news] != list(range(shown.epoch + 1, last + 1)):
            news = [state for state in self._ledger.curve(change.keys[-1]) if state.epoch > shown.epoch]
        if change.ended and (change.ended.payload.get("epoch") or 0) > last:
            head = self._head(row, change, states)
            news = [state for state in self._ledger.curve(head) if state.epoch > shown.epoch]
        return news

    def _head(self, row: TrialRow, change: Change, states: Mapping[str, StateRow]) -> str | None:
        """The last state of a trial that has ended: that of its last event, or the ledger's where that comes later."""
        ended = change.ended.payload.get("epoch") if change.ended else None
        if change.keys and states[change.keys[-1]].epoch == ended:
            return change.keys[-1]
        return row.head

    def _show_sweep(self, parent: _Shown, page: Sequence[EventRow]) -> None:
        if any(event.kind == "sweep_described" for event in page):
            self._sweep = self._ledger.sweep(self._sweep.id)
            self._describe(parent)
        tags = projection.incident_tags(page)
        work = [event for event in page if event.kind != "sweep_described"]
        if not work or work[-1].kind != "sweep_ended":
            self._send(parent, tags=tags)
            if work:
                self._set_status(parent, "RUNNING")
            return
        status = SweepStatus(work[-1].payload["status"])
        cost = projection.cost_tags(self._ledger.trials(self._sweep.id), self._ledger.work(self._sweep.id))
        self._send(parent, tags=tags | cost)
        for shown in self._trials.values():
            if shown.status == "RUNNING":
                self._send(shown, tags={"abel.outcome": str(status)})
                self._set_status(shown, "KILLED", work[-1].at_ms)
        self._set_status(parent, SHOWN_AS[status], work[-1].at_ms)

    def _send(
        self,
        shown: _Shown,
        points: Sequence[Point] = (),
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Send points, then what vouches for them: a request stores its points before its tags."""
        metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points]
        new = {name: value for name, value in (tags or {}).items() if shown.tags.get(name) != value}
        full = max(0, len(metrics) - 1) // POINTS_PER_REQUEST * POINTS_PER_REQUEST
        for start in range(0, full, POINTS_PER_REQUEST):
            self._client.log_batch(shown.run_id, metrics[start : start + POINTS_PER_REQUEST])
        self._client.log_batch(
            shown.run_id,
            metrics[full:],
            [Param(name, value) for name, value in (parameters or {}).items()],
            [RunTag(name, value) for name, value in new.items()],
        )
        shown.tags |= new
        shown.has_parameters |= bool(parameters)

    def _set_status(self, shown: _Shown, status: str, ended_ms: int | None = None) -> None:
        if shown.status == status:
            return
        if ended_ms is None:
            self._client.update_run(shown.run_id, status)
        else:
            self._client.set_terminated(shown.run_id, status, ended_ms)
        shown.status = status


def attach_figure(settings: Settings, sweep_id: str, paths: Sequence[Path]) -> None:
    """Put a report's files on the sweep's own run, under ``report/``; files of the same name are replaced.

    Raises:
        TrackingError: the store does not know the sweep, or is out of reach.
    """
    name = Ledger.open(settings.ledger_url).sweep(sweep_id).name
    client = MlflowClient(settings.tracking_uri)
    try:
        parent = next((run for run in sweep_runs(client, sweep_id) if not is_trial(run)), None)
        if parent is None:
            raise TrackingError(f"sweep {name!r}: has no run in {without_credentials(settings.tracking_uri)} yet")
        for path in paths:
            client.log_artifact(parent.info.run_id, str(path), "report")
    except FAULTS as error:
        raise TrackingError(f"tracking {without_credentials(settings.tracking_uri)}: {reason(error)}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the projector; returns the exit code."""
    options = _options(argv)
    stop = Stop(follow=options.follow)
    name = hashlib.sha256(f"{options.sweep} {options.tracking_uri}".encode()).hexdigest()[:16]
    while not (stop.told or stop.alone):
        with sole(options.artifacts / f".projector-{name}.lock") as held:
            if held:
                return _project(options, stop)
        time.sleep(1.0)  # another projector is at this sweep, perhaps one whose command was killed a moment ago
    return 1


def _project(options: argparse.Namespace, stop: Stop) -> int:
    def say(line: str) -> None:
        print(f"tracking {without_credentials(options.tracking_uri)}: {line}", file=sys.stderr, flush=True)

    try:
        url = options.ledger or Settings.from_env().ledger_url
        projector = Projector(Ledger.open(url), options.sweep, options.tracking_uri, options.artifacts)
    except (LedgerError, SettingsError) as error:
        say(str(error))
        return 2
    if options.follow:
        os.nice(10)  # training comes first
    try:
        ending = persist(
            projector.step,
            lambda: options.follow and not stop.alone and projector.running(),
            faults=FAULTS,
            refused=lambda error: isinstance(error, MlflowException) and error.error_code in REFUSED,
            say=say,
            stopped=lambda: stop.told,
            patience=Patience(give_up_after_seconds=options.give_up_after),
        )
    except TrackingError as error:
        say(str(error))
        return 1
    return 0 if ending is Ending.DONE else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.tracking", description="Show a sweep in MLflow.")
    add = parser.add_argument
    add("--ledger", metavar="URL", help="the ledger's URL (default: that of ABEL_LEDGER)")
    add("--sweep", required=True, metavar="ID", help="id of the sweep, or a name for the newest sweep of that name")
    add("--tracking-uri", required=True, metavar="URI", help="MLflow database or server")
    add("--artifacts", required=True, metavar="DIR", type=Path, help="where files lie beside a database")
    add("--follow", action="store_true", help="wait for more until the sweep ends, or whoever started this does")
    add(
        "--give-up-after",
        type=float,
        default=Patience().give_up_after_seconds,
        metavar="SECONDS",
        help="how long to try an unreachable store once the sweep has ended (default: %(default).0f)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
