"""Tests for `services/tracking/uploading.py` and the verb `track`: a real ledger, a real MLflow store, real processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stories import Story
from typer.testing import CliRunner
from waiting import wait_for

from services.cli.app import app
from services.errors import OperationError
from services.settings import Settings
from services.tracking import uploading
from services.tracking.uploading import project, upload
from services.upload_retries import sole
from sweeps.ledger.records import SweepStatus
from sweeps.urls import without_credentials


@pytest.fixture
def small(story: Story) -> Story:
    story.seeds, story.epochs, story.decays, story.layers = 2, 6, (2,), 1
    return story.begin()


@pytest.fixture
def settings(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The story's ledger as the environment has it."""
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    return Settings.from_env().prepare()


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def arguments(tmp_path: Path, uri: str, sweep_id: str) -> list[str]:
    places = ["--ledger", f"sqlite:///{tmp_path / 'ledger.db'}", "--artifacts", str(tmp_path / "artifacts")]
    return [*places, "--sweep", sweep_id, "--tracking-uri", uri, "--give-up-after", "1"]


def abel(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))


def silent(line: str) -> None:
    """Take no notice."""


def test_an_unknown_sweep_is_a_usage_error(
    small: Story, tracking_uri: str, tmp_path: Path, capsys: Any, handlers: None
) -> None:
    assert project([*arguments(tmp_path, tracking_uri, "nothing")]) == 2
    assert "sweep 'nothing': must be one that was run here" in capsys.readouterr().err


def test_a_store_out_of_reach_is_told_without_credentials(
    small: Story, tracking_uri: str, tmp_path: Path, capsys: Any, free_port: Callable[[], int], handlers: None
) -> None:
    small.tell().end()
    place = f"127.0.0.1:{free_port()}"
    assert project(arguments(tmp_path, f"http://me:secret@{place}", small.sweep_id)) == 1
    said = capsys.readouterr().err
    assert f"tracking http://{place}: unreachable: " in said and "Connection refused" in said
    assert "unsent data is kept" in said and "secret" not in said
    assert small.ledger.tracking_offset(small.sweep_id, f"http://{place}") == 0
    assert project(arguments(tmp_path, tracking_uri, small.name)) == 0
    last = small.ledger.events(small.sweep_id)[-1].id
    assert small.ledger.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == last


@pytest.mark.slow
def test_a_follower_ends_when_its_starter_is_gone(small: Story, tracking_uri: str, tmp_path: Path) -> None:
    small.tell(upto=2)
    last = small.ledger.events(small.sweep_id)[-1].id
    words = [*arguments(tmp_path, tracking_uri, small.sweep_id), "--follow"]
    command = [sys.executable, "-m", "services.tracking.uploading", *words]
    start = f"subprocess.Popen({command!r}, stderr=open({str(tmp_path / 'log')!r}, 'wb'))"
    script = f"import subprocess; print({start}.pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        wait_for(lambda: small.ledger.tracking_offset(small.sweep_id, without_credentials(tracking_uri)) == last, 120)
        starter.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in state_of(pid))


@pytest.mark.slow
def test_mlflow_is_made_again_from_the_ledger(
    small: Story, settings: Settings, tmp_path: Path, everything: Any, empty_store: Path
) -> None:
    small.tell(upto=3).end(SweepStatus.INTERRUPTED)
    assert upload(settings, small.ledger, small.ledger.sweep(small.sweep_id), rebuild=False, say=silent).error is None
    small.resume()
    small.tell().end()
    assert upload(settings, small.ledger, small.ledger.sweep(small.sweep_id), rebuild=False, say=silent).lacking == 0
    original = f"sqlite:///{shutil.move(tmp_path / 'mlflow.db', tmp_path / 'original.db')}"
    rebuilt = abel("track", small.name, "--rebuild", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    (result,) = json.loads(rebuilt.stdout)
    assert (result["id"], result["lacking"], result["error"]) == (small.sweep_id, 0, None)
    copy = f"sqlite:///{shutil.copy(tmp_path / 'mlflow.db', tmp_path / 'copy.db')}"
    assert everything(copy, small.sweep_id) == everything(original, small.sweep_id)
    again = abel("track", "--all", "--rebuild")
    assert again.returncode == 0 and "complete in" in again.stdout, again
    copy = f"sqlite:///{shutil.copy(tmp_path / 'mlflow.db', tmp_path / 'another.db')}"
    assert everything(copy, small.sweep_id) == everything(original, small.sweep_id)


def test_another_tracking_uri_gets_all_of_it(
    small: Story,
    settings: Settings,
    tmp_path: Path,
    everything: Any,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small.tell().end()
    assert CliRunner().invoke(app, ["track", small.name]).exit_code == 0
    other = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'other.db')}"
    monkeypatch.setenv("ABEL_TRACKING_URI", other)
    assert CliRunner().invoke(app, ["track", small.name]).exit_code == 0
    assert everything(other, small.sweep_id) == everything(settings.tracking_uri, small.sweep_id)


def test_an_outage_is_an_exit_code_and_a_reason(
    small: Story, settings: Settings, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    small.tell().end()
    monkeypatch.setattr(uploading, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setenv("ABEL_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    result = CliRunner().invoke(app, ["track", "--all", "--json"])
    assert result.exit_code == 1
    (told,) = json.loads(result.stdout)
    assert told["lacking"] == len(small.ledger.events(small.sweep_id))
    assert "Connection refused" in told["error"]
    assert "unreachable" in result.stderr


@pytest.mark.parametrize("words", [["track"], ["track", "tiny", "--all"], ["track", "no-such"]])
def test_bad_input_is_exit_code_2(small: Story, settings: Settings, words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_sweep_that_another_process_shows_is_left_to_it(
    small: Story, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "LOCK_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "LOOK_SECONDS", 0.0)
    with (
        sole(uploading._lock(settings.artifacts, small.sweep_id, settings.tracking_uri)),
        pytest.raises(OperationError, match="another process is uploading it"),
    ):
        upload(settings, small.ledger, small.ledger.sweep(small.sweep_id), rebuild=True, say=silent)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
