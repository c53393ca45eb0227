"""The command on a sweep of its own, for real: Ctrl-C, going on, a tracking server that is not there, running again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle import is_trial
from typer.testing import CliRunner

from services.cli.app import app
from services.tracking import downsampling
from services.tracking.runs import MlflowClient, sweep_runs
from sweeps.ledger.ledger import Ledger
from workers.config import Program, to_dict
from workers.trajectory import TEST_ERROR

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ABEL = [sys.executable, "-m", "services.cli"]
EPOCHS = 1500
# A process that a test run started in the background has SIGINT ignored, which its children inherit.
LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from services.cli.app import main; main()"
)


@pytest.fixture
def spec(tmp_path: Path, tiny_program: Program) -> Path:
    """A sweep that takes some seconds after its start, with a trial that diverges."""
    arms = {
        "constant": {"schedule": {"kind": "constant", "learning_rate": 0.01}},
        "wild": {"schedule": {"kind": "constant", "learning_rate": 1e9}},
    }
    document = {"name": "real", "program": to_dict(tiny_program), "epochs": EPOCHS, "seeds": [0], "arms": arms}
    path = tmp_path / "real.json"
    path.write_text(json.dumps(document))
    return path


def run(*arguments: Any, **environment: Any) -> subprocess.CompletedProcess[str]:
    command = [*ABEL, "run", *map(str, arguments), "--workers", "1"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | environment
    )


def interrupted(path: Path, **environment: Any) -> tuple[Any, Any]:
    """The command after a Ctrl-C once the first epochs are recorded."""
    ledger = Path(os.environ["ABEL_HOME"]) / "ledger.db"
    running = subprocess.Popen(
        [sys.executable, "-c", LISTENING, "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    while not (ledger.exists() and epochs(ledger)):
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=120)
    return running.returncode, output


def epochs(path: Path) -> int:
    ledger = Ledger.open(f"sqlite:///{path}")
    try:
        return sum(row.epoch for sweep in ledger.sweeps() for row in ledger.trials(sweep.id))
    finally:
        ledger.close()


def points(home: Path) -> list[tuple[Any, Any, int]]:
    """Every run of MLflow by name, and how many points its curves have."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    (sweep,) = Ledger.open(f"sqlite:///{home}/ledger.db").sweeps()
    return [
        (run.info.run_name, run.info.status, len(client.get_metric_history(run.info.run_id, "test_error")))
        for run in sweep_runs(client, sweep.id)
        if is_trial(run)
    ]


def test_ctrl_c_saves_and_says_how_to_go_on_and_the_same_command_does(
    spec: Path, abel_home: Path, free_port: Callable[[], int]
) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    code, output = interrupted(spec, ABEL_TRACKING_URI=unreachable)
    assert code == 130, output
    assert "Finishing the running epochs and saving" in output
    assert "real: interrupted;" in output and f"run {spec}\n" in output
    assert f"tracking {unreachable}: unreachable" in output
    assert "Not everything is in the tracking store" in output
    trained = epochs(abel_home / "ledger.db")
    assert trained < EPOCHS

    rest = run(spec, "--json")
    assert rest.returncode == 0, rest.stderr
    result = json.loads(rest.stdout)
    assert (result["outcome"], result["replayed"], result["tracking"]) == ("finished", 0, None)
    assert trained + result["trained"] == epochs(abel_home / "ledger.db")
    assert "diverged at epoch" in CliRunner().invoke(app, ["status", "real"]).stdout
    before = sorted(points(abel_home))
    assert [(name, status) for name, status, _ in before] == [
        ("constant seed=0", "FINISHED"),
        ("wild seed=0", "FAILED"),
    ]
    grid = sum(downsampling.on_grid(epoch, EPOCHS, TEST_ERROR) for epoch in range(1, EPOCHS + 1))
    assert grid < before[0][-1] <= downsampling.POINTS  # and the last, and the least

    again = json.loads(run(spec, "--json").stdout)
    assert (again["outcome"], again["trained"], again["tracking"]) == ("nothing to do", 0, None)
    assert sorted(points(abel_home)) == before


def test_without_its_tracking_server_a_sweep_is_trained_all_the_same(
    spec: Path, abel_home: Path, free_port: Callable[[], int]
) -> None:
    spec.write_text(spec.read_text().replace(f"{EPOCHS}", "5"))
    done = run(spec, ABEL_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    assert "real: finished;" in done.stdout
    assert "unreachable" in done.stderr + done.stdout
    assert "Not everything is in the tracking store" in done.stdout
    assert epochs(abel_home / "ledger.db") >= 5
