"""Start-up time and use of cores: short sweeps over the program of a catalogue entry, through `abel run`.

    python bench/short_runs.py                                          (fig-s6a-digits)
    python bench/short_runs.py fig-s6a-cifar10 --data-dir DIR --epochs 4

First table: seconds from starting the command to the first recorded epoch, with an empty and with a warm compilation cache.
Second table: epochs per second, between the first and the last record, of two workers with one thread compared with one worker
with two threads, in alternating runs.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import load_spec

SPLITS = ((2, 1), (1, 2))  # workers, threads of each


@dataclass(frozen=True, kw_only=True)
class Timing:
    first_epoch_seconds: float
    epochs_per_second: float


class Home:
    """A separate ABEL_HOME in which every sweep has new seeds."""

    def __init__(self, directory: Path, entry: str, epochs: int, data_dir: str | None) -> None:
        self._directory, self._epochs = directory, epochs
        self._data = ["--data-dir", data_dir] if data_dir else []
        self._spec = load_spec(entry).to_dict()
        self._seed = 0

    def run(self, cohorts: int, workers: int, threads: int) -> Timing:
        """Train ``cohorts`` cohorts with one seed each."""
        seeds = list(range(self._seed, self._seed + cohorts))
        self._seed += cohorts
        arms = {"constant": self._spec["arms"]["constant"]}
        document = self._spec | {"name": f"short-{self._seed}", "seeds": seeds, "epochs": self._epochs, "arms": arms}
        path = self._directory / "short.json"
        path.write_text(json.dumps(document))
        environment = os.environ | {"ABEL_HOME": str(self._directory / "home")}
        began = time.time()
        command = ["abel", "run", str(path), "--workers", str(workers), "--threads", str(threads), "--no-tracking"]
        subprocess.run([*command, *self._data], env=environment, check=True, stdout=subprocess.DEVNULL)
        return _timing(Ledger.open(Settings.from_env(environment).ledger_url), document["name"], began)


def _timing(ledger: Ledger, name: str, began: float) -> Timing:
    states = [state for row in ledger.trials(ledger.sweep(name).id) for state in ledger.curve(row.head)]
    moments: dict[str, list[float]] = {}
    for state in states:
        moments.setdefault(state.worker, []).append(state.finished_at_ms / 1000)
    # The first epoch of a process includes compilation, or loading the compiled epoch from the cache.
    warm_from = max(min(own) for own in moments.values())
    later = [moment for own in moments.values() for moment in own if moment > warm_from]
    first = min(min(own) for own in moments.values())
    return Timing(first_epoch_seconds=first - began, epochs_per_second=len(later) / (max(later) - warm_from))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entry", nargs="?", default="fig-s6a-digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="abel-short-") as directory:
        home = Home(Path(directory), options.entry, options.epochs, options.data_dir)
        cold, *warm = (home.run(1, 1, 1).first_epoch_seconds for _ in range(1 + options.rounds))
        print(f"{options.entry}: seconds to the first recorded epoch\n| cache | seconds |\n|---|---|")
        print(f"| empty | {cold:.1f} |\n| warm | {', '.join(f'{seconds:.1f}' for seconds in warm)} |\n")
        rates: dict[tuple[int, int], list[float]] = {split: [] for split in SPLITS}
        for _ in range(options.rounds):
            for split in SPLITS:
                rates[split].append(home.run(4, *split).epochs_per_second)
    print("| workers | threads | epochs per second, median | each round |\n|---|---|---|---|")
    for (workers, threads), measured in rates.items():
        each = ", ".join(f"{rate:.2f}" for rate in measured)
        print(f"| {workers} | {threads} | {median(measured):.2f} | {each} |")


if __name__ == "__main__":
    main()
