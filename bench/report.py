"""Cost of a report of a large sweep: `abel report` on 2,000 trials of 200 epochs.

    python bench/report.py                    (--seeds 4 --epochs 200 --export parquet)

The sweep has 500 settings of two arms and four seeds. Its curves are synthetic (a norm that falls and rises, an error that
falls) and written directly to a ledger and MLflow's database, as training would take days. The script measures wall time and
peak resident memory of the command as a user runs it.
"""

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag

from services.settings import Settings
from services.tracking.projection import trial_tags
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialRow
from sweeps.spec.sweep import SweepSpec, load_spec, parse_document
from sweeps.urls import of_sqlite
from workers.trajectory import Identity

SETTINGS_A_AXIS = {"schedule.learning_rate": 25, "schedule.decay_factor": 10}


def spec(seeds: int, epochs: int) -> SweepSpec:
    grid = {
        "schedule.learning_rate": [
            round(0.01 * 1.2**step, 6) for step in range(SETTINGS_A_AXIS["schedule.learning_rate"])
        ],
        "schedule.decay_factor": [
            round(0.05 + 0.09 * step, 3) for step in range(SETTINGS_A_AXIS["schedule.decay_factor"])
        ],
    }
    arms = {
        "abel": {"schedule": {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1}, "grid": grid},
        "simple": {"schedule": {"kind": "simple", "learning_rate": 0.1, "decay_factor": 0.1}, "grid": grid},
    }
    digits = load_spec("fig-s6a-digits").to_dict()
    document = {"name": "large", "title": "A large sweep", "program": digits["program"], "epochs": epochs}
    return parse_document({**document, "seeds": list(range(seeds)), "arms": arms}, "bench")


def write(settings: Settings, asked: SweepSpec) -> int:
    """Write the sweep to a ledger, as finished, and its runs to MLflow's database; return the number of trials."""
    trials = asked.expand()
    program = trials[0].program
    identity = Identity(program={}, data="d" * 64, examples=1500, numerics={}, code="c" * 64)
    ledger = Ledger.open(settings.ledger_url)
    sweep_id = ledger.create_sweep(asked.name, asked.to_dict(), trials, {program: identity})
    rows = ledger.trials(sweep_id)
    ledger.end_invocation(sweep_id, ledger.begin_invocation(sweep_id), SweepStatus.FINISHED)
    ledger.close()
    experiment = MlflowClient(settings.tracking_uri).create_experiment(asked.name)
    engine = sa.create_engine(settings.tracking_uri)
    with engine.begin() as connection:
        own = {
            "abel.sweep_id": sweep_id,
            "abel.sweep": asked.name,
            "abel.trials": str(len(rows)),
            "abel.title": "A large sweep",
        }
        _insert(connection, experiment, settings.artifacts, "own", own, [])
        for row in rows:
            tags = trial_tags(row) | {"abel.outcome": "finished", "abel.epoch": str(asked.epochs)}
            tags |= {"abel.minimum_epochs": "21", "abel.bounce_epochs": "60", "abel.decay_epochs": "60"}
            _insert(connection, experiment, settings.artifacts, row.id, tags, list(curves(row, asked.epochs)))
    engine.dispose()
    return len(rows)


def curves(trial: TrialRow, epochs: int) -> Iterator[tuple[str, int, float]]:
    """Yield key, epoch and value of roughly what a trial would record."""
    rng = random.Random(trial.id)
    rate = float(trial.schedule["learning_rate"])
    for epoch in range(1, epochs + 1):
        error = 10 + 60 * math.exp(-epoch / 30) + 4 * abs(math.log10(rate / 0.1)) + rng.gauss(0, 0.3)
        yield "weight_norm_sq", epoch, 100 + 100 * math.exp(-epoch / 8) + 60 * (1 - math.exp(-epoch / 40))
        yield "test_error", epoch, error
        yield "train_error", epoch, 0.7 * error
        yield "learning_rate_first", epoch, rate if epoch <= 60 else rate * float(trial.schedule["decay_factor"])
        for name in ("train_loss", "test_loss", "learning_rate_last", "seconds"):
            yield name, epoch, error / 20


def _insert(
    connection: sa.Connection,
    experiment: str,
    artifacts: Path,
    name: str,
    tags: dict[str, str],
    points: Sequence[tuple[str, int, float]],
) -> None:
    run = {
        "run_uuid": name.rjust(32, "0"),
        "name": tags.get("abel.trial_id", "large"),
        "experiment_id": int(experiment),
    }
    run |= {
        "status": "FINISHED",
        "start_time": 1,
        "end_time": 2,
        "lifecycle_stage": "active",
        "user_id": "abel",
        "artifact_uri": str(artifacts / name),
    }
    of_run = {"run_uuid": run["run_uuid"]}
    connection.execute(sa.insert(SqlRun.__table__), run)
    named = tags | {"mlflow.runName": str(run["name"])}
    connection.execute(
        sa.insert(SqlTag.__table__), [{"key": key, "value": text, **of_run} for key, text in named.items()]
    )
    if points:
        rows = [
            {"key": key, "value": value, "timestamp": 1000 + epoch, "step": epoch, "is_nan": False, **of_run}
            for key, epoch, value in points
        ]
        connection.execute(sa.insert(SqlMetric.__table__), rows)
        connection.execute(sa.insert(SqlLatestMetric.__table__), list({row["key"]: row for row in rows}.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--export", choices=("csv", "parquet"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        uri = of_sqlite(home / "mlflow.db")
        settings = Settings(home=home, ledger_url=of_sqlite(home / "ledger.db"), tracking_uri=uri)
        count = write(settings, spec(options.seeds, options.epochs))
        export = ["--export", options.export] if options.export else []
        command = [sys.executable, "-m", "services.cli", "report", "large", "--json", *export]
        start = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | {"ABEL_HOME": str(home)}, stdout=subprocess.PIPE, text=True, check=True
        )
        seconds = time.monotonic() - start
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        page = Path(json.loads(done.stdout)["files"][0])
        print(f"{'trials':>8} {'epochs':>8} {'seconds':>9} {'MiB':>7} {'page, MB':>9}")
        print(f"{count:8,} {options.epochs:8,} {seconds:9.1f} {memory:7.0f} {page.stat().st_size / 1e6:9.1f}")


if __name__ == "__main__":
    main()
