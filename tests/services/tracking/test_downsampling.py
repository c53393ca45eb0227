"""Tests for `services/tracking/downsampling.py`, with its place in the mirror."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
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
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import StateRow, SweepStatus, TrialRow
from workers.trajectory import TEST_ERROR

LONG = 701  # every third epoch, and the last is none of them


def test_up_to_320_epochs_all_are_shown_beyond_that_fewer() -> None:
    assert all(downsampling.on_grid(epoch, 320, TEST_ERROR) for epoch in range(1, 321))
    assert [epoch for epoch in range(1, 10) if downsampling.on_grid(epoch, 321, TEST_ERROR)] == [1, 3, 5, 7, 9]
    assert [epoch for epoch in range(1, 10) if downsampling.on_grid(epoch, LONG, TEST_ERROR)] == [1, 4, 7]


@given(
    epochs=st.integers(321, 20_000),
    minima=st.sets(st.integers(1, 20_000), max_size=400),
    decays=st.sets(st.integers(1, 20_000), max_size=400),
    told=st.integers(0, 800),
)
def test_a_curve_never_has_more_points_than_the_ui_draws(
    epochs: int, minima: set[int], decays: set[int], told: int
) -> None:
    grid = {epoch for epoch in range(1, epochs + 1) if downsampling.on_grid(epoch, epochs, TEST_ERROR)}
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


def project(story: Story, uri: str, artifacts: Path, *, rebuild: bool = False) -> None:
    mirror = Mirror(story.ledger, story.sweep_id, Store(uri, artifacts), rebuild=rebuild)
    while mirror.step():
        pass


@dataclass(frozen=True)
class Shown:
    """A sweep and what an MLflow store has of it."""

    story: Story
    uri: str
    runs: dict[str, Any]

    @property
    def rows(self) -> Sequence[TrialRow]:
        """Its trials in the ledger."""
        return self.story.ledger.trials(self.story.sweep_id)


@pytest.fixture(scope="module")
def long(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, everything: Callable[[str, str], dict[str, Any]]
) -> Iterator[Shown]:
    """A sweep of long trials, stopped once in between; made once."""
    place = tmp_path_factory.mktemp("long")
    uri = f"sqlite:///{shutil.copy(empty_store, place / 'mlflow.db')}"
    with closing(Ledger.open(f"sqlite:///{place / 'ledger.db'}")) as ledger:
        story = Story(ledger, seeds=1, epochs=LONG, decays=(150,), layers=1)
        story.begin().tell(upto=200).end(SweepStatus.INTERRUPTED)
        story.resume()
        story.tell(upto=500).tell().end()
        project(story, uri, place)
        yield Shown(story, uri, everything(uri, story.sweep_id))


@pytest.mark.slow
def test_a_long_trial_is_shown_with_its_events(long: Shown) -> None:
    assert max(len(curve) for run in long.runs.values() for curve in run["points"].values()) <= downsampling.POINTS
    (head,) = [row.head for row in long.rows if row.name == "abel seed=0"]
    beside = {9, 24, 34} | downsampling.ends(long.story.ledger.curve(head), TEST_ERROR)
    assert len(beside - set(range(1, LONG, 3))) >= 4
    for curve in (long.runs["abel seed=0"]["points"][name] for name in ("weight_norm_sq", "test_error", "seconds")):
        assert {step for step, _, _ in curve} == {*range(1, LONG + 1, 3), *beside}


@pytest.mark.slow
def test_the_errors_of_a_long_trial_are_exact(long: Shown) -> None:
    runs, _ = one_each(sweep_runs(MlflowClient(long.uri), long.story.sweep_id))
    for row in long.rows:
        curve = [state.metrics["test_error"] for state in long.story.ledger.curve(row.head)]
        metrics = runs[row.id].data.metrics
        assert metrics["minimum_test_error"] == curve[int(metrics["minimum_epoch"]) - 1] == min(curve)
        assert metrics["final_test_error"] == curve[-1]


@pytest.mark.slow
def test_the_ui_gets_all_points_of_a_long_trial(long: Shown) -> None:
    runs, _ = one_each(sweep_runs(MlflowClient(long.uri), long.story.sweep_id))
    ids = [run.info.run_id for trial, run in runs.items() if trial]
    asked = MlflowClient(long.uri)._tracking_client.store.get_metric_history_bulk_interval(
        ids, "weight_norm_sq", max_results=downsampling.POINTS, start_step=None, end_step=None
    )  # as the UI asks for its curves
    assert len(asked) == sum(len(run["points"]["weight_norm_sq"]) for run in long.runs.values() if run["parameters"])


@pytest.mark.slow
def test_a_long_trial_is_shown_alike_rebuilt_or_event_by_event(
    long: Shown,
    everything: Callable[[str, str], dict[str, Any]],
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rebuilt, in_parts = (f"sqlite:///{tmp_path / f'{name}.db'}" for name in ("rebuilt", "parts"))
    shutil.copy(long.uri.removeprefix("sqlite:///"), tmp_path / "rebuilt.db")
    shutil.copy(empty_store, tmp_path / "parts.db")
    project(long.story, rebuilt, tmp_path, rebuild=True)
    assert everything(rebuilt, long.story.sweep_id) == long.runs
    monkeypatch.setattr(mirrors, "EVENTS_PER_PAGE", 1)
    project(long.story, in_parts, tmp_path)
    assert everything(in_parts, long.story.sweep_id) == long.runs
