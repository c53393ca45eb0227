"""Tests for `services/tracking/run_measures.py`: a sweep's measures on its own run in a real store, from a real ledger."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from oracle import is_trial
from stories import Story

from services.tracking import run_measures
from services.tracking.mirror import Mirror
from services.tracking.runs import sweep_runs
from services.tracking.store import Store
from sweeps.ledger.entries import Batch
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.results import baseline, summary
from sweeps.results.measures import measures
from sweeps.spec.measures import MEASURES
from workers.trajectory import TEST_ERROR


def project(
    story: Story, uri: str, tmp_path: Path, *, rebuild: bool = False
) -> Mapping[str, Sequence[tuple[Any, ...]]]:
    """Show the sweep; returns the histories of its own run's metrics."""
    mirror = Mirror(story.ledger, story.sweep_id, Store(uri, tmp_path / "artifacts"), rebuild=rebuild)
    while mirror.step():
        pass
    client = MlflowClient(uri)
    (parent,) = [run for run in sweep_runs(client, story.sweep_id) if not is_trial(run)]
    return {
        key: [(p.value, p.step, p.timestamp) for p in client.get_metric_history(parent.info.run_id, key)]
        for key in parent.data.metrics
    }


def arms_of(found: Mapping[str, Any]) -> set[str]:
    return {key.split("/")[1] for key in found}


@pytest.fixture
def small(story: Story) -> Story:
    story.seeds, story.epochs, story.decays, story.layers = 3, 6, (2, 4), 1
    return story.begin()


def test_a_sweep_that_has_ended_shows_the_measures_of_every_arm_once(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    small.tell(upto=3).end(SweepStatus.INTERRUPTED)
    assert project(small, tracking_uri, tmp_path) == {}
    small.resume()
    small.tell().end()
    found = project(small, tracking_uri, tmp_path)
    assert arms_of(found) == {"decay-at", "constant", "abel"}
    rows = small.ledger.trials(small.sweep_id)
    results = [summary.trial_result(row, small.ledger.curve(row.head), TEST_ERROR) for row in rows]
    last = max(state.finished_at_ms for row in rows for state in small.ledger.curve(row.head))
    for arm, table in baseline.tables(results, "minimum", math.nan).items():
        expected = measures(table)
        assert expected.keys() == MEASURES.keys()
        for name, interval in expected.items():
            for suffix, value in (("", interval.value), (".low", interval.low), (".high", interval.high)):
                ((shown, step, at_ms),) = found[f"robustness/{arm}/{name}{suffix}"]
                assert shown == pytest.approx(value, abs=1e-4)
                assert step == 0 and at_ms <= last
    small.resume()
    small.end()
    assert project(small, tracking_uri, tmp_path) == found, "as when a finished sweep is run again"
    assert project(small, tracking_uri, tmp_path, rebuild=True) == found


def test_an_arm_that_lacks_a_result_has_no_measures_and_the_others_have(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    lost = next(row for row in small.ledger.trials(small.sweep_id) if row.arm == "decay-at")
    small.tell(only=lambda name: name != lost.name)
    ended = {"trial": lost.id, "status": TrialStatus.FAILED, "epoch": None, "error": "Boom: no"}
    batch = Batch(ended={lost.id: (TrialStatus.FAILED, "Boom: no")}, events=[("trial_ended", ended)])
    small.ledger.commit(small.sweep_id, small.invocation, batch)
    small.end()
    assert arms_of(project(small, tracking_uri, tmp_path)) == {"constant", "abel"}


def test_a_diverged_trial_counts_as_guessing_if_its_data_are_known(
    small: Story, tracking_uri: str, tmp_path: Path
) -> None:
    small.diverging = True
    small.epochs = 14
    small.tell().end()
    found = project(small, tracking_uri, tmp_path)
    assert found["robustness/constant/diverged"][0][0] == pytest.approx(1 / 3, abs=1e-4)
    rows = small.ledger.trials(small.sweep_id)
    errors = [
        99.0
        if row.status is TrialStatus.DIVERGED
        else min(s.metrics["test_error"] for s in small.ledger.curve(row.head))
        for row in rows
        if row.arm == "constant"
    ]
    assert errors.count(99.0) == 1  # of 100 classes
    assert found["robustness/constant/mean"][0][0] == pytest.approx(sum(errors) / 3, abs=1e-4)
    elsewhere = [
        replace(row, program={**row.program, "data": {"kind": "tfds", "name": "cifar10", "train": "train"}})
        for row in rows
    ]
    sweep = small.ledger.sweep(small.sweep_id)
    unknown = tuple(replace(one, metric=replace(one.metric, worst=None)) for one in sweep.identities)
    points = run_measures.measure_points(small.ledger, replace(sweep, identities=unknown), elsewhere, data_dir=None)
    assert {point.key.split("/")[1] for point in points} == {"decay-at", "abel"}


def test_one_seed_has_measures_and_no_intervals(story: Story) -> None:
    story.seeds, story.epochs, story.decays = 1, 4, (2, 3)
    story.begin().tell()
    row = story.ledger.sweep(story.sweep_id)
    sweep = replace(row, spec={**row.spec, "check": {"error": "final"}})
    points = list(run_measures.measure_points(story.ledger, sweep, story.ledger.trials(story.sweep_id)))
    assert not [point.key for point in points if point.key.endswith((".low", ".high"))]
    spread = {point.key: point.value for point in points}["robustness/decay-at/spread"]
    finals = [
        story.ledger.curve(row.head)[-1].metrics["test_error"]
        for row in story.ledger.trials(story.sweep_id)
        if row.arm == "decay-at"
    ]
    assert spread == pytest.approx(max(finals) - min(finals), abs=1e-4)


def test_the_data_of_an_older_sweep_tell_which_arm_is_near_chance(story: Story) -> None:
    story.seeds, story.epochs, story.decays, story.hopeless, story.guessing = 2, 3, (), True, None
    story.begin().tell()
    sweep, trials = story.ledger.sweep(story.sweep_id), story.ledger.trials(story.sweep_id)
    names = {point.key.rpartition("/")[2] for point in run_measures.measure_points(story.ledger, sweep, trials)}
    assert "best" in names and names.isdisjoint({"spread", "area", "near"})
