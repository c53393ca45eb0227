"""The loss of a process that Ray's cluster cannot do without is noticed; its orderly end is none."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.processes import cluster


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a child process of a name."""
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.05)
    with contextlib.ExitStack() as started:

        def start(name: str) -> subprocess.Popen[bytes]:
            program = tmp_path / name
            shutil.copy(shutil.which("sleep"), program)
            process = started.enter_context(subprocess.Popen([program, "600"]))
            started.callback(process.kill)
            return process

        yield start


@pytest.mark.parametrize(
    ("name", "why"), [("raylet", "the raylet of its local"), ("gcs_server", "the GCS of its local")]
)
def test_a_vital_process_that_ends_is_a_loss(
    child: Callable[[str], subprocess.Popen[bytes]], name: str, why: str
) -> None:
    lost, told = [], threading.Event()

    def lose(text: str) -> None:
        lost.append(text)
        told.set()

    with cluster.watched(lose):
        process = child(name)
        assert not told.wait(0.5)
        process.kill()
        assert told.wait(30)
    (text,) = lost
    assert why in text


def test_other_processes_and_an_end_in_order_are_no_loss(child: Callable[[str], subprocess.Popen[bytes]]) -> None:
    lost = []
    with cluster.watched(lost.append) as leave:
        other, raylet = child("log_monitor"), child("raylet")
        threading.Event().wait(0.3)
        other.kill()
        threading.Event().wait(0.3)
        leave()
        raylet.kill()
        threading.Event().wait(0.3)
    assert lost == []
