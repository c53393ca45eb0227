"""The short form of `make chaos`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RUN = Path(__file__).with_name("run.py")


def test_a_sweep_comes_out_identical_whatever_of_it_is_killed() -> None:
    done = subprocess.run([sys.executable, RUN, "--short", "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for victim, count in (("command", 3), ("driver", 1), ("raylet", 1), ("GCS", 1), ("worker", 1)):
        assert f"{victim + 's killed':44}{count}" in done.stdout, done.stdout
