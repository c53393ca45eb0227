"""Tests for `services/tracking/runs.py`."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.tracking.mirror import Mirror
from services.tracking.runs import MlflowClient, RunsError, comparison, load
from services.tracking.store import Store


@pytest.fixture
def told(story: Any, tracking_uri: str, tmp_path: Path) -> Any:
    story.seeds, story.epochs, story.decays = 2, 36, (2, 10)
    story.begin().tell().end()
    mirror = Mirror(story.ledger, story.sweep_id, Store(tracking_uri, tmp_path / "artifacts"))
    while mirror.step():
        pass
    return story


def test_one_row_per_trial_and_one_per_trial_epoch_and_metric(
    told: Any, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.runs.ROWS_PER_PAGE", 3)
    runs = load(tracking_uri, told.sweep_id, metrics=("test_error", "weight_norm_sq"))
    rows = told.ledger.trials(told.sweep_id)
    assert list(runs.trials["trial_id"]) == [row.id for row in rows]
    assert list(runs.trials["name"]) == [row.name for row in rows]
    assert list(runs.trials["settings"]) == [row.settings for row in rows]
    assert len(runs.curves) == len(rows) * 36 * 2
    assert runs.about["figure"] == "decay_time"
    errors = runs.curve("test_error")
    for (_, trial), row in zip(runs.trials.iterrows(), rows, strict=True):
        curve = [state.metrics["test_error"] for state in told.ledger.curve(row.head)]
        assert list(errors[row.id]) == curve
        assert trial["minimum_test_error"] == min(curve)
        assert curve[trial["minimum_epoch"] - 1] == min(curve)
        assert trial["final_test_error"] == curve[-1]


def test_a_metric_is_read_by_the_name_it_was_recorded_under(told: Any, tracking_uri: str) -> None:
    kernel = "weight_norm_sq/conv1/kernel"  # MLflow holds it as weight_norm_sq.conv1.kernel
    table = load(tracking_uri, told.sweep_id, metrics=(kernel,)).curve(kernel)
    for row in told.ledger.trials(told.sweep_id):
        assert list(table[row.id]) == [state.metrics[kernel] for state in told.ledger.curve(row.head)]


def test_decays_are_read_with_their_reasons(told: Any, tracking_uri: str) -> None:
    trials = load(tracking_uri, told.sweep_id, metrics=()).trials.set_index("name")
    abel, once = trials.loc["abel seed=1"], trials.loc["decay-at decay_epoch=10 seed=0"]
    assert (abel["minimum_epochs"], abel["bounce_epochs"], abel["forced_epochs"]) == ((9,), (25,), (34,))
    assert (abel["decay_epochs"], once["decay_epochs"], once["bounce_epochs"]) == ((25, 34), (10,), ())


def test_the_ui_shows_the_trials_of_one_sweep_in_order_of_their_least_error(told: Any, tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(told.name)
    view = parse_qs(urlsplit(comparison(tracking_uri, told.name, told.sweep_id).removeprefix("/#")).query)
    client.delete_experiment_tag(experiment.experiment_id, f"mlflow.sharedViewState.{view['viewStateShareKey'][0]}")
    page = urlsplit(comparison(tracking_uri, told.name, told.sweep_id).removeprefix("/#"))
    assert page.path == f"/experiments/{experiment.experiment_id}/runs"
    query = parse_qs(page.query)
    (found,) = query["searchFilter"]
    shown = client.search_runs([experiment.experiment_id], found, order_by=query["orderByKey"])
    assert {run.info.run_name for run in shown} == {row.name for row in told.ledger.trials(told.sweep_id)}
    errors = [run.data.metrics["minimum_test_error"] for run in shown]
    assert errors == sorted(errors)
    assert query["workflowType"] == view["workflowType"] == ["machine_learning"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_ui_has_no_page_of_what_was_not_uploaded(tracking_uri: str) -> None:
    with pytest.raises(RunsError, match="sweep 'none': must be in the tracking store"):
        comparison(tracking_uri, "none", "0123")


def test_what_the_store_does_not_show_is_an_error(tracking_uri: str) -> None:
    with pytest.raises(RunsError, match="sweep 0123: must be in the tracking store, but sqlite:///.*mlflow.db"):
        load(tracking_uri, "0123")


def test_a_store_out_of_reach_is_an_error_without_credentials() -> None:
    with pytest.raises(RunsError, match=r"tracking http://127\.0\.0\.1:9: .*Connection refused"):
        load("http://me:secret@127.0.0.1:9", "0123")
