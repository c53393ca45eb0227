"""The ledger's PostgreSQL is killed in the middle of a run: the command waits for it and goes on, with the same records."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from oracle import compare, undisturbed
from postgres_server import Cluster

from sweeps.ledger.database import LedgerAway
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.spec.sweep import parse_document
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RATE = {"learning_rate": 0.05}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with postgres_server.empty() as made:
        yield made


def test_a_run_waits_for_its_ledger_and_can_be_stopped_meanwhile(
    cluster: Cluster, tiny_program: Program, tmp_path: Path, start: Callable[..., Any]
) -> None:
    arms = {
        "at": {"schedule": {"kind": "decay_at", "decay_factor": 0.1, "decay_epoch": 60} | RATE},
        "constant": {"schedule": {"kind": "constant"} | RATE},
    }
    document = {"name": "away", "program": to_dict(tiny_program), "epochs": 400, "seeds": [0, 1], "arms": arms}
    spec = tmp_path / "away.json"
    spec.write_text(json.dumps(document))
    options = ["--no-tracking", "--save-every", "0.5", "--workers", "1"]
    command = [sys.executable, "-m", "services.cli", "run", str(spec), *options]
    with cluster.running() as server:
        url = server.create()
        ledger = Ledger.open(url)
        running = start(command, ABEL_LEDGER=url)
        running.wait_for(lambda: recorded(ledger) > 100)
        cluster.kill()
    with closing(ledger):
        running.wait_for(lambda: "waiting for it" in running.said)
        with pytest.raises(LedgerAway):
            ledger.sweeps()
        with cluster.running():
            running.wait_for(lambda: "the ledger is back; continuing" in running.said and recorded(ledger) > 1000)
            cluster.kill()
        running.wait_for(lambda: running.said.count("waiting for it") == 2)
        running.process.send_signal(signal.SIGINT)
        running.wait_for_end(130)
        with cluster.running():
            again = start(command, ABEL_LEDGER=url)
            again.wait_for_end()
            (sweep,) = ledger.sweeps()
            verdict = compare(undisturbed(parse_document(document), tmp_path / "alone"), ledger, sweep.id)
            work = ledger.work(sweep.id)
    assert sweep.status is SweepStatus.FINISHED
    assert (verdict.records, verdict.is_clean, work.invocations) == (4 * 400, True, 3), verdict
    assert "The same command resumes it." in running.said
    assert postgres_server.PASSWORD not in running.said


def recorded(ledger: Ledger) -> int:
    return sum(trial.epoch for sweep in ledger.sweeps() for trial in ledger.trials(sweep.id))
