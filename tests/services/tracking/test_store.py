"""Tests for `services/tracking/store.py`: a real MLflow store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from oracle import is_trial
from stories import Story

from services.settings import Settings
from services.tracking.mirror import Mirror
from services.tracking.projection import MetricPoint
from services.tracking.runs import sweep_runs
from services.tracking.store import Store, TrackingError, attach_figure


@pytest.fixture
def store(tracking_uri: str, tmp_path: Path) -> Store:
    return Store(tracking_uri, tmp_path / "artifacts")


def test_a_run_takes_more_than_fits_in_one_request(store: Store, tracking_uri: str) -> None:
    shown = store.make(store.experiment("large", "s"), "a run", 1000, {"abel.sweep_id": "s"})
    points = [MetricPoint(f"metric{key}", float(step), 1000 + step, step) for step in range(1, 401) for key in range(6)]
    parameters = {f"parameter {number}": str(number) for number in range(130)}
    tags = {f"tag{number}": "é" * 5000 for number in range(130)}
    store.send(shown, points, tags, parameters)
    run = MlflowClient(tracking_uri).get_run(shown.run_id)
    assert run.data.params == parameters
    assert run.data.tags.items() >= tags.items()
    for key in range(6):
        history = MlflowClient(tracking_uri).get_metric_history(shown.run_id, f"metric{key}")
        assert [(p.step, p.value, p.timestamp) for p in history] == [(s, float(s), 1000 + s) for s in range(1, 401)]


def test_what_a_run_shows_is_not_sent_again(store: Store, tracking_uri: str) -> None:
    shown = store.make(store.experiment("same", "s"), "a run", 1000, {"abel.sweep_id": "s"})
    store.send(shown, tags={"a": "1"}, parameters={"b": "2"})
    MlflowClient(tracking_uri).set_tag(shown.run_id, "a", "changed by somebody else")
    store.send(shown, tags={"a": "1", "c": "3"}, parameters={"b": "a parameter cannot change", "d": "4"})
    run = MlflowClient(tracking_uri).get_run(shown.run_id)
    assert (run.data.tags["a"], run.data.tags["c"]) == ("changed by somebody else", "3")
    assert run.data.params == {"b": "2", "d": "4"}


def test_of_two_runs_of_a_trial_the_one_that_shows_more_stays(store: Store, tracking_uri: str) -> None:
    experiment = store.experiment("twice", "s")
    tags = {"abel.sweep_id": "s", "abel.trial_id": "t"}
    empty, full, late = (store.make(experiment, "a trial", 1000, tags) for _ in range(3))
    store.send(full, tags={"abel.epoch": "3"})
    assert {name: shown.run_id for name, shown in store.runs("s").items()} == {"t": full.run_id}
    assert [run.info.run_id for run in sweep_runs(MlflowClient(tracking_uri), "s")] == [full.run_id]
    another = store.make(experiment, "a trial", 1000, tags)
    assert store.runs("s", prefer={another.run_id})["t"].run_id == another.run_id
    assert {empty.run_id, late.run_id}.isdisjoint({full.run_id, another.run_id})


def test_the_sweeps_run_carries_spec_and_figure(story: Story, store: Store, tracking_uri: str, tmp_path: Path) -> None:
    story.seeds, story.epochs, story.decays = 1, 2, ()
    story.begin().tell().end()
    settings = Settings(home=tmp_path, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}", tracking_uri=tracking_uri)
    figure = tmp_path / "decay_time.png"
    figure.write_bytes(b"png")
    with pytest.raises(TrackingError, match="has no run in .* yet"):
        attach_figure(settings, story.sweep_id, [figure])
    Mirror(story.ledger, story.sweep_id, store).step()
    attach_figure(settings, story.sweep_id, [figure])
    attach_figure(settings, story.sweep_id, [figure])
    client = MlflowClient(tracking_uri)
    (run_id,) = [run.info.run_id for run in sweep_runs(client, story.sweep_id) if not is_trial(run)]
    assert [item.path for item in client.list_artifacts(run_id, "report")] == ["report/decay_time.png"]
    assert [item.path for item in client.list_artifacts(run_id) if not item.is_dir] == ["spec.yaml"]


def test_once_a_sweep_has_ended_a_runs_curve_is_found_by_its_index(
    story: Story, tracking_uri: str, tmp_path: Path
) -> None:
    """Without SQLite's statistics MLflow's own queries read all points of a metric in the store for each run."""
    story.begin().tell()
    mirror = Mirror(story.ledger, story.sweep_id, Store(tracking_uri, tmp_path))
    order = "step DESC, timestamp DESC, value DESC, is_nan DESC"
    columns, of_run = "value, timestamp, step, is_nan", "run_uuid = 'r' AND key = 'test_error'"
    query = (
        f"EXPLAIN QUERY PLAN SELECT {columns} FROM metrics WHERE {of_run} ORDER BY {order} LIMIT 1"  # as MLflow asks
    )
    plans = []
    for end in (False, True):
        if end:
            story.end()
        while mirror.step():
            pass
        with closing(sqlite3.connect(tracking_uri.removeprefix("sqlite:///"))) as store:
            plans.append(str(store.execute(query).fetchall()))
    before, after = plans
    assert "index_metrics_run_uuid_key_step" not in before
    assert "index_metrics_run_uuid_key_step" in after
