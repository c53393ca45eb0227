"""Cost of a sweep besides its training epochs: Ray, ledger, checkpoints, tracking.

Runs the demo's sweep in a temporary directory and reads the figures from its ledger. For an existing sweep:

    python bench/overhead.py fig-s6a-cifar10       (in the ABEL_HOME of the environment)
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import StateRow

DEMO = "fig-s6a-digits"


def run_demo(home: str) -> Settings:
    environment = os.environ | {"ABEL_HOME": home}
    subprocess.run(["abel", "run", DEMO], env=environment, check=True, stdout=sys.stderr)
    return Settings.from_env(environment)


def table(settings: Settings, name: str) -> list[tuple[str, str]]:
    ledger = Ledger.open(settings.ledger_url)
    sweep = ledger.sweep(name)
    work = ledger.work(sweep.id)
    curves = [ledger.curve(row.head) for row in ledger.trials(sweep.id)]
    states = {state.key: state for curve in curves for state in curve}
    workers = len({state.worker for state in states.values()})
    after_start = work.seconds_wall - work.seconds_starting
    outside = workers * after_start - work.seconds_training
    return [
        ("trials", str(len(curves))),
        ("epochs without sharing", str(sum(map(len, curves)))),
        ("epochs trained", str(work.trained)),
        ("distinct epochs", str(len(states))),
        ("epochs replayed", str(work.replayed)),
        ("processes that trained", str(workers)),
        ("wall time, s", f"{work.seconds_wall:.1f}"),
        ("start-up of Ray, s", f"{work.seconds_starting:.1f}"),
        ("in training epochs, worker-s", f"{work.seconds_training:.1f}"),
        ("outside them after start-up", f"{outside / (workers * after_start):.1%} of worker time"),
        ("forks", str(work.forks)),
        ("between two cohorts, s", "{:.2f} (median), {:.2f} (longest)".format(*changes(states.values()))),
        ("saving, s per checkpoint", f"{work.seconds_saving / max(1, checkpoints(ledger, states)):.3f}"),
        ("ledger, ms per record", f"{1000 * work.seconds_committing / max(1, work.trained):.2f}"),
    ]


def changes(states: Iterable[StateRow]) -> tuple[float, float]:
    """Return median and longest time of a worker between the last epoch of one cohort and the first of the next."""
    by_worker: dict[str, list[StateRow]] = {}
    for state in sorted(states, key=lambda state: state.finished_at_ms):
        by_worker.setdefault(state.worker, []).append(state)
    waits = [
        (later.finished_at_ms - earlier.finished_at_ms) / 1000 - later.metrics["seconds"]
        for own in by_worker.values()
        for earlier, later in pairwise(own)
        if later.parent != earlier.key
    ]
    return (median(waits), max(waits)) if waits else (0.0, 0.0)


def checkpoints(ledger: Ledger, states: dict[str, object]) -> int:
    return len(ledger.checkpointed(states))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", help="an existing sweep; by default the demo is run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="abel-overhead-") as home:
        settings = Settings.from_env() if options.sweep else run_demo(home)
        rows = table(settings, options.sweep or DEMO)
    width = max(len(label) for label, _ in rows)
    print(options.sweep or DEMO)
    for label, value in rows:
        print(f"  {label:<{width}}  {value}")


if __name__ == "__main__":
    main()
