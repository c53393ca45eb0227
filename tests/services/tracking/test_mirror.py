"""Tests for `services/tracking/mirror.py` on a real ledger and MLflow store; `test_outages.py` has the faults of a server."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from oracle import is_trial
from stories import Story

from services.tracking import mirror as mirrors
from services.tracking import projection, view
from services.tracking.mirror import Mirror
from services.tracking.runs import sweep_runs
from services.tracking.store import Store, TrackingError
from sweeps import catalog
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialRow, TrialStatus
from sweeps.results.load import load
from sweeps.spec.sweep import load_spec
from sweeps.urls import without_credentials
from workers.config import to_dict
from workers.trajectory import TEST_ERROR

Everything = Callable[[str, str], dict[str, Any]]
Points = dict[tuple[str, str], list[tuple[int, float, int]]]  # by run and metric: step, value, time
ONCE = (  # metrics without a curve
    "decay_event",
    "final_test_error",
    "minimum_epoch",
    "minimum_test_error",
    "norm_fall",
    "norm_minimum_epoch",
    "norm_rise",
    "selected_test_error",
)


def project(story: Story, uri: str, tmp_path: Path, *, rebuild: bool = False) -> Mirror:
    mirror = Mirror(story.ledger, story.sweep_id, Store(uri, tmp_path / "artifacts"), rebuild=rebuild)
    while mirror.step():
        pass
    return mirror


def shown(uri: str, story: Story) -> tuple[Run, dict[str, Run]]:
    runs = list(sweep_runs(MlflowClient(uri), story.sweep_id))
    (parent,) = [run for run in runs if not is_trial(run)]
    trials = {run.info.run_name: run for run in runs if is_trial(run)}
    assert len(trials) == len(runs) - 1
    return parent, trials


def points(uri: str, story: Story) -> Points:
    client = MlflowClient(uri)
    return {
        (run.info.run_name, key): [
            (p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, key)
        ]
        for run in sweep_runs(client, story.sweep_id)
        for key in run.data.metrics
    }


@pytest.fixture
def small(story: Story) -> Story:
    story.seeds, story.epochs, story.decays = 2, 6, (2,)
    return story.begin()


@dataclass(frozen=True)
class Projected:
    """A finished sweep with what an MLflow store has of it."""

    story: Story
    parent: Run
    trials: dict[str, Run]
    points: Points

    @property
    def rows(self) -> Sequence[TrialRow]:
        """Its trials in the ledger."""
        return self.story.ledger.trials(self.story.sweep_id)

    def curve(self, row: TrialRow, name: str) -> list[float]:
        """A metric of every epoch, from the ledger."""
        return [state.metrics[name] for state in self.story.ledger.curve(row.head)]

    def once(self, row: TrialRow, name: str) -> float:
        """A metric that a trial has once."""
        ((_, value, _),) = self.points[row.name, name]
        return value


@pytest.fixture(scope="module")
def projected(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Projected]:
    """Made once: no test writes to it."""
    place = tmp_path_factory.mktemp("projected")
    uri = f"sqlite:///{shutil.copy(empty_store, place / 'mlflow.db')}"
    with closing(Ledger.open(f"sqlite:///{place / 'ledger.db'}")) as ledger:
        story = Story(ledger, seeds=2, epochs=6, decays=(2,)).begin().tell().end()
        project(story, uri, place)
        yield Projected(story, *shown(uri, story), points(uri, story))


def test_a_sweep_s_run_says_what_it_cost(projected: Projected) -> None:
    parent = projected.parent
    assert parent.info.run_name == "sweep fig-s6a-digits"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["abel.epochs_naive"] == "36"
    assert int(parent.data.tags["abel.epochs_trained"]) < 36
    assert parent.data.tags["abel.version.jax"] == "0.10.2"


def test_every_trial_is_a_run_with_its_settings(projected: Projected) -> None:
    assert projected.trials.keys() == {row.name for row in projected.rows}
    for run in projected.trials.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == projected.parent.info.run_id
        assert run.data.tags["abel.outcome"] == "finished"
        assert run.data.params["schedule.learning_rate"] == "0.1"
        assert run.data.params["program.model.width"] == "16"


def test_a_run_names_the_data_it_trained_on(projected: Projected) -> None:
    for run in projected.trials.values():
        (trained_on,) = run.inputs.dataset_inputs
        assert (trained_on.dataset.name, trained_on.dataset.digest) == ("digit_pairs", "d" * 36)
        assert json.loads(trained_on.dataset.source)["kind"] == "digit_pairs"
        assert json.loads(trained_on.dataset.profile) == {"num_rows": 1500}
        assert [(tag.key, tag.value) for tag in trained_on.tags] == [("mlflow.data.context", "training")]


def test_a_run_has_the_full_curves_of_its_trial(projected: Projected) -> None:
    for row in projected.rows:
        for state in projected.story.ledger.curve(row.head):
            for key, value in state.metrics.items():
                point = projected.points[row.name, key.replace("/", ".")][state.epoch - 1]
                assert point == (state.epoch, value, state.finished_at_ms)
        lengths = {
            len(curve) for (name, key), curve in projected.points.items() if name == row.name and key not in ONCE
        }
        assert lengths == {6}


def test_a_run_has_the_bounce_and_the_errors_of_its_trial(projected: Projected) -> None:
    for row in projected.rows:
        once = partial(projected.once, row)
        norms, errors, losses = (projected.curve(row, name) for name in ("weight_norm_sq", "test_error", "train_loss"))
        assert projected.points[row.name, "norm_fall"][0][0] == 6
        assert once("norm_fall") == pytest.approx(1 - min(norms) / norms[0])
        assert norms[int(once("norm_minimum_epoch")) - 1] == min(norms)
        assert once("minimum_test_error") == errors[int(once("minimum_epoch")) - 1] == min(errors)
        assert once("final_test_error") == errors[-1]
        assert once("selected_test_error") == errors[losses.index(min(losses))]


def test_a_decay_is_a_tag_and_a_point_of_its_run(projected: Projected) -> None:
    decayed = projected.trials["decay-at decay_epoch=2 seed=0"]
    assert decayed.data.tags["abel.decay_epochs"] == "2"
    assert decayed.data.params["schedule.decay_epoch"] == "2"
    marks = projected.points["decay-at decay_epoch=2 seed=0", "decay_event"]
    assert [(step, value) for step, value, _ in marks] == [(2, 8.0)]


def test_a_program_that_the_sweep_does_not_know_has_no_data_set(small: Story) -> None:
    sweep, (trial, *_) = small.ledger.sweep(small.sweep_id), small.ledger.trials(small.sweep_id)
    assert projection.data_of(sweep, trial) is not None
    assert projection.data_of(sweep, replace(trial, program={**trial.program, "l2": 1.0})) is None


def test_the_data_set_of_every_entry_of_the_catalogue_has_a_name(small: Story) -> None:
    sweep, (trial, *_) = small.ledger.sweep(small.sweep_id), small.ledger.trials(small.sweep_id)
    found = {}
    for name in catalog.names():
        program = to_dict(load_spec(name).expand()[0].program)
        known = replace(sweep, identities=(replace(sweep.identities[0], program=program),))
        data = projection.data_of(known, replace(trial, program=program))
        assert data is not None
        found[program["task"]["kind"]] = data.name
    assert found.keys() >= {"classify", "translate", "glue", "masked_lm", "ppo"}
    assert found["masked_lm"] == "masked_lm", "its lines come from several files"


def test_abels_decisions_are_told_apart(story: Story, tracking_uri: str, tmp_path: Path) -> None:
    story.seeds, story.decays = 1, ()
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    tags = shown(tracking_uri, story)[1]["abel seed=0"].data.tags
    assert tags["abel.minimum_epochs"] == "9"
    assert tags["abel.bounce_epochs"] == "24"
    assert tags["abel.forced_epochs"] == "34"
    assert tags["abel.decay_epochs"] == "24,34"


def test_a_changed_description_reaches_the_sweeps_run(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    before = points(tracking_uri, small)
    spec = dict(small.ledger.sweep(small.sweep_id).spec) | {"title": "Another title"}
    small.ledger.describe_sweep(small.sweep_id, spec)
    project(small, tracking_uri, tmp_path)
    parent, _ = shown(tracking_uri, small)
    assert parent.data.tags["abel.title"] == "Another title"
    assert parent.info.status == "FINISHED"
    folder = MlflowClient(tracking_uri).download_artifacts(parent.info.run_id, "spec.yaml", str(tmp_path))
    assert "Another title" in Path(folder).read_text()
    assert points(tracking_uri, small) == before


def test_projecting_everything_again_adds_nothing(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    before = points(tracking_uri, small)
    project(small, tracking_uri, tmp_path)
    small.ledger.save_tracking_offset(small.sweep_id, without_credentials(tracking_uri), 0)
    for run in shown(tracking_uri, small)[1].values():
        MlflowClient(tracking_uri).set_tag(run.info.run_id, "abel.epoch", "0")  # as if killed before the tags
    project(small, tracking_uri, tmp_path)
    assert points(tracking_uri, small) == before


def test_a_sweep_that_is_taken_up_again_goes_on_in_the_same_runs(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    small.tell(upto=3).end(SweepStatus.INTERRUPTED)
    project(small, tracking_uri, tmp_path)
    parent, trials = shown(tracking_uri, small)
    assert parent.info.status == "KILLED"
    assert {(run.info.status, run.data.tags["abel.outcome"]) for run in trials.values()} == {("KILLED", "interrupted")}
    small.resume()
    small.tell(upto=4)
    project(small, tracking_uri, tmp_path)
    again, going = shown(tracking_uri, small)
    assert {again.info.status, *(run.info.status for run in going.values())} == {"RUNNING"}
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    last, ended = shown(tracking_uri, small)
    assert {name: run.info.run_id for name, run in ended.items()} == {n: run.info.run_id for n, run in trials.items()}
    assert {last.info.status, *(run.info.status for run in ended.values())} == {"FINISHED"}
    assert {len(curve) for (_, key), curve in points(tracking_uri, small).items() if key == "test_error"} == {6}


def test_what_the_events_left_out_is_taken_from_the_trials_path(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    small.tell(upto=2)
    offset = small.ledger.events(small.sweep_id)[-1].id
    project(small, tracking_uri, tmp_path / "unused")
    small.tell(upto=4).tell().end()
    for run in shown(tracking_uri, small)[1].values():
        MlflowClient(tracking_uri).delete_run(run.info.run_id)
    assert small.ledger.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == offset
    project(small, tracking_uri, tmp_path)
    assert {len(curve) for (_, key), curve in points(tracking_uri, small).items() if key == "test_error"} == {6}


def test_values_that_are_not_finite_become_nan_and_a_tag(story: Story, tracking_uri: str, tmp_path: Path) -> None:
    story.seeds, story.decays, story.diverging = 1, (), True
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    run = shown(tracking_uri, story)[1]["constant seed=0"]
    assert run.info.status == "FAILED"
    assert run.data.tags["abel.outcome"] == "diverged"
    assert run.data.tags["abel.outcome_epoch"] == "12"
    assert run.data.tags["nonfinite.train_loss"] == "nan in epoch 12"
    assert run.data.tags["nonfinite.test_loss"] == "inf in epoch 12"
    step, value, _ = points(tracking_uri, story)["constant seed=0", "test_loss"][-1]
    assert step == 12 and math.isnan(value)


def test_a_diverged_trial_is_ordered_as_guessing_and_its_record_stays(
    story: Story, tracking_uri: str, tmp_path: Path
) -> None:
    story.seeds, story.epochs, story.decays, story.diverging = 2, 14, (), True
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    parent, trials = shown(tracking_uri, story)
    wanted = view.trials_of(story.sweep_id)
    *_, last = MlflowClient(tracking_uri).search_runs(
        [parent.info.experiment_id], wanted, order_by=[f"{view.order(TEST_ERROR)} ASC"]
    )
    assert last.info.run_name == "constant seed=0"
    metrics = trials["constant seed=0"].data.metrics
    assert {metrics[f"{kind}_test_error"] for kind in ("minimum", "final", "selected")} == {99.0}
    kept = load(story.ledger, story.ledger.sweep(story.sweep_id)).trials.set_index("name").loc["constant seed=0"]
    (head,) = [row.head for row in story.ledger.trials(story.sweep_id) if row.name == "constant seed=0"]
    errors = [state.metrics["test_error"] for state in story.ledger.curve(head)]
    assert (kept["minimum_error"], kept["final_error"]) == (min(errors), errors[-1])
    assert list(projection.guessing_points(story.ledger.curve(head), TEST_ERROR)) == []


def test_a_store_that_lost_the_sweep_is_filled_again(
    small: Story, tracking_uri: str, tmp_path: Path, empty_store: Path
) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    client, (parent, trials) = MlflowClient(tracking_uri), shown(tracking_uri, small)
    before = points(tracking_uri, small)
    for run in (parent, *trials.values()):
        client.delete_run(run.info.run_id)
    project(small, tracking_uri, tmp_path)
    assert points(tracking_uri, small) == before


def test_a_deleted_experiment_is_reported_with_its_cure(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri)
    client.delete_experiment(client.create_experiment(small.name))
    with pytest.raises(TrackingError, match="must not be deleted; `mlflow experiments restore"):
        project(small, tracking_uri, tmp_path)


def test_the_ledger_is_only_read_and_the_offset_moved(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    before = (small.ledger.sweeps(), small.ledger.trials(small.sweep_id), small.ledger.events(small.sweep_id))
    mirror = project(small, tracking_uri, tmp_path)
    other = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert (other.sweeps(), other.trials(small.sweep_id), other.events(small.sweep_id)) == before
    assert other.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == mirror.offset == before[2][-1].id
    other.close()


@pytest.fixture
def eventful(story: Story) -> Story:
    """A sweep to which everything happens, shown by nobody yet: a stop, a failure, incidents, a divergence."""
    story.seeds, story.epochs, story.decays, story.diverging = 2, 14, (2,), True
    story.begin().tell(upto=3)
    first, second = story.ledger.trials(story.sweep_id)[:2]
    failed = {"trial": first.id, "status": TrialStatus.FAILED, "epoch": 3, "error": "Boom: no"}
    incident = {"class": "infrastructure", "text": "a worker is gone", "trials": [first.id, second.id], "epoch": 3}
    events = [("incident", incident), ("trial_ended", failed), ("note", {"text": "hello"})]
    story.ledger.commit(
        story.sweep_id, story.invocation, Batch(ended={first.id: (TrialStatus.FAILED, "Boom: no")}, events=events)
    )
    story.end(SweepStatus.INTERRUPTED)
    return story


def go_on(story: Story) -> None:
    story.resume()
    story.tell(upto=5).tell().end()


def test_the_store_comes_out_the_same_however_its_events_were_read(
    eventful: Story, everything: Everything, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, small_pages, at_once = (f"sqlite:///{shutil.copy(empty_store, tmp_path / f'{i}.db')}" for i in range(3))
    project(eventful, live, tmp_path)
    go_on(eventful)
    project(eventful, live, tmp_path)
    project(eventful, at_once, tmp_path)
    monkeypatch.setattr(mirrors, "EVENTS_PER_PAGE", 1)
    project(eventful, small_pages, tmp_path)
    expected = everything(live, eventful.sweep_id)
    assert everything(at_once, eventful.sweep_id) == expected
    assert everything(small_pages, eventful.sweep_id) == expected
    tags = expected["decay-at decay_epoch=2 seed=0"]["tags"]
    assert tags["abel.error"] == "none; an earlier attempt failed"
    assert (tags["abel.incidents"], tags["abel.incident"]) == ("1", "a worker is gone")
    assert expected["sweep fig-s6a-digits"]["tags"]["abel.incidents"] == "1"


def test_a_rebuild_repairs_what_is_missing_and_doubles_nothing(
    eventful: Story, everything: Everything, tracking_uri: str, tmp_path: Path
) -> None:
    go_on(eventful)
    project(eventful, tracking_uri, tmp_path)
    expected = everything(tracking_uri, eventful.sweep_id)
    project(eventful, tracking_uri, tmp_path, rebuild=True)
    assert everything(tracking_uri, eventful.sweep_id) == expected
    client = MlflowClient(tracking_uri)
    gone = shown(tracking_uri, eventful)[1]["abel seed=1"].info.run_id
    client.delete_run(gone)
    client.set_tag(shown(tracking_uri, eventful)[1]["abel seed=0"].info.run_id, "abel.decay_epochs", "99")
    project(eventful, tracking_uri, tmp_path)
    assert "abel seed=1" not in shown(tracking_uri, eventful)[1]
    client.delete_tag(shown(tracking_uri, eventful)[1]["abel seed=0"].info.run_id, "abel.decay_epochs")
    project(eventful, tracking_uri, tmp_path, rebuild=True)
    assert everything(tracking_uri, eventful.sweep_id) == expected


def test_a_store_from_a_backup_is_brought_up_to_date(
    small: Story, everything: Everything, tracking_uri: str, tmp_path: Path
) -> None:
    small.tell(upto=2)
    project(small, tracking_uri, tmp_path)
    backup = f"sqlite:///{shutil.copy(tmp_path / 'mlflow.db', tmp_path / 'backup.db')}"
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    small.ledger.save_tracking_offset(small.sweep_id, backup, small.ledger.events(small.sweep_id)[-1].id)
    project(small, backup, tmp_path)
    assert everything(backup, small.sweep_id) == everything(tracking_uri, small.sweep_id)


@pytest.mark.parametrize(
    ("status", "trials_as", "sweep_as"),
    [("cancelled", "KILLED", "KILLED"), ("no_space", "FAILED", "KILLED"), ("unheard of", "FAILED", "FAILED")],
)
def test_every_status_has_one_in_mlflow(
    small: Story, tracking_uri: str, tmp_path: Path, status: str, trials_as: str, sweep_as: str
) -> None:
    small.tell(upto=2)
    first, second, *_ = small.ledger.trials(small.sweep_id)
    ended = {"trial": first.id, "status": status, "epoch": 2, "error": None}
    small.ledger.commit(small.sweep_id, small.invocation, Batch(events=[("trial_ended", ended)]))
    project(small, tracking_uri, tmp_path)
    small.ledger.commit(small.sweep_id, small.invocation, Batch(events=[("sweep_ended", {"status": status})]))
    project(small, tracking_uri, tmp_path)
    parent, trials = shown(tracking_uri, small)
    assert (parent.info.status, trials[first.name].info.status) == (sweep_as, trials_as)
    assert (trials[second.name].info.status, trials[second.name].data.tags["abel.outcome"]) == ("KILLED", status)


def test_results_are_named_after_the_metric_and_the_best_comes_first(
    story: Story, tracking_uri: str, tmp_path: Path
) -> None:
    story.seeds, story.epochs, story.decays, story.accuracy = 1, 14, (2,), True
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    _, trials = shown(tracking_uri, story)
    for row in story.ledger.trials(story.sweep_id):
        told = [state.metrics["accuracy"] for state in story.ledger.curve(row.head)]
        kept = trials[row.name].data.metrics
        assert (kept["maximum_accuracy"], kept["final_accuracy"]) == (max(told), told[-1])
        assert told[int(kept["minimum_epoch"]) - 1] == max(told)
    page = view.view(story.ledger.sweep(story.sweep_id), story.ledger.trials(story.sweep_id))
    state = json.loads(json.loads(page.text)["state"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`maximum_accuracy`", False)
