"""Does an outage of the tracking store slow training? Compares the time of an epoch with the store frozen and up, in pairs.

Runs the demo's program, on fewer examples, at a constant rate together with an MLflow server. The server is frozen (SIGSTOP: it
accepts connections but does not answer) in one block of each pair and up in the other, in alternating order. The time of an epoch
is that from one record of a worker to its next, so it includes everything that could delay the worker. After every switch a few
seconds are excluded, in which the store receives what it missed.

    python bench/outage.py --pairs 40 --seconds 4
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import load_spec
from sweeps.urls import of_sqlite, without_credentials

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "chaos"))
from mlflow_server import MlflowServer

EPOCHS = 100_000  # more than can be trained in the time
SETTLE_SECONDS = 2.0

Block = tuple[int, int]  # first and last millisecond


def spec(directory: Path, workers: int, examples: int) -> Path:
    document = load_spec("fig-s6a-digits").to_dict()
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.01}}}
    document["program"]["data"]["train"] = examples
    document |= {"name": "outage", "epochs": EPOCHS, "seeds": list(range(workers)), "arms": arms, "figure": None}
    path = directory / "outage.json"
    path.write_text(json.dumps(document))
    return path


def measure(
    ledger: Ledger, server: MlflowServer, target: str, pairs: int, seconds: float
) -> Iterator[tuple[Block, Block]]:
    """Yield the blocks of each pair: with the store up, and with it frozen."""
    sweep_id = ledger.sweep("outage").id
    for number in range(pairs):
        blocks = {}
        for frozen in (number % 2 == 1, number % 2 == 0):
            server.freeze() if frozen else server.thaw()
            time.sleep(SETTLE_SECONDS)
            shown = ledger.tracking_offset(sweep_id, target)
            began = time.time_ns() // 1_000_000
            time.sleep(seconds)
            blocks[frozen] = (began, time.time_ns() // 1_000_000)
            if frozen and ledger.tracking_offset(sweep_id, target) != shown:
                print(f"pair {number + 1}: the store received something while it was frozen", file=sys.stderr)
        server.thaw()
        yield blocks[False], blocks[True]


def epochs(ledger: Ledger) -> list[Block]:
    """Return start and end of every epoch of every worker."""
    curves = [ledger.curve(row.head) for row in ledger.trials(ledger.sweep("outage").id)]
    return [(a.finished_at_ms, b.finished_at_ms) for curve in curves for a, b in pairwise(curve)]


def seconds_within(block: Block, trained: Sequence[Block]) -> list[float]:
    """Return the durations of epochs that started and ended in the block."""
    return [(end - begin) / 1000 for begin, end in trained if block[0] <= begin and end <= block[1]]


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by bootstrap over pairs."""
    draws = np.random.default_rng(0).choice(np.array(ratios), size=(20_000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(low), float(high)


def table(ledger: Ledger, pairs: Sequence[tuple[Block, Block]]) -> None:
    print("pair  up: epochs, s  frozen: epochs, s  ratio")
    trained, ratios = epochs(ledger), []
    for number, (up, frozen) in enumerate(pairs, 1):
        with_store, without = seconds_within(up, trained), seconds_within(frozen, trained)
        ratios.append(median(without) / median(with_store))
        print(f"{number:4}  {len(with_store):6} {median(with_store):8.3f} {len(without):8} {median(without):8.3f}"
              f" {ratios[-1]:10.3f}")  # fmt: skip
    low, high = interval(ratios)
    print(
        f"median ratio {median(ratios):.3f}, 95 % {low:.3f} to {high:.3f}, {len(ratios)} pairs; load {os.getloadavg()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a block")
    parser.add_argument("--examples", type=int, default=150, help="examples per epoch; the demo has 1,500")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # exits normally, so no process is left behind
    with tempfile.TemporaryDirectory(prefix="abel-outage-") as place:
        home = Path(place)
        with MlflowServer(of_sqlite(home / "server.db"), home) as server:
            environment = os.environ | {"ABEL_HOME": place, "ABEL_TRACKING_URI": server.url}
            settings = Settings.from_env(environment)
            command = [
                sys.executable,
                "-m",
                "services.cli",
                "run",
                str(spec(home, options.workers, options.examples)),
            ]
            # Only checkpointed records are sent to the store; with one checkpoint per second it always has something to do.
            command += ["--workers", str(options.workers), "--save-every", "1"]
            running = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
            target = without_credentials(server.url)
            try:
                while not (home / "ledger.db").exists():
                    time.sleep(0.5)
                ledger = Ledger.open(settings.ledger_url)
                while not any(ledger.tracking_offset(row.id, target) > 20 for row in ledger.sweeps()):
                    assert running.poll() is None, "the run has ended"
                    time.sleep(0.5)
                pairs = list(measure(ledger, server, target, options.pairs, options.seconds))
            finally:
                server.thaw()
                running.terminate()
                running.wait()
            table(ledger, pairs)


if __name__ == "__main__":
    main()
