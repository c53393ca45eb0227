"""A sweep whose checkpoints lie in an object store, continued by a machine that shares nothing else but the ledger."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from object_stores import ObjectServer, object_server
from typer.testing import CliRunner, Result

from services.cli.app import app
from sweeps.ledger.ledger import Ledger
from workers.checkpoints.stores import ObjectStore
from workers.config import Program, to_dict

MOVING = ("seconds", "examples_per_second")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with object_server("s3") as running, pytest.MonkeyPatch.context() as patched:
        for name, value in running.environment.items():
            patched.setenv(name, value)
        yield running


@pytest.fixture
def document(tiny_program: Program) -> dict[str, Any]:
    decay = {
        "schedule": {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1},
        "grid": {"schedule.decay_epoch": [1, 2]},
    }
    return {"name": "stored", "program": to_dict(tiny_program), "epochs": 3, "seeds": [0], "arms": {"a": decay}}


def abel(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def write(folder: Path, document: Mapping[str, Any], **changes: Any) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def curves(home: Path) -> dict[str, list[dict[str, str]]]:
    ledger = Ledger.open(f"sqlite:///{home}/ledger.db")
    try:
        newest = max(ledger.sweeps(), key=lambda sweep: sweep.spec["epochs"])
        return {
            row.name: [
                {name: value.hex() for name, value in state.metrics.items() if name not in MOVING}
                for state in ledger.curve(row.head)
            ]
            for row in ledger.trials(newest.id)
        }
    finally:
        ledger.close()


@pytest.mark.ray
@pytest.mark.slow
def test_another_machine_goes_on_from_the_store_alone(
    server: ObjectServer, document: dict[str, Any], tmp_path: Path
) -> None:
    homes = {name: tmp_path / name for name in ("local", "one", "two")}
    short, long = write(tmp_path, document), write(tmp_path, document, epochs=5)
    shared = {"ABEL_STORE": server.url}
    one = {"ABEL_HOME": str(homes["one"]), **shared}
    two = {"ABEL_HOME": str(homes["two"]), "ABEL_LEDGER": f"sqlite:///{homes['one']}/ledger.db", **shared}
    checkpoints = ObjectStore(f"{server.url}/checkpoints")

    for home, environment, file in (
        ("local", {"ABEL_HOME": str(homes["local"])}, long),
        ("one", one, short),
        ("two", two, long),
    ):
        done = abel("run", str(file), "--no-tracking", "--json", **environment)
        assert done.exit_code == 0, (home, done.output)
    outcome = json.loads(done.stdout)
    assert curves(homes["one"]) == curves(homes["local"])
    assert outcome["trained"] == 4
    assert outcome["replayed"] == 0
    assert not (homes["one"] / "checkpoints").exists()

    before = {stored.name for stored in checkpoints.all()}
    assert abel("gc", **two).exit_code == 0
    left = {Path(stored.name).stem for stored in checkpoints.all()}
    assert left < {Path(name).stem for name in before}
    ledger = Ledger.open(f"sqlite:///{homes['one']}/ledger.db")
    assert left == ledger.checkpoints()
    ledger.close()
    again = abel("run", str(write(tmp_path, document, epochs=6)), "--no-tracking", "--json", **one)
    assert json.loads(again.stdout)["trained"] == 2

    reported = abel("report", "stored", **two)
    assert reported.exit_code == 0
    assert f"{server.url}/reports/stored" in " ".join(reported.output.split())
    assert {stored.name for stored in ObjectStore(f"{server.url}/reports/stored").all()} >= {"index.html"}


def test_a_store_that_does_not_answer_is_one_error_before_anything_starts(
    server: ObjectServer, document: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    environment = {"ABEL_HOME": str(home), "ABEL_STORE": server.url, **nobody}
    refused = abel("run", str(write(tmp_path, document)), "--no-tracking", **environment)
    assert refused.exit_code == 1
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("error"))
    assert server.url in line
    assert not (home / "ledger.db").exists()
