"""Tests for `services/tracking.py`: a real ledger, a real MLflow store, and a real server that is killed."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from services.runs import is_trial, sweep_runs
from services.settings import MLFLOW_ENVIRONMENT, Settings, without_credentials
from services.tracking import Projector, TrackingError, attach_figure, main
from sweeps.ledger import Ledger
from sweeps.rows import SweepStatus


def project(story: Any, uri: str, tmp_path: Path) -> Projector:
    projector = Projector(story.ledger, story.sweep_id, uri, tmp_path / "artifacts")
    while projector.step():
        pass
    return projector


def shown(uri: str, story: Any) -> tuple[Run, dict[str, Run]]:
    runs = list(sweep_runs(MlflowClient(uri), story.sweep_id))
    (parent,) = [run for run in runs if not is_trial(run)]
    trials = {run.info.run_name: run for run in runs if is_trial(run)}
    assert len(trials) == len(runs) - 1
    return parent, trials


def points(uri: str, story: Any) -> dict[tuple[str, str], list[tuple[int, float, int]]]:
    client = MlflowClient(uri)
    return {
        (run.info.run_name, key): [
            (p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, key)
        ]
        for run in sweep_runs(client, story.sweep_id)
        for key in run.data.metrics
    }


@pytest.fixture
def small(story: Any) -> Any:
    story.seeds, story.epochs, story.decays = 2, 6, (2,)
    return story.begin()


def test_every_trial_is_a_run_with_its_full_curves(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    parent, trials = shown(tracking_uri, small)
    assert parent.info.run_name == "sweep fig-s6a-digits"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["abel.epochs_naive"] == "36"
    assert int(parent.data.tags["abel.epochs_trained"]) < 36
    assert parent.data.tags["abel.version.jax"] == "0.10.2"
    rows = small.ledger.trials(small.sweep_id)
    assert trials.keys() == {row.name for row in rows}
    found = points(tracking_uri, small)
    for row in rows:
        run = trials[row.name]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["abel.outcome"] == "finished"
        assert run.data.params["schedule.learning_rate"] == "0.1"
        assert run.data.params["program.model.width"] == "16"
        for state in small.ledger.curve(row.head):
            for key, value in state.metrics.items():
                assert found[row.name, key.replace("/", ".")][state.epoch - 1] == (
                    state.epoch,
                    value,
                    state.finished_at_ms,
                )
        once = ("decay_event", "norm_fall", "norm_minimum_epoch", "norm_rise")
        assert {len(curve) for (name, key), curve in found.items() if name == row.name and key not in once} == {6}
        norms = [state.metrics["weight_norm_sq"] for state in small.ledger.curve(row.head)]
        (fall,), (minimum,) = found[row.name, "norm_fall"], found[row.name, "norm_minimum_epoch"]
        assert fall[:2] == (6, pytest.approx(1 - min(norms) / norms[0]))
        assert norms[int(minimum[1]) - 1] == min(norms)
    decayed = trials["decay-at decay_epoch=2 seed=0"]
    assert decayed.data.tags["abel.decay_epochs"] == "2"
    assert decayed.data.params["schedule.decay_epoch"] == "2"
    assert [(step, value) for step, value, _ in found["decay-at decay_epoch=2 seed=0", "decay_event"]] == [(2, 8.0)]


def test_abels_decisions_are_told_apart(story: Any, tracking_uri: str, tmp_path: Path) -> None:
    story.seeds, story.decays = 1, ()
    story.begin().tell().end()
    project(story, tracking_uri, tmp_path)
    tags = shown(tracking_uri, story)[1]["abel seed=0"].data.tags
    assert tags["abel.minimum_epochs"] == "9"
    assert tags["abel.bounce_epochs"] == "24"
    assert tags["abel.forced_epochs"] == "34"
    assert tags["abel.decay_epochs"] == "24,34"


def test_a_changed_description_reaches_the_sweeps_run(small: Any, tracking_uri: str, tmp_path: Path) -> None:
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


def test_projecting_everything_again_adds_nothing(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    before = points(tracking_uri, small)
    project(small, tracking_uri, tmp_path)
    small.ledger.save_tracking_offset(small.sweep_id, without_credentials(tracking_uri), 0)
    for run in shown(tracking_uri, small)[1].values():
        MlflowClient(tracking_uri).set_tag(run.info.run_id, "abel.epoch", "0")  # as if killed before the tags
    project(small, tracking_uri, tmp_path)
    assert points(tracking_uri, small) == before


def test_a_sweep_that_is_taken_up_again_goes_on_in_the_same_runs(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell(upto=3).end(SweepStatus.INTERRUPTED)
    project(small, tracking_uri, tmp_path)
    parent, trials = shown(tracking_uri, small)
    assert parent.info.status == "KILLED"
    assert {(run.info.status, run.data.tags["abel.outcome"]) for run in trials.values()} == {("KILLED", "interrupted")}
    small.resume().tell(upto=4)
    project(small, tracking_uri, tmp_path)
    again, going = shown(tracking_uri, small)
    assert {again.info.status, *(run.info.status for run in going.values())} == {"RUNNING"}
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    last, ended = shown(tracking_uri, small)
    assert {name: run.info.run_id for name, run in ended.items()} == {n: run.info.run_id for n, run in trials.items()}
    assert {last.info.status, *(run.info.status for run in ended.values())} == {"FINISHED"}
    assert {len(curve) for (_, key), curve in points(tracking_uri, small).items() if key == "test_error"} == {6}


def test_what_the_events_left_out_is_taken_from_the_trials_path(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell(upto=2)
    offset = small.ledger.events(small.sweep_id)[-1].id
    project(small, tracking_uri, tmp_path / "unused")
    small.tell(upto=4).tell().end()
    for run in shown(tracking_uri, small)[1].values():
        MlflowClient(tracking_uri).delete_run(run.info.run_id)
    assert small.ledger.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == offset
    project(small, tracking_uri, tmp_path)
    assert {len(curve) for (_, key), curve in points(tracking_uri, small).items() if key == "test_error"} == {6}


def test_values_that_are_not_finite_become_nan_and_a_tag(story: Any, tracking_uri: str, tmp_path: Path) -> None:
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


def test_a_store_that_lost_the_sweep_is_filled_again(
    small: Any, tracking_uri: str, tmp_path: Path, empty_store: Path
) -> None:
    small.tell().end()
    project(small, tracking_uri, tmp_path)
    client, (parent, trials) = MlflowClient(tracking_uri), shown(tracking_uri, small)
    before = points(tracking_uri, small)
    for run in (parent, *trials.values()):
        client.delete_run(run.info.run_id)
    project(small, tracking_uri, tmp_path)
    assert points(tracking_uri, small) == before


def test_a_deleted_experiment_is_reported_with_its_cure(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri)
    client.delete_experiment(client.create_experiment(small.name))
    with pytest.raises(TrackingError, match="must not be deleted; `mlflow experiments restore"):
        project(small, tracking_uri, tmp_path)


def test_the_sweeps_run_carries_spec_and_figure(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    settings = Settings(home=tmp_path, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}", tracking_uri=tracking_uri)
    figure = tmp_path / "decay_time.png"
    figure.write_bytes(b"png")
    with pytest.raises(TrackingError, match="has no run in .* yet"):
        attach_figure(settings, small.sweep_id, [figure])
    project(small, tracking_uri, tmp_path)
    attach_figure(settings, small.sweep_id, [figure])
    attach_figure(settings, small.sweep_id, [figure])
    run_id = shown(tracking_uri, small)[0].info.run_id
    client = MlflowClient(tracking_uri)
    assert [item.path for item in client.list_artifacts(run_id, "report")] == ["report/decay_time.png"]
    assert [item.path for item in client.list_artifacts(run_id) if not item.is_dir] == ["spec.yaml"]


def test_the_ledger_is_only_read_and_the_offset_moved(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell().end()
    before = (small.ledger.sweeps(), small.ledger.trials(small.sweep_id), small.ledger.events(small.sweep_id))
    projector = project(small, tracking_uri, tmp_path)
    other = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert (other.sweeps(), other.trials(small.sweep_id), other.events(small.sweep_id)) == before
    assert (
        other.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == projector.offset == before[2][-1].id
    )
    other.close()


def test_unknown_sweep_is_a_usage_error(small: Any, tracking_uri: str, tmp_path: Path, capsys: Any) -> None:
    with handlers_restored():
        assert main([*arguments(tmp_path, tracking_uri, "nothing")]) == 2
    assert "sweep 'nothing': must be one that was run here" in capsys.readouterr().err


@pytest.mark.slow
def test_an_outage_delays_and_loses_nothing(small: Any, tracking_uri: str, tmp_path: Path, capsys: Any) -> None:
    port = free_port()
    uri = f"http://me:secret@127.0.0.1:{port}"
    target = f"http://127.0.0.1:{port}"
    small.tell(upto=3)
    with handlers_restored():
        with server(port, tracking_uri, tmp_path):
            assert main(arguments(tmp_path, uri, small.sweep_id)) == 0
        acknowledged = small.ledger.tracking_offset(small.sweep_id, target)
        assert acknowledged == small.ledger.events(small.sweep_id)[-1].id
        small.tell().end()
        assert main(arguments(tmp_path, uri, small.sweep_id)) == 1
        assert small.ledger.tracking_offset(small.sweep_id, target) == acknowledged
        with server(port, tracking_uri, tmp_path):
            assert main(arguments(tmp_path, uri, small.sweep_id)) == 0
    said = capsys.readouterr().err
    assert f"tracking {target}: out of reach: " in said
    assert "Connection refused" in said and "run this again to go on" in said and "secret" not in said
    assert {len(curve) for (_, key), curve in points(tracking_uri, small).items() if key == "test_error"} == {6}
    assert len(shown(tracking_uri, small)[1]) == 6


@pytest.mark.slow
def test_a_follower_ends_when_its_starter_is_gone(small: Any, tracking_uri: str, tmp_path: Path) -> None:
    small.tell(upto=2)
    last = small.ledger.events(small.sweep_id)[-1].id
    log = tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "services.tracking",
        *arguments(tmp_path, tracking_uri, small.sweep_id),
        "--follow",
    ]
    start = f"subprocess.Popen({command!r}, stderr=open({str(log)!r}, 'wb'))"
    script = f"import subprocess; print({start}.pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        wait_for(lambda: small.ledger.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == last)
        starter.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in state_of(pid))


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def arguments(tmp_path: Path, uri: str, sweep_id: str) -> list[str]:
    places = ["--ledger", f"sqlite:///{tmp_path / 'ledger.db'}", "--artifacts", str(tmp_path / "artifacts")]
    return [*places, "--sweep", sweep_id, "--tracking-uri", uri, "--give-up-after", "2"]


@contextmanager
def server(port: int, store: str, tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "served")]
    with (tmp_path / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *places], env=os.environ | MLFLOW_ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


@contextmanager
def handlers_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)
