"""Tests for `services/serving.py`: a server and what it forks end with the command, however that is ended."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# A server with a worker process.
SERVER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
time.sleep(600)
"""
COMMAND = "import sys; from services.serving import serve; sys.exit(serve([sys.executable, '-c', sys.argv[1]], {}))"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_server_and_its_workers_end_with_the_command(number: signal.Signals) -> None:
    listening = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {COMMAND}"
    with subprocess.Popen([sys.executable, "-c", listening, SERVER], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        command.stdout.readline()
        everything = psutil.Process(command.pid).children(recursive=True)
        places = {Path(process.cwd()) for process in everything if "abel-ui-" in process.cwd()}
        assert len(everything) == 3 and len(places) == 1  # server, worker, janitor
        command.send_signal(number)
        _, alive = psutil.wait_procs([*everything], timeout=60)
    assert alive == []
    assert command.returncode == (-number if number is signal.SIGKILL else 0)
    assert not any(place.exists() for place in places)


def test_the_servers_own_end_is_the_commands() -> None:
    done = subprocess.run([sys.executable, "-c", COMMAND, "raise SystemExit(3)"], check=False)
    assert done.returncode == 3
