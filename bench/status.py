"""`abel status` on a large ledger: the CPU and wall time of the query, and of the whole command.

    python bench/status.py [--trials 10000] [--epochs 100] [--rounds 5] [URL ...]

Without a URL, it measures SQLite in a temporary directory. With the URL of an empty PostgreSQL database, it measures both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from services.settings import Settings
from services.verbs import status
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import CurveResult, SweepStatus, TrialStatus
from sweeps.spec.sweep import parse_document
from sweeps.urls import of_sqlite
from workers.config import to_dict
from workers.reports import Record
from workers.trajectory import Identity

PAGE = 50  # trials written together
NAME = "large"


def spec(trials, epochs):
    """Return a spec with this number of trials: ten seeds of a grid of decay times and factors."""
    decays = range(1, epochs // 2 + 1)
    factors = [(number + 1) / (trials + 1) for number in range(trials // 10 // len(decays))]
    program = {
        "task": "classify",
        "model": {"kind": "vgg5", "width": 16},
        "data": {"kind": "digit_pairs"},
        "optimizer": {"kind": "sgd"},
        "batch_size": 16,
    }
    schedule = {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epoch": 1}
    grid = {"schedule.decay_epoch": list(decays), "schedule.decay_factor": factors}
    return parse_document(
        {
            "name": NAME,
            "program": program,
            "epochs": epochs,
            "seeds": list(range(10)),
            "arms": {"decay": {"schedule": schedule, "grid": grid}},
        }
    )


def curve(root, trial, epochs):
    """Yield the records of a trial's epochs."""
    parent = root
    for epoch in range(1, epochs + 1):
        key = sha256(f"{trial}/{epoch}".encode()).hexdigest()
        error = 10 + 80 / epoch + int(key[:4], 16) / 65536
        metrics = {"train_loss": error / 22, "test_error": error, "weight_norm_sq": 100.0 + epoch, "seconds": 0.6}
        yield Record(key=key, parent=parent, epoch=epoch, metrics=metrics, finished_at_ms=epoch)
        parent = key


def result(row, records):
    """Return what a curve comes to, as the driver sums it up."""
    found = CurveResult()
    for record in records:
        decayed = record.epoch == row.schedule["decay_epoch"]
        error, loss = record.metrics["test_error"], record.metrics["train_loss"]
        found = found.after(record.epoch, error, loss, decayed=decayed)
    return found


def fill(ledger, trials, epochs):
    """Write a finished sweep."""
    wanted = spec(trials, epochs)
    expanded = wanted.expand()
    program = expanded[0].program
    identity = Identity(program=to_dict(program), data="d" * 64, examples=1500, numerics={}, code="c" * 64)
    sweep = ledger.create_sweep(NAME, wanted.to_dict(), expanded, {program: identity})
    invocation, rows = ledger.begin_invocation(sweep), ledger.trials(sweep)
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        curves = {row.id: list(curve(identity.root(row.seed), row.id, epochs)) for row in page}
        ledger.commit(
            sweep,
            invocation,
            Batch(
                records=[record for records in curves.values() for record in records],
                heads={trial: (records[-1].key, epochs) for trial, records in curves.items()},
                results={row.id: result(row, curves[row.id]) for row in page},
                ended=dict.fromkeys(curves, (TrialStatus.FINISHED, None)),
            ),
        )
    ledger.end_invocation(sweep, invocation, SweepStatus.FINISHED)
    return len(rows)


def best(call, rounds):
    """Return the least CPU and wall milliseconds of some calls; a child's CPU time counts."""
    cpu, wall = [], []
    for _ in range(rounds):
        before, began = os.times(), time.perf_counter()
        call()
        after = os.times()
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * sum(after[at] - before[at] for at in range(4)))
    return min(cpu), min(wall)


def measure(url, home, given):
    with closing(Ledger.open(url)) as ledger:
        made = ledger.sweeps()[0].id if ledger.sweeps() else None
        trials = len(ledger.trials(made)) if made else fill(ledger, given.trials, given.epochs)
    environment = {"ABEL_HOME": str(home), "ABEL_LEDGER": url}
    settings = Settings.from_env(environment)
    abel = [sys.executable, "-m", "services.cli", "status"]

    def command(*arguments):
        done = subprocess.run([*abel, *arguments], env=os.environ | environment, stdout=subprocess.DEVNULL)
        assert done.returncode == 0

    print(
        f"{url.partition(':')[0]}, {trials} trials of {given.epochs} epochs, best of {given.rounds}: ms of CPU, of wall"
    )
    for name, call in {
        "query of one sweep": lambda: status.status(settings, NAME),
        "query of all sweeps": lambda: status.sweeps(settings),
        "abel status NAME": lambda: command(NAME),
        "abel status NAME --json": lambda: command(NAME, "--json"),
        "abel status": lambda: command(),
    }.items():
        cpu, wall = best(call, given.rounds)
        print(f"  {name}: {cpu:.0f}, {wall:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for url in [of_sqlite(Path(directory, "ledger.db")), *given.urls]:
            measure(url, Path(directory), given)


if __name__ == "__main__":
    main()
