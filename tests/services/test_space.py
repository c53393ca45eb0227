"""The command on a disk that fills up, for real: it stops in order, waits, and goes on when there is room."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from oracle import compare, undisturbed

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.spec.sweep import parse_document
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OPTIONS = ["--no-tracking", "--save-every", "0.2", "--workers", "1"]
# The room that a start asks for is made small, so that the disk can be.
SMALL = """
from services.verbs.running import preflight
preflight.needed_bytes = lambda largest: 2 * 2**20
from services.cli.app import main
main()
"""


def test_a_full_disk_stops_the_sweep_until_there_is_room(
    small_disk: Any, tmp_path: Path, tiny_program: Program, start: Callable[..., Any]
) -> None:
    arms = {"at": {"schedule": {"kind": "decay_at", "learning_rate": 0.05, "decay_factor": 0.1, "decay_epoch": 300}}}
    arms["constant"] = {"schedule": {"kind": "constant", "learning_rate": 0.05}}
    spec = tmp_path / "full.json"
    document = {"name": "full", "program": to_dict(tiny_program), "epochs": 600, "seeds": [0], "arms": arms}
    spec.write_text(json.dumps(document))
    home = small_disk.place / "abel"
    command = [sys.executable, "-c", SMALL, "run", str(spec), *OPTIONS]
    running = start(command, ABEL_HOME=str(home))
    url = f"sqlite:///{home}/ledger.db"
    running.wait_for(lambda: Path(home, "ledger.db").exists() and recorded(url))
    small_disk.fill()
    running.wait_for(lambda: "waiting for" in running.said)
    small_disk.free()
    running.wait_for_end()
    with closing(Ledger.open(url)) as ledger:
        (sweep,) = ledger.sweeps()
        verdict = compare(undisturbed(parse_document(document), tmp_path / "alone"), ledger, sweep.id)
        work = ledger.work(sweep.id)
    assert sweep.status is SweepStatus.FINISHED
    assert (verdict.records, verdict.is_clean) == (2 * 600, True), verdict
    assert work.invocations > 1


def recorded(url: str) -> int:
    with closing(Ledger.open(url)) as ledger:
        return sum(row.epoch for sweep in ledger.sweeps() for row in ledger.trials(sweep.id))
