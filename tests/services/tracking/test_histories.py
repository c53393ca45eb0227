"""Tests for `services/tracking/histories.py`, on a real database and on a real server over it."""

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import MlflowServer
from pandas.testing import assert_frame_equal

from services.tracking import histories as module
from services.tracking.histories import histories
from services.tracking.mirror import Mirror
from services.tracking.runs import MlflowClient, sweep_runs
from services.tracking.store import Store

KEYS = ("test_error", "train_loss", "nowhere")


def told(story: Any, uri: str, folder: Path) -> list[str]:
    story.seeds, story.epochs, story.decays, story.diverging = 2, 14, (2, 5), True
    story.begin().tell().end()
    mirror = Mirror(story.ledger, story.sweep_id, Store(uri, folder))
    while mirror.step():
        pass
    runs = sweep_runs(MlflowClient(uri), story.sweep_id)
    return [run.info.run_id for run in runs if "abel.trial_id" in run.data.tags]


def test_a_server_and_its_database_tell_the_same(
    story: Any, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS_A_REQUEST", 3)
    monkeypatch.setattr(module, "RUNS_A_QUERY", 5)
    run_ids = told(story, server.url, tmp_path)
    points = histories(server.url, run_ids, KEYS)
    order = ["run_id", "key", "epoch"]
    stored = histories(server.store, run_ids, KEYS).sort_values(order, ignore_index=True)
    assert_frame_equal(points.sort_values(order, ignore_index=True), stored)
    assert list(points.columns) == ["run_id", "key", "epoch", "value"]
    client = MlflowClient(server.url)
    for (run_id, key), curve in points.groupby(["run_id", "key"], observed=True):
        wanted = {point.step: point.value for point in client.get_metric_history(run_id, key)}
        assert list(curve["epoch"]) == sorted(wanted)
        for epoch, value in zip(curve["epoch"], curve["value"], strict=True):
            assert value == wanted[epoch] or (math.isnan(value) and math.isnan(wanted[epoch]))
    assert points["key"].value_counts()["nowhere"] == 0
    assert points["value"].isna().any()  # the loss of the trial that diverged


def test_of_two_points_at_one_step_the_first_written_counts(tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri)
    run = client.create_run(client.create_experiment("twice")).info.run_id
    for value, timestamp in ((2.0, 20), (1.0, 10), (3.0, 30)):
        client.log_metric(run, "test_error", value, timestamp, step=1)
    assert list(histories(tracking_uri, [run], ["test_error"])["value"]) == [1.0]


def test_no_runs_have_no_points(tracking_uri: str) -> None:
    assert histories(tracking_uri, [], ["test_error"]).empty
