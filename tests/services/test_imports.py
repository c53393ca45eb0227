"""What a command imports of what takes long, and which processes it starts."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from services.schemas import Request
from services.settings import Settings
from services.verbs import specs
from services.verbs.running import placing
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus

SLOW = {
    "flax",
    "jax",
    "matplotlib",
    "mlflow",
    "numpy",
    "optax",
    "orbax",
    "pandas",
    "ray",
    "requests",
    "scipy",
    "sqlalchemy",
}

# What it may import; data sources need NumPy, and the ledger SQLAlchemy.
ALLOWED = {
    "--help": set[str](),
    "catalog": set[str](),
    "catalog fig-s6a-digits": set[str](),
    "schema": {"numpy"},
    "validate small.yaml": {"numpy"},
    "validate fig-s6a-digits": {"numpy"},
    "plan small.yaml": {"numpy", "sqlalchemy"},
    "status": {"sqlalchemy"},
    "status small": {"sqlalchemy"},
    "run small.yaml --no-tracking": {"numpy", "sqlalchemy"},
}

# A command, with what it imported and the modules whose processes it started on the last line of standard error.
WATCHED = f"""
import atexit, json, sys

started = []
sys.addaudithook(lambda event, given: event == "subprocess.Popen" and started.append(given[1][4]))
atexit.register(lambda: print(json.dumps([sorted(sys.modules.keys() & {SLOW!r}), started]), file=sys.stderr))
from services.cli.app import main
main()
"""

SPEC = """
name: small
program: {task: classify, model: small_cnn, data: {kind: digit_pairs, train: 96, test: 40}, batch_size: 16}
epochs: 3
seeds: [0]
arms: {constant: {schedule: {kind: constant, learning_rate: 0.1}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, whose sweep has finished in the home next to it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(SPEC)
    settings, request = (
        Settings.from_env({"ABEL_HOME": str(folder / "home")}).prepare(),
        Request(spec=str(folder / "small.yaml")),
    )
    spec = specs.requested(request)
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        identities = placing.place(settings, request, spec).identities
        sweep = ledger.create_sweep(spec.name, spec.to_dict(), spec.expand(), identities)
        ledger.end_invocation(sweep, ledger.begin_invocation(sweep), SweepStatus.FINISHED)
    return folder


@pytest.mark.parametrize("line", ALLOWED)
def test_a_command_imports_only_what_it_needs(line: str, place: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ABEL_", "MLFLOW_"))}
    command = [sys.executable, "-c", WATCHED, *line.split()]
    environ |= {"ABEL_HOME": str(place / "home")}
    done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported, started = json.loads(done.stderr.splitlines()[-1])
    assert set(imported) <= ALLOWED[line]
    # Only a process like a worker's can tell that the sweep has finished with this code, these libraries and these data.
    assert started == (["sweeps.processes.inspection"] if line.startswith(("plan", "run")) else [])


def test_every_built_in_variant_is_found_without_jax() -> None:
    found = "[variants(group) for group in GROUPS.values()]"
    heavy = SLOW - {"numpy"}
    lines = f"import sys\nfrom workers.plugins import GROUPS, variants\n{found}\nprint(*sys.modules.keys() & {heavy!r})"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
