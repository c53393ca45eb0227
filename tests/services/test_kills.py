"""kill -9 of command and driver at seeded moments, then of the driver alone: the same records, one run per trial.

CHAOS_MOMENTS says at how many moments both are killed. There is one of each kind, counting the driver's own.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from bitwise import bits, bits_of
from oracle import alone, is_trial

from services.tracking.runs import MlflowClient, sweep_runs
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from workers.config import Program
from workers.workshop import Workshop

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SEED = 20210323
MOMENTS = int(os.environ.get("CHAOS_MOMENTS", "1"))

# Python runs this at the start of every process. The driver kills itself at one moment: before a commit ends, or before a report
# is taken in; the first time with the command, or alone.
KILLER = """
import os, signal, sys

def dying(function, applies):
    calls = 0

    def call(*given, **named):
        nonlocal calls
        calls += applies(given)
        if calls == int(number):
            die()
        return function(*given, **named)

    return call

def die():
    if who == "both":
        os.kill(os.getppid(), signal.SIGKILL)
    elif os.path.exists(who):
        return
    else:
        open(who, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)

if "sweeps.run.driver_process" in sys.orig_argv and "KILL_AT" in os.environ:
    from sweeps.ledger import driving
    from sweeps.run import frontier
    from workers.reports import Forked

    moment, number, who = os.environ["KILL_AT"].split()
    if moment == "transaction":
        driving.spent = dying(driving.spent, lambda given: bool(given[1].records))
    if moment == "fork":
        is_fork = lambda given: any(isinstance(report, Forked) for report in given[2])
        frontier.Frontier.hear = dying(frontier.Frontier.hear, is_fork)
    if moment == "report":
        frontier.Frontier.hear = dying(frontier.Frontier.hear, lambda given: True)
"""


def spec(program: dict[str, Any]) -> dict[str, Any]:
    rate = {"learning_rate": 0.05, "decay_factor": 0.1}
    return {
        "name": "killed",
        "program": program,
        "epochs": 60,
        "seeds": [0, 1],
        "arms": {
            "at": {
                "schedule": {"kind": "decay_at", "decay_epoch": 1} | rate,
                "grid": {"schedule.decay_epoch": [5, 20, 40]},
            },
            "constant": {"schedule": {"kind": "constant", "learning_rate": 0.05}},
        },
    }


def undisturbed(document: dict[str, Any], directory: Path) -> dict[str, list[dict[str, str]]]:
    """Every trial trained alone, in this process: its records' metrics by trial name."""
    from sweeps.spec.sweep import parse_document

    workshop = Workshop(checkpoints=directory, data_dir=None)
    trials = parse_document(document).expand()
    return {trial.name: bits_of(alone(trial, workshop)) for trial in trials}


def test_killed_at_seeded_moments_a_sweep_finishes_with_the_same_records(
    tiny_program: Program, abel_home: Path, tmp_path: Path, reap: Callable[[], list[str]]
) -> None:
    from workers.config import to_dict

    document = spec(to_dict(tiny_program))
    path = tmp_path / "killed.json"
    path.write_text(json.dumps(document))
    draw = random.Random(SEED)
    moments = [("report", draw.randint(1, 2)), ("transaction", draw.randint(1, 2)), ("fork", 1)]
    moments += [("report", draw.randint(1, 4)), ("transaction", 1)]
    moments = moments[:MOMENTS]
    draw.shuffle(moments)
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    command = [sys.executable, "-m", "services.cli", "run", str(path)]
    for moment, number in moments:
        ended = at(f"{moment} {number} both", command, tmp_path)
        assert ended.returncode == -signal.SIGKILL, (moments, moment, ended.stdout, ended.stderr)
        reap()
    last = "report 2" if ("fork", 1) in moments else "fork 1"
    ended = at(f"{last} {tmp_path}/alone-once", command, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "the driver was lost: its process was killed by SIGKILL" in ended.stdout

    ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
    sweep = ledger.sweep("killed")
    assert sweep.status is SweepStatus.FINISHED
    curves = {row.name: [bits(s.metrics) for s in ledger.curve(row.head)] for row in ledger.trials(sweep.id)}
    assert curves == undisturbed(document, tmp_path / "alone")
    distinct = {state.key for row in ledger.trials(sweep.id) for state in ledger.curve(row.head)}
    assert ledger.work(sweep.id).trained == len(distinct) == 2 * (60 + 55 + 40 + 20)
    assert_one_run_per_trial(abel_home, sweep.id, [row.name for row in ledger.trials(sweep.id)])


def at(moment: str, command: list[Any], place: Path) -> subprocess.CompletedProcess[str]:
    """The command, whose driver kills itself at a moment."""
    environment = os.environ | {"KILL_AT": moment, "PYTHONPATH": str(place)}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def test_a_worker_that_dies_before_it_is_known_does_not_hold_up_the_driver(
    tiny_program: Program, abel_home: Path, tmp_path: Path, reap: Callable[[], list[str]]
) -> None:
    from workers.config import to_dict

    path = tmp_path / "killed.json"
    document = spec(to_dict(tiny_program))
    short = {"seeds": [0], "epochs": 2, "arms": {"constant": document["arms"]["constant"]}}
    path.write_text(json.dumps(document | short))
    command = [sys.executable, "-m", "services.cli", "run", str(path), "--workers", "1", "--no-tracking"]
    quick = os.environ | {"RAY_worker_register_timeout_seconds": "5"}  # after which Ray starts another; 60 by default
    with subprocess.Popen(command, env=quick, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
        try:
            first_worker(driver).kill()
            _, said = driver.communicate(timeout=180)
        finally:
            driver.kill()
    assert driver.returncode == 0, said


def first_worker(driver: subprocess.Popen[str]) -> psutil.Process:
    """A process that Ray has just started to be a worker, before it can have told Ray of itself."""
    while driver.poll() is None:
        for process in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(part.endswith("default_worker.py") for part in process.cmdline()):
                    return process
        time.sleep(0.02)  # a worker imports Ray for longer than this before it registers
    raise AssertionError("the driver must start a worker")


def assert_one_run_per_trial(home: Path, sweep_id: str, names: list[Any]) -> None:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = list(sweep_runs(client, sweep_id))
    children = [run for run in runs if is_trial(run)]
    assert sorted(run.info.run_name for run in children) == sorted(names)
    assert len(runs) == len(names) + 1
    for run in children:
        history = client.get_metric_history(run.info.run_id, "test_error")
        assert sorted(point.step for point in history) == list(range(1, 61))
