"""A driver's process is noticed to be lost however it comes about, and ended with whoever listens to it."""

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from shops import Shop

from sweeps.ledger.leases import SweepBusy
from sweeps.ledger.records import SweepStatus
from sweeps.processes import supervisor
from sweeps.processes.job import Begun, DriverLost, Job, Options, Outcome, Progress
from sweeps.spec.sweep import SweepSpec

# What the process of a made-up driver does first: says which it is.
BEGIN = """
import os, pickle, signal, sys, time
from multiprocessing.connection import Connection
from sweeps.processes.job import Alive, Begun, Outcome
from sweeps.ledger.leases import Fenced
from sweeps.ledger.records import SweepStatus
channel = Connection(1, readable=False)
job = pickle.load(sys.stdin.buffer)
channel.send(Begun(os.getpid()))
"""


Messages = Generator[Begun | Progress | Outcome, None, None]


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., closing[Messages]]:
    """Listen to a process that then does so, with a job and a log."""

    def listen(script: str, job: Any = None, stop: threading.Event | None = None) -> closing[Messages]:
        monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", BEGIN + script))
        return closing(supervisor.drive(job, stop=stop or threading.Event(), log=tmp_path / "log"))

    return listen


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed by SIGKILL"),
        (
            "sys.stderr.write('first\\nC  The GCS has died\\n\\n'); os._exit(1)",
            "its process ended with 1: C  The GCS has died",
        ),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "its process gave no sign of life for 1 s"),
        ("channel.send(Alive(601.0)); time.sleep(60)", "its process did nothing for 601 s"),
        ("os.write(1, b'garbage' * 100); os._exit(0)", "its process ended with 0"),
        ("channel.send_bytes(b'garbage'); time.sleep(60)", "its process sent an unreadable message"),
        ("channel.close(); time.sleep(60)", "its process closed its channel and did not end"),
    ],
)
def test_a_loss_is_noticed_and_said(
    driven: Callable[..., closing[Messages]], monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "ENDING_SECONDS", 1.0)
    with driven(script) as messages:
        pid = next(messages).invocation
        with pytest.raises(DriverLost, match=why):
            next(messages)
    assert not psutil.pid_exists(pid)


def test_a_process_that_never_says_anything_is_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(DriverLost, match="no sign of life"):
        list(supervisor.drive(b"x" * 10**6, stop=threading.Event(), log=tmp_path / "log"))


def test_signs_of_life_keep_a_slow_driver(
    driven: Callable[..., closing[Messages]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 1.0)
    with driven("for _ in range(6): time.sleep(0.5); channel.send(Alive(0.0))\nchannel.send(Begun(7))") as messages:
        next(messages)
        assert next(messages) == Begun(7)


def test_the_job_the_wish_to_stop_and_the_outcome_arrive(driven: Callable[..., closing[Messages]]) -> None:
    outcome = "Outcome(status=SweepStatus.INTERRUPTED, trained=len(job), replayed=0, seconds={})"
    stop = threading.Event()
    with driven(f"sys.stdin.readline(); channel.send({outcome}); time.sleep(60)", "four", stop) as messages:
        pid = next(messages).invocation
        stop.set()
        assert list(messages) == [Outcome(status=SweepStatus.INTERRUPTED, trained=4, replayed=0, seconds={})]
    assert not psutil.pid_exists(pid)


def test_whoever_stops_listening_ends_the_process(driven: Callable[..., closing[Messages]]) -> None:
    with driven("time.sleep(60)") as messages:
        pid = next(messages).invocation
        assert os.getpgid(pid) == pid  # a Ctrl-C at the terminal does not reach it
    assert not psutil.pid_exists(pid)


# A driver that gets SIGTERM under the handler that Ray has while it starts.
TERMINATED = """
import os, signal, sys
from sweeps.run import driver_process
def run(self, job):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    os.kill(os.getpid(), signal.SIGTERM)
driver_process.Driver.run = run
driver_process.main()
"""


def test_a_driver_terminated_while_ray_starts_is_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", TERMINATED))
    with pytest.raises(DriverLost, match="its process was terminated while Ray started"):
        list(supervisor.drive(None, stop=threading.Event(), log=tmp_path / "log"))


@pytest.fixture
def job(shop: Shop, spec_of: Callable[..., SweepSpec], tmp_path: Path) -> Job:
    trials, identities, sweep_id = shop.enter(spec_of())
    options = Options(checkpoints=tmp_path, cache=tmp_path)
    return Job(
        ledger_url=shop.url,
        sweep_id=sweep_id,
        trials=trials,
        identities=identities,
        options=options,
        forecast=(1, 1),
    )


def test_a_second_run_is_pointed_to_the_command_that_holds_the_sweep(shop: Shop, job: Job, tmp_path: Path) -> None:
    with closing(supervisor.drive(job, stop=threading.Event(), log=tmp_path / "log")) as messages:
        assert isinstance(next(messages), Begun)
        with pytest.raises(SweepBusy, match=f"is being run by process {os.getpid()} on"):
            shop.ledger.begin_invocation(job.sweep_id)


def test_what_a_driver_raises_comes_through_as_itself(
    job: Job, another_process: Callable[..., Any], tmp_path: Path
) -> None:
    runner = another_process(job.ledger_url, job.sweep_id)
    with pytest.raises(SweepBusy, match=f"is being run by process {runner.process.pid} on"):
        list(supervisor.drive(job, stop=threading.Event(), log=tmp_path / "log"))
