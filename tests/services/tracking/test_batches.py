"""Tests for `services/tracking/batches.py`: MLflow's own checks are the judge."""

import json

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.validation import MAX_BATCH_LOG_REQUEST_SIZE, _validate_batch_log_limits

from services.tracking.batches import RequestPart, batches
from services.tracking.projection import MetricPoint


def check(batch: RequestPart) -> None:
    metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in batch.points]
    parameters = [Param(name, text) for name, text in batch.parameters]
    tags = [RunTag(name, text) for name, text in batch.tags]
    _validate_batch_log_limits(metrics, parameters, tags)
    fields = {"metrics": metrics, "params": parameters, "tags": tags}
    body = {"run_id": "r" * 32} | {name: [dict(item) for item in items] for name, items in fields.items()}
    assert len(json.dumps(body, indent=2)) <= MAX_BATCH_LOG_REQUEST_SIZE


@pytest.mark.parametrize(
    ("points", "parameters", "tags", "requests"),
    [
        (0, 0, 0, 0),
        (0, 0, 1, 1),
        (1000, 0, 0, 1),
        (1001, 0, 0, 2),
        (940, 30, 30, 1),
        (940, 30, 31, 2),
        (5000, 0, 1, 6),
        (10, 250, 210, 5),
    ],
)
def test_as_few_requests_as_can_be(points: int, parameters: int, tags: int, requests: int) -> None:
    curve = [MetricPoint("a", float(step), step, step) for step in range(points)]
    settings = {f"p{number}": "x" for number in range(parameters)}
    labels = {f"t{number}": "y" for number in range(tags)}
    made = list(batches(curve, settings, labels))
    assert len(made) == requests
    for batch in made:
        check(batch)
    assert [point for batch in made for point in batch.points] == curve
    assert dict(entry for batch in made for entry in batch.parameters) == settings
    assert dict(entry for batch in made for entry in batch.tags) == labels


def test_a_request_stays_below_a_megabyte() -> None:
    points = [MetricPoint("metric " + "m" * 240, 1 / 3, 1_790_000_000_000, step) for step in range(3000)]
    texts = {f"{number}": "é" * 5000 for number in range(60)}
    made = list(batches(points, texts, texts))
    for batch in made:
        check(batch)
    assert len(made) == 8


def test_what_vouches_comes_after_the_points() -> None:
    made = list(batches([MetricPoint("a", 0.0, 1, step) for step in range(2500)], {"p": "x"}, {"abel.epoch": "2500"}))
    assert [(len(batch.points), len(batch.tags)) for batch in made] == [(1000, 0), (1000, 0), (500, 1)]
