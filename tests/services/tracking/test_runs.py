"""Tests for `services/tracking/runs.py`."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from stories import Story

from services.tracking.mirror import Mirror
from services.tracking.runs import MlflowClient, RunsError, comparison, places
from services.tracking.store import Store


@pytest.fixture
def told(story: Story, tracking_uri: str, tmp_path: Path) -> Story:
    story.seeds, story.epochs, story.decays = 2, 36, (2, 10)
    story.begin().tell().end()
    mirror = Mirror(story.ledger, story.sweep_id, Store(tracking_uri, tmp_path / "artifacts"))
    while mirror.step():
        pass
    return story


def test_the_ui_s_place_of_every_trial(told: Story, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tracking.runs.ROWS_PER_PAGE", 3)
    found, client = places(tracking_uri, told.sweep_id), MlflowClient(tracking_uri)
    names = {trial: client.get_run(place.rpartition("/")[2]).info.run_name for trial, place in found.items()}
    assert names == {row.id: row.name for row in told.ledger.trials(told.sweep_id)}


def test_the_ui_orders_a_sweep_s_trials_by_minimum_error(told: Story, tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(told.name)
    view = parse_qs(urlsplit(comparison(tracking_uri, told.ledger.sweep(told.sweep_id)).removeprefix("/#")).query)
    client.delete_experiment_tag(experiment.experiment_id, f"mlflow.sharedViewState.{view['viewStateShareKey'][0]}")
    page = urlsplit(comparison(tracking_uri, told.ledger.sweep(told.sweep_id)).removeprefix("/#"))
    assert page.path == f"/experiments/{experiment.experiment_id}/runs"
    query = parse_qs(page.query)
    (found,) = query["searchFilter"]
    shown = client.search_runs([experiment.experiment_id], found, order_by=query["orderByKey"])
    assert {run.info.run_name for run in shown} == {row.name for row in told.ledger.trials(told.sweep_id)}
    errors = [run.data.metrics["minimum_test_error"] for run in shown]
    assert errors == sorted(errors)
    assert query["workflowType"] == view["workflowType"] == ["machine_learning"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_ui_has_no_page_of_what_was_not_uploaded(story: Story, tracking_uri: str) -> None:
    sweep = story.begin().ledger.sweep(story.sweep_id)
    with pytest.raises(RunsError, match=f"sweep {sweep.name!r}: must be in the tracking store"):
        comparison(tracking_uri, sweep)


def test_a_store_out_of_reach_is_an_error_without_credentials() -> None:
    with pytest.raises(RunsError, match=r"tracking http://127\.0\.0\.1:9: .*Connection refused"):
        places("http://me:secret@127.0.0.1:9", "0123")
