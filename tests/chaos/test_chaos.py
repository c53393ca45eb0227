"""The short form of `make chaos`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RUN = Path(__file__).with_name("run.py")


def test_a_sweep_whose_workers_and_drivers_are_killed_comes_out_identical() -> None:
    done = subprocess.run([sys.executable, RUN, "--short", "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "drivers killed                              3" in done.stdout
