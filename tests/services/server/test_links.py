"""Links into MLflow, from a real store: looked up beside the requests, which never wait for it."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stories import Story

from services.server.links import LinkFinder, TrackingLinks
from services.settings import Settings
from services.tracking.mirror import Mirror
from services.tracking.runs import MlflowClient
from services.tracking.store import Store
from sweeps.ledger.records import SweepRow

SITE = "https://mlflow.example.org/tracking"


@pytest.fixture
def finder(story: Story, tmp_path: Path) -> Callable[..., LinkFinder]:
    """What finds links in a store."""

    def make(store: str, **variables: str) -> LinkFinder:
        given = {"ABEL_HOME": str(tmp_path), "ABEL_TRACKING_URI": store, "ABEL_MLFLOW_URL": f"{SITE}/", **variables}
        return LinkFinder(Settings.from_env(given), story.ledger)

    return make


def told(finder: LinkFinder, sweep: SweepRow, seconds: float = 30) -> TrackingLinks | None:
    """What it knows in the end; every question is answered at once."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        found = finder.links(sweep)
        assert time.monotonic() - began < 0.5
        if found is not None:
            return found
        time.sleep(0.05)
    return None


def test_a_sweep_and_each_of_its_trials_lead_to_mlflow(
    story: Story, tracking_uri: str, finder: Callable[..., LinkFinder], tmp_path: Path
) -> None:
    story.seeds, story.epochs, story.decays = 2, 12, (4,)
    sweep = story.begin().tell().end().ledger.sweep(story.sweep_id)
    finds = finder(tracking_uri)
    assert finds.links(sweep) is None  # MLflow is asked beside this
    mirror = Mirror(story.ledger, sweep.id, Store(tracking_uri, tmp_path / "artifacts"))
    while mirror.step():
        pass
    found = told(finder(tracking_uri), sweep)
    client, place = MlflowClient(tracking_uri), f"{SITE}/#/experiments/1/runs"
    assert found.sweep.startswith(f"{place}?")
    assert found.trials.keys() == {trial.name for trial in story.ledger.trials(sweep.id)}
    for name, url in found.trials.items():
        assert url.startswith(f"{place}/")
        assert client.get_run(url.removeprefix(f"{place}/")).info.run_name == name


def test_a_store_that_is_away_or_hangs_is_no_error(
    story: Story, finder: Callable[..., LinkFinder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.server.links.FRESH_SECONDS", 0.1)
    sweep = story.begin().ledger.sweep(story.sweep_id)
    assert told(finder("http://127.0.0.1:9"), sweep, seconds=2) is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert told(finder(f"http://127.0.0.1:{silent.getsockname()[1]}"), sweep, seconds=1) is None


def test_without_an_address_mlflow_is_not_asked(
    story: Story, tracking_uri: str, finder: Callable[..., LinkFinder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.Thread.start", lambda thread: pytest.fail("a thread was started"))
    assert finder(tracking_uri, ABEL_MLFLOW_URL="").links(story.begin().ledger.sweep(story.sweep_id)) is None
