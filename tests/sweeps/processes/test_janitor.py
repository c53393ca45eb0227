import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.processes.janitor import LOCK, UNLOCKED_SECONDS, clean, clean_leftovers, cleaned

# A driver with two helpers in sessions of their own: one works in the directory, one only names it.
DRIVER = """
import subprocess, sys
from pathlib import Path
from sweeps.processes.janitor import cleaned
directory = Path(sys.argv[1])
with cleaned(directory):
    wait = [sys.executable, "-c", "import time; time.sleep(600)"]
    helpers = [
        subprocess.Popen(wait, cwd=directory, start_new_session=True),
        subprocess.Popen([*wait, f"--session={directory}/session"], start_new_session=True),
    ]
    print(*(helper.pid for helper in helpers), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="abel-janitor-"))


@contextlib.contextmanager
def started(directory: Path) -> Iterator[tuple[Any, list[psutil.Process], psutil.Process]]:
    """A driver with its two helpers and its janitor."""
    command = [sys.executable, "-c", DRIVER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        helpers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        assert len(helpers) == 2
        yield driver, helpers, janitor_of(driver)


def janitor_of(driver: Any) -> psutil.Process:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(driver.pid).children():
                if "sweeps.processes.janitor" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    return child
        time.sleep(0.05)
    raise AssertionError("the driver must have a janitor")


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_driver_leaves_is_gone_however_it_ends(directory: Path, killed: bool) -> None:
    with started(directory) as (driver, helpers, janitor):
        if killed:
            driver.kill()
        else:
            driver.stdin.close()
        _, alive = psutil.wait_procs([*helpers, janitor], timeout=60)
    assert alive == []
    assert not directory.exists()


def test_a_janitor_that_is_killed_is_replaced(directory: Path) -> None:
    with started(directory) as (driver, helpers, janitor):
        janitor.kill()
        janitor.wait(60)
        another = janitor_of(driver)
        assert another.pid != janitor.pid
        driver.kill()
        _, alive = psutil.wait_procs([*helpers, another], timeout=60)
    assert alive == []
    assert not directory.exists()


def test_a_janitor_that_is_killed_at_the_last_moment_leaves_nothing(directory: Path) -> None:
    with started(directory) as (driver, helpers, janitor):
        janitor.kill()
        driver.stdin.close()
        _, alive = psutil.wait_procs(helpers, timeout=60)
    assert alive == []
    assert not directory.exists()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_next_run_cleans_what_driver_and_janitor_left(temporary: Path) -> None:
    left, live = (Path(tempfile.mkdtemp(prefix="abel-ray-")) for _ in range(2))
    foreign, old, elsewhere = temporary / "abel-ray-new", temporary / "abel-ray-old", temporary / "elsewhere"
    for other in (foreign, old, elsewhere):
        other.mkdir()
    (elsewhere / LOCK).touch()
    (temporary / "abel-ray-link").symlink_to(elsewhere)
    os.utime(old, (0, time.time() - UNLOCKED_SECONDS - 60))
    with started(left) as (driver, helpers, janitor), started(live) as (_, busy, _):
        janitor.suspend()  # else the driver has time to replace it
        driver.kill()
        driver.wait()
        janitor.kill()
        janitor.wait(60)
        assert all(helper.is_running() for helper in helpers)
        clean_leftovers()
        _, alive = psutil.wait_procs(helpers, timeout=60)
        assert alive == []
        assert all(process.is_running() for process in busy)
        assert sorted(path.name for path in temporary.iterdir()) == sorted(
            ["abel-ray-link", "abel-ray-new", "elsewhere", live.name]
        )
        assert (elsewhere / LOCK).exists()


def test_cleaning_leaves_alone_a_lock_that_was_just_taken(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, flock = Path(tempfile.mkdtemp(prefix="abel-ray-")), fcntl.flock

    def between(file: Any, kind: int) -> None:
        if kind == fcntl.LOCK_EX:
            clean_leftovers()
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", between)
    with cleaned(directory):
        assert (directory / LOCK).exists()
        clean_leftovers()
        assert (directory / LOCK).exists()
    assert not directory.exists()


def test_others_are_left_alone(directory: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()", f"{directory.parent}"], stdin=subprocess.PIPE)
    with other:
        clean(directory)
        assert other.poll() is None
        other.stdin.close()
    assert other.returncode is not None


def test_a_block_that_raises_is_cleaned_up_too(directory: Path) -> None:
    with pytest.raises(ValueError, match="inside"), cleaned(directory):
        raise ValueError("inside")
    assert not directory.exists()
