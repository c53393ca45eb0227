import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from sweeps.janitor import clean, cleaned

# A driver with two helpers in sessions of their own: one works in the directory, one only names it.
DRIVER = """
import subprocess, sys
from pathlib import Path
from sweeps.janitor import cleaned
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
def directory():
    return Path(tempfile.mkdtemp(prefix="abel-janitor-"))


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_driver_leaves_is_gone_however_it_ends(directory, killed):
    command = [sys.executable, "-c", DRIVER, str(directory)]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with driver:
        helpers = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        assert len(helpers) == 2
        (janitor,) = (child for child in psutil.Process(driver.pid).children() if "sweeps.janitor" in child.cmdline())
        if killed:
            driver.kill()
        else:
            driver.stdin.close()
        _, alive = psutil.wait_procs([*helpers, janitor], timeout=60)
    assert alive == []
    assert not directory.exists()


def test_others_are_left_alone(directory):
    other = subprocess.Popen([sys.executable, "-c", "input()", f"{directory.parent}"], stdin=subprocess.PIPE)
    with other:
        clean(directory)
        assert other.poll() is None
        other.stdin.close()
    assert other.returncode is not None


def test_a_block_that_raises_is_cleaned_up_too(directory):
    with pytest.raises(ValueError, match="inside"), cleaned(directory):
        raise ValueError("inside")
    assert not directory.exists()
