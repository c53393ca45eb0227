"""What a sweep must be to be planned, through the command line and a task of a user's package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sentences import absent
from typer.testing import CliRunner

from services.cli.app import app
from sweeps import catalog


def test_the_trials_of_a_sweep_are_compared_by_one_metric(tmp_path: Path, abel_home: Path) -> None:
    folder = tmp_path / "fitted"
    assert CliRunner().invoke(app, ["init", str(folder), "--plugin", "task"]).exit_code == 0
    task = folder / "fitted" / "task.py"
    name = 'name="explained" if self.program.noise else "recovered"'
    task.write_text(task.read_text().replace('name="explained"', name))
    (folder / "fitted-1.dist-info").mkdir()
    (folder / "fitted-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fitted\nVersion: 1\n")
    (folder / "fitted-1.dist-info" / "entry_points.txt").write_text("[abel.tasks]\nfitted = fitted.task:Fitted\n")
    with (folder / "sweep.yaml").open("a") as spec:
        spec.write("    grid: {program.noise: [0.1, 0.0]}\n")
    command = [sys.executable, "-m", "services.cli", "plan", str(folder / "sweep.yaml")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert absent(" ".join(done.stderr.split()), "error: fitted: ", "one metric", "got explained, recovered") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "l2: 0.01",
            "l2: 0.01\n  micro_batches: 3",
            "arms.constant.program: micro_batches must divide batch_size = 16, got 3",
        ),
        ("crop: 0", "crop: 9", "augment.crop must be below the image's sides (8, 8), got 9"),
        (
            "batch_size: 16",
            "batch_size: 1298",
            "program.batch_size: must be at most the 1297 training examples, got 1298",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_error_and_no_forecast(
    tmp_path: Path, abel_home: Path, old: str, new: str, said: str
) -> None:
    text = catalog.template()
    assert old in text
    spec = tmp_path / "spec.yaml"
    spec.write_text(text.replace(old, new))
    done = CliRunner().invoke(app, ["plan", str(spec)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split()) and done.stderr.count("error: ") == 1
