"""Tests for `services/streams.py`, through the command: what cannot be shown changes nothing but what is seen."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from workers.config import Program, to_dict

COMMAND = [sys.executable, "-m", "services.cli"]
ARMS = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}
FULL = "cannot be written: No space left on device"


def abel(*arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*COMMAND, *arguments], check=False, **streams)


def closed(*arguments: str) -> subprocess.CompletedProcess[Any]:
    """The command, started without a standard output."""
    return subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments], check=False, stderr=subprocess.PIPE
    )


@pytest.fixture
def gone() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.fixture
def full() -> Iterator[FileIO]:
    with Path("/dev/full").open("wb", buffering=0) as device:
        yield device


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["catalog", "fig-3"], ["status", "--json"]])
def test_output_that_is_the_only_product_must_be_written(arguments: list[str], full: FileIO) -> None:
    done = abel(*arguments, stdout=full)
    assert (done.returncode, FULL in done.stderr.decode()) == (74, True), done.stderr.decode()


def test_a_reader_that_goes_away_is_no_failure(gone: int) -> None:
    done = abel("catalog", stdout=gone)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_output_is_never_the_number_of_another_file(tmp_path: Path) -> None:
    done = closed("status")
    assert (done.returncode, b"Bad file descriptor" in done.stderr) == (74, True)
    done = closed("init", str(tmp_path / "mine.yaml"))
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_that_cannot_be_told_keeps_its_exit_code(full: FileIO, gone: int) -> None:
    assert abel("plan", "no-such", stderr=full).returncode == 2
    assert abel("plan", "--no-such", stdout=gone, stderr=gone).returncode == 2


def test_characters_that_the_output_lacks_are_replaced() -> None:
    done = abel("catalog", "fig-s6a", "--json", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout.decode("ascii"))["name"] == "fig-s6a"
    listed = abel("plan", "fig-s6a", env=os.environ | {"PYTHONIOENCODING": "latin-1", "COLUMNS": "100"})
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert "fig-s6a" in listed.stdout.decode("latin-1")


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_nobody_sees_finishes_and_tells(
    tmp_path: Path,
    gone: int,
    full: FileIO,
    monkeypatch: pytest.MonkeyPatch,
    reap: Callable[[], list[str]],
    tiny_program: Program,
) -> None:
    monkeypatch.chdir(tmp_path)
    document = {"name": "tiny", "program": to_dict(tiny_program), "epochs": 2, "seeds": [0], "arms": ARMS}
    Path("spec.json").write_text(json.dumps(document))
    told = {"ABEL_NOTIFY_COMMAND": "cat > notice; echo told >&2", "PYTHONIOENCODING": "ascii"}
    done = abel("run", "spec.json", "--workers", "1", stdout=gone, stderr=full, env=os.environ | told)
    assert done.returncode == 0
    assert json.loads(Path("notice").read_text())["event"] == "finished"
    status = json.loads(abel("status", "tiny", "--json").stdout)
    assert (status["sweep"]["status"], status["lacking"]) == ("finished", 0)
    again = abel("run", "spec.json", "--json", stdout=full)
    assert (again.returncode, b"Traceback" in again.stderr) == (0, False)
