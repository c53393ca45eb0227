"""The command on a disk that fills up, for real: it stops in order, waits, and goes on when there is room."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.ledger import Ledger
from sweeps.rows import SweepStatus
from workers.cohort import train
from workers.config import to_dict
from workers.workshop import Workshop

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# The room that a start asks for is made small, so that the disk can be.
SMALL = """
from services import preflight
preflight.needed_bytes = lambda largest: 2 * 2**20
from services.cli import main
main()
"""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def curves(ledger, sweep_id):
    return {
        row.name: [
            {name: value for name, value in state.metrics.items() if name not in ("seconds", "examples_per_second")}
            for state in ledger.curve(row.head)
        ]
        for row in ledger.trials(sweep_id)
    }


def test_a_full_disk_stops_the_sweep_until_there_is_room(small_disk, tmp_path, tiny_program):
    arms = {"at": {"schedule": {"kind": "decay_at", "learning_rate": 0.05, "decay_factor": 0.1, "decay_epoch": 300}}}
    arms["constant"] = {"schedule": {"kind": "constant", "learning_rate": 0.05}}
    spec = tmp_path / "full.json"
    document = {"name": "full", "program": to_dict(tiny_program), "epochs": 600, "seeds": [0], "arms": arms}
    spec.write_text(json.dumps(document))
    home = small_disk / "abel"
    command = [sys.executable, "-c", SMALL, "run", str(spec), "--no-tracking", "--save-every", "0.2"]
    environment = os.environ | {"ABEL_HOME": str(home)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as running,
    ):
        url = f"sqlite:///{home}/ledger.db"
        wait_for(running, lambda: Path(home, "ledger.db").exists() and progress(url))
        ballast = small_disk / "ballast"
        fill(ballast)
        wait_for(running, lambda: "waiting for" in (tmp_path / "log").read_text())
        ballast.unlink()
        assert running.wait(120) == 0, (tmp_path / "log").read_text()
    ledger = Ledger.open(url)
    (sweep,) = ledger.sweeps()
    assert sweep.status is SweepStatus.FINISHED
    undisturbed = Workshop(checkpoints=tmp_path / "undisturbed", data_dir=None)
    assert len(curves(ledger, sweep.id)) == 2
    assert ledger.work(sweep.id).invocations > 1
    assert curves(ledger, sweep.id) == alone(tmp_path, document, undisturbed)


def alone(tmp_path, document, workshop):
    """The same sweep in this process, undisturbed."""
    from sweeps.frontier import Frontier
    from sweeps.spec import parse_document

    spec = parse_document(document)
    trials = spec.expand()
    identities = {trial.program: workshop.identity(trial.program) for trial in trials}
    ledger = Ledger.open(f"sqlite:///{tmp_path}/undisturbed.db")
    sweep_id = ledger.create_sweep(spec.name, spec.to_dict(), trials, identities)
    frontier = Frontier(ledger, sweep_id, ledger.begin_invocation(sweep_id))
    frontier.open(trials, identities)
    while taken := frontier.take():
        frontier.hear(taken[0], list(train(taken[1], workshop)))
    return curves(ledger, sweep_id)


def progress(url):
    ledger = Ledger.open(url)
    try:
        return sum(row.epoch for sweep in ledger.sweeps() for row in ledger.trials(sweep.id))
    finally:
        ledger.close()


def fill(path):
    with path.open("wb") as file:
        try:
            while True:
                file.write(b"0" * 65536)
                file.flush()
        except OSError:
            pass


def wait_for(running, happened):
    until = time.monotonic() + 180
    while not happened():
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.1)
