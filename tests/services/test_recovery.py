"""A backup of a sweep that runs is restored and goes on, and lost records are trained again: by the command, with Ray."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from oracle import curves
from typer.testing import CliRunner, Result

from services.cli.app import app
from sweeps.ledger.ledger import Ledger
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def asked(*arguments: Any) -> Result:
    return CliRunner().invoke(app, list(arguments))


def recorded(home: Path) -> Any:
    with closing(Ledger.open(f"sqlite:///{home}/ledger.db")) as ledger:
        sweep = ledger.sweep("recovered")
        ledger.verify(sweep.id)
        return curves(ledger, sweep.id)


def under_way(home: Path) -> bool:
    if not (home / "ledger.db").exists():
        return False
    with closing(Ledger.open(f"sqlite:///{home}/ledger.db")) as ledger:
        return any(trial.epoch > 3 for sweep in ledger.sweeps() for trial in ledger.trials(sweep.id))


def test_a_backup_goes_on_and_lost_records_are_trained_again(
    abel_home: Path, tiny_program: Program, tmp_path: Path, start: Callable[..., Any]
) -> None:
    rate = {"learning_rate": 0.05}
    arms = {
        "constant": {"schedule": {"kind": "constant"} | rate},
        "at": {"schedule": {"kind": "decay_at", "decay_factor": 0.1, "decay_epoch": 30} | rate},
    }
    document = {"name": "recovered", "program": to_dict(tiny_program), "epochs": 120, "seeds": [0], "arms": arms}
    spec = tmp_path / "recovered.json"
    spec.write_text(json.dumps(document))
    run = ["run", str(spec), "--no-tracking", "--save-every", "0.5", "--workers", "1"]

    running = start([sys.executable, "-m", "services.cli", *run])
    running.wait_for(lambda: under_way(abel_home))
    made = asked("backup", str(tmp_path / "copies"), "--json")
    assert made.exit_code == 0, made.output
    running.wait_for_end()
    expected = recorded(abel_home)

    for file in abel_home.glob("ledger.db*"):
        file.unlink()
    shutil.copy(Path(json.loads(made.stdout)["file"]), abel_home / "ledger.db")
    assert len(recorded(abel_home)) < len(expected)
    resumed = asked(*run)
    assert resumed.exit_code == 0, resumed.output
    assert recorded(abel_home) == expected

    with closing(sqlite3.connect(abel_home / "ledger.db")) as ledger, ledger:
        assert ledger.execute("DELETE FROM states WHERE epoch = 90").rowcount
        assert ledger.execute("UPDATE states SET metrics = '{}' WHERE epoch = 20").rowcount
    assert asked(*run).exit_code == 2
    repaired = asked("repair", "--json")
    assert repaired.exit_code == 0, repaired.output
    assert recorded(abel_home) == expected
