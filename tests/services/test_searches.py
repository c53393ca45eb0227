"""A sweep whose settings are drawn and compete, by the command: killed as a rung decides, then shown by every command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitwise import bits
from typer.testing import CliRunner, Result

from services.cli.app import app
from sweeps.ledger.ledger import Ledger
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Python runs this at the start of every process. The driver kills the command and itself when it has decided at a rung and nobody
# knows, or when the ledger knows and no more.
KILLER = """
import os, signal, sys

def deadly(function):
    def call(*given, **named):
        function(*given, **named)
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return call

if "sweeps.run.driver_process" in sys.orig_argv:
    from sweeps.run import halving, walk

    if os.environ["KILL_AT"] == "decided":
        halving.Contest.decide = deadly(halving.Contest.decide)
    if os.environ["KILL_AT"] == "committed":
        walk.Walk._joined = deadly(walk.Walk._joined)
"""


@pytest.fixture
def file(tmp_path: Path, tiny_program: Program) -> Path:
    # On as many test images no two settings err alike: a rung decides between them.
    program = to_dict(tiny_program) | {"data": {"kind": "digit_pairs", "train": 256, "test": 1000}, "clip": None}
    drawn = {
        "schedule": {"kind": "decay_at", "decay_factor": 0.1},
        "grid": {"schedule.learning_rate": {"log": [1e-4, 0.5]}, "schedule.decay_epoch": {"range": [2, 3], "step": 1}},
        "search": {"kind": "sobol", "samples": 6},
        "halving": {"grace_epochs": 1, "reduction_factor": 3},
    }
    constant = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
    document = {"name": "drawn", "program": program, "epochs": 5, "seeds": [0, 1]}
    path = tmp_path / "drawn.json"
    path.write_text(json.dumps(document | {"arms": {"a": drawn, "constant": constant}}))
    return path


def killed_at(moment: str, place: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """The command, whose driver kills both at a moment."""
    (place / "sitecustomize.py").write_text(KILLER)
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "run", *map(str, arguments)],
        env=os.environ | {"KILL_AT": moment, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def told(home: Path) -> dict[str, tuple[Any, Any, list[dict[str, str]]]]:
    """Every trial's outcome and its records, bit for bit, by name."""
    ledger = Ledger.open(f"sqlite:///{home}/ledger.db")
    try:
        (sweep,) = ledger.sweeps()
        return {
            row.name: (row.status, row.epoch, [bits(state.metrics) for state in ledger.curve(row.head)])
            for row in ledger.trials(sweep.id)
        }
    finally:
        ledger.close()


def abel(*arguments: Any, **environment: Any) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"} | environment)


def test_a_search_killed_at_a_rung_ends_like_an_undisturbed_one(
    file: Path, tmp_path: Path, abel_home: Path, own_directories: Path, reap: Callable[[], list[str]]
) -> None:
    for moment in ("decided", "committed"):
        killed = killed_at(moment, tmp_path, file, "--no-tracking", "--workers", "1")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        reap()
    planned = json.loads(abel("plan", str(file), "--json").stdout)
    assert planned["trials"] == 14
    assert planned["epochs_naive"] == 70
    low, high = planned["epochs_shared"]
    done = abel("run", str(file), "--json")
    assert done.exit_code == 0, done.output
    others = {"ABEL_HOME": str(own_directories / "b")}
    alone = abel("run", str(file), "--no-sharing", "--workers", "1", "--no-tracking", **others)
    assert alone.exit_code == 0, alone.output
    found = told(abel_home)
    assert found == told(own_directories / "b")
    ends = [(status, epoch) for status, epoch, _ in found.values()]
    assert set(ends) == {("stopped", 1), ("stopped", 3), ("finished", 5)}
    stopped = len(ends) - ends.count(("finished", 5))
    assert low <= json.loads(done.stdout)["detail"]["sweep"]["trained"] <= high

    detail = json.loads(abel("status", "drawn", "--json").stdout)
    assert (detail["sweep"]["status"], detail["sweep"]["stopped"]) == ("finished", stopped)
    assert f"12/12 {stopped} stopped" in abel("status", "drawn").output
    assert json.loads(abel("plan", str(file), "--json").stdout)["epochs_remaining"] == [0, 0]
    refused = abel("baseline", "save", "drawn")
    assert refused.exit_code == 2
    assert f"{stopped} of 14 have none" in refused.output
    written = abel("report", "drawn", "--out", str(own_directories / "report"))
    assert written.exit_code == 0, written.output
    assert f"{stopped} trials did not finish" in " ".join(written.output.split())
    page = (own_directories / "report" / "index.html").read_text()
    assert page.count("outcome-stopped") == stopped
    assert "lags behind" not in page
