"""`abel resume` and `abel extend` without a service: what was paused goes on where it was, and nothing is trained twice."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS, DECAY = 400, 100


def document(program: Any) -> dict[str, Any]:
    rate = {"learning_rate": 0.05, "decay_factor": 0.1}
    arms = {"at": {"schedule": {"kind": "decay_at", "decay_epoch": DECAY} | rate}}
    return {"name": "paused", "program": to_dict(program), "epochs": EPOCHS, "seeds": [0, 1], "arms": arms}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "services.cli", *words]


def abel(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_paused_sweep_is_refused_until_it_is_resumed(
    tiny_program: Program, abel_home: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    (file := tmp_path / "paused.json").write_text(json.dumps(document(tiny_program)))
    run = start(command("run", str(file), "--no-tracking"))
    run.wait_for(lambda: (abel_home / "ledger.db").exists())
    ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
    run.wait_for(ledger.sweeps)
    watching = start(command("watch", "paused"))
    run.wait_for(lambda: covered(ledger) >= 1)
    assert abel("pause", "paused").output.split()[-1] == "stopping"
    run.wait_for_end(130)
    assert "paused: paused" in run.said and "abel resume paused" in run.said
    assert ledger.sweep("paused").status is SweepStatus.PAUSED
    there = covered(ledger)
    assert 1 <= there < 2 * EPOCHS
    refused = abel("run", str(file), "--no-tracking")
    assert refused.exit_code == 2
    assert "is paused; `abel resume paused` goes on with it" in refused.stderr
    watching.wait_for(lambda: "paused: paused" in watching.said)
    file.unlink()  # the ledger has all that it takes

    resumed = start(command("resume", "paused", "--json"))
    resumed.wait_for_end()
    watching.wait_for_end()
    sweep = ledger.sweep("paused")
    assert (sweep.status, covered(ledger)) == (SweepStatus.FINISHED, 2 * EPOCHS)
    assert ledger.work(sweep.id).trained == 2 * EPOCHS  # none twice
    assert "paused: finished" in watching.said

    assert abel("extend", "paused", "--seeds", "1").exit_code == 0
    extended = ledger.sweep("paused")
    assert extended.id != sweep.id and extended.status is SweepStatus.FINISHED
    assert (len(ledger.trials(extended.id)), ledger.work(extended.id).trained) == (1, 0)
    ledger.close()


def covered(ledger: Ledger) -> int:
    """How many epochs of the sweep's trials are recorded."""
    sweeps = ledger.sweeps()
    return sum(trial.epoch for trial in ledger.trials(sweeps[-1].id)) if sweeps else 0
