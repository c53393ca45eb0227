"""Who imports MLflow in a run: the projector, and neither the driver nor a worker."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.ledger.ledger import Ledger
from workers.config import to_dict

# Python runs this at the start of every process: it notes that it did, and later whether somebody asks for MLflow.
LOOKOUT = """
import os, sys, traceback

class Lookout:
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow":
            note("imported")

def note(what):
    with open(os.path.join({place!r}, f"{{os.getpid()}}.{{what}}"), "w") as file:
        file.write(" ".join(sys.orig_argv) + "\\n" + "".join(traceback.format_stack()))

note("started")
sys.meta_path.insert(0, Lookout())
"""


@pytest.mark.ray
@pytest.mark.slow
def test_neither_the_driver_nor_a_worker_imports_mlflow(tiny_program: Any, abel_home: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (tmp_path / "sitecustomize.py").write_text(LOOKOUT.format(place=str(notes)))
    spec = tmp_path / "small.json"
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.01}}}
    document = {"name": "small", "program": to_dict(tiny_program), "epochs": 3, "seeds": [0], "arms": arms}
    spec.write_text(json.dumps(document))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "services.cli", "run", str(spec)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=-1, stderr=-1, text=True) as driver:
        _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 0, stderr

    ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
    (sweep,) = ledger.sweeps()
    curves = [ledger.curve(row.head) for row in ledger.trials(sweep.id)]
    workers = {int(state.worker.rpartition(":")[2]) for curve in curves for state in curve}
    started = {int(note.stem) for note in notes.glob("*.started")}
    assert workers and {driver.pid, *workers} <= started
    imported = {int(note.stem): note.read_text() for note in notes.glob("*.imported")}
    assert len(imported) == 1 and "services.tracking.uploading" in next(iter(imported.values())), imported
