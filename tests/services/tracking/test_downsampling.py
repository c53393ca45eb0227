"""Tests for `services/tracking/downsampling.py`, with its place in the mirror."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from stories import Story

from services.tracking import downsampling
from services.tracking import mirror as mirrors
from services.tracking.mirror import Mirror
from services.tracking.runs import one_each, sweep_runs
from services.tracking.store import Store
from sweeps.ledger.records import StateRow, SweepStatus
from workers.trajectory import TEST_ERROR

LONG = 701  # every third epoch, and the last is none of them


def test_up_to_320_epochs_all_are_shown_beyond_that_fewer() -> None:
    assert all(downsampling.on_grid(epoch, 320) for epoch in range(1, 321))
    assert [epoch for epoch in range(1, 10) if downsampling.on_grid(epoch, 321)] == [1, 3, 5, 7, 9]
    assert [epoch for epoch in range(1, 10) if downsampling.on_grid(epoch, LONG)] == [1, 4, 7]


@given(
    epochs=st.integers(321, 20_000),
    minima=st.sets(st.integers(1, 20_000), max_size=400),
    decays=st.sets(st.integers(1, 20_000), max_size=400),
    told=st.integers(0, 800),
)
def test_a_curve_never_has_more_points_than_the_ui_draws(
    epochs: int, minima: set[int], decays: set[int], told: int
) -> None:
    grid = {epoch for epoch in range(1, epochs + 1) if downsampling.on_grid(epoch, epochs)}
    shown = downsampling.eventful(minima, decays)
    assert 1 in grid and len(grid) >= 128
    assert len(grid | shown) + 3 <= downsampling.POINTS  # the last, and those of least error and norm
    early = (set(sorted(events)[:told]) for events in (minima, decays))
    assert downsampling.eventful(*early) <= shown, "what was shown once stays"


def states(errors: list[float], norms: list[float]) -> list[StateRow]:
    return [
        StateRow(
            key=f"k{epoch}",
            parent="p",
            epoch=epoch,
            metrics={"test_error": error, "weight_norm_sq": norm},
            finished_at_ms=epoch,
            worker="",
        )
        for epoch, (error, norm) in enumerate(zip(errors, norms, strict=True), start=1)
    ]


def test_of_a_trial_at_its_end_the_last_epoch_and_the_least_are_shown() -> None:
    curve = states([9.0, 3.0, 3.0, 5.0, math.nan], [9.0, 8.0, 7.0, 8.0, math.inf])
    assert downsampling.ends(curve, TEST_ERROR) == {2, 3, 5}
    assert downsampling.ends(states([math.nan], [math.inf]), TEST_ERROR) == {1}
    assert downsampling.ends([], TEST_ERROR) == set()


@pytest.fixture
def long(story: Story) -> Story:
    """A sweep of long trials, stopped once in between."""
    story.seeds, story.epochs, story.decays, story.layers = 1, LONG, (150,), 1
    story.begin().tell(upto=200).end(SweepStatus.INTERRUPTED)
    story.resume()
    return story.tell(upto=500).tell().end()


@pytest.mark.slow
def test_a_long_trial_is_shown_with_its_events_and_its_errors_are_exact(
    long: Story,
    everything: Callable[[str, str], dict[str, Any]],
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once, in_parts = (f"sqlite:///{shutil.copy(empty_store, tmp_path / f'{name}.db')}" for name in "ab")

    def project(uri: str, *, rebuild: bool = False) -> None:
        mirror = Mirror(long.ledger, long.sweep_id, Store(uri, tmp_path / "artifacts"), rebuild=rebuild)
        while mirror.step():
            pass

    project(at_once)
    found = everything(at_once, long.sweep_id)
    assert max(len(curve) for run in found.values() for curve in run["points"].values()) <= downsampling.POINTS
    (head,) = [row.head for row in long.ledger.trials(long.sweep_id) if row.name == "abel seed=0"]
    beside = {9, 24, 34} | downsampling.ends(long.ledger.curve(head), TEST_ERROR)
    assert len(beside - set(range(1, LONG, 3))) >= 4
    for curve in (found["abel seed=0"]["points"][name] for name in ("weight_norm_sq", "test_error", "seconds")):
        assert {step for step, _, _ in curve} == {*range(1, LONG + 1, 3), *beside}
    runs, _ = one_each(sweep_runs(MlflowClient(at_once), long.sweep_id))
    for row in long.ledger.trials(long.sweep_id):
        curve = [state.metrics["test_error"] for state in long.ledger.curve(row.head)]
        metrics = runs[row.id].data.metrics
        assert metrics["minimum_test_error"] == curve[int(metrics["minimum_epoch"]) - 1] == min(curve)
        assert metrics["final_test_error"] == curve[-1]

    ids = [run.info.run_id for trial, run in runs.items() if trial]
    asked = MlflowClient(at_once)._tracking_client.store.get_metric_history_bulk_interval(
        ids, "weight_norm_sq", max_results=downsampling.POINTS, start_step=None, end_step=None
    )  # as the UI asks for its curves
    assert len(asked) == sum(len(run["points"]["weight_norm_sq"]) for run in found.values() if run["parameters"])

    project(at_once, rebuild=True)
    assert everything(at_once, long.sweep_id) == found
    monkeypatch.setattr(mirrors, "EVENTS_PER_PAGE", 1)
    project(in_parts)
    assert everything(in_parts, long.sweep_id) == found
