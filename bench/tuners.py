"""Memory and time of the driver per cohort, with cohorts that train nothing, on a local Ray cluster.

    python bench/tuners.py --cohorts 3000 --per-tuner 1000

Each row is about the cohorts since the last one: milliseconds per cohort, and the resident memory of the driver's process and of
Ray's GCS and raylet at its end. A new tuner starts after every ``--per-tuner`` cohorts.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from ray import tune

from sweeps.processes.job import Options
from sweeps.run import driver
from sweeps.run.placement.pinning import WorkerNodes
from sweeps.run.ray_cluster import ray_cluster
from sweeps.run.searcher import Shared

MIB = 2**20
PAYLOAD = b"x" * 10_000  # as large as a cohort with a hundred observations


class StandIn(tune.Trainable):
    """A worker that is done at once."""

    def setup(self, config: Mapping[str, Any]) -> None:
        pass

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"reports": [], "done": True}


class Cohorts:
    """The part of a frontier that a driver uses, with so many cohorts that are trained by their first report."""

    has_lone_work = False

    def __init__(self, cohorts: int, every: int) -> None:
        self.waiting, self.done, self._running, self._every = cohorts, 0, set[int](), every
        self._began = time.monotonic()
        self._ray = [child for child in psutil.Process().children() if child.name() in ("gcs_server", "raylet")]

    @property
    def running(self) -> int:
        return len(self._running)

    def take(self) -> tuple[int, bytes] | None:
        if not self.waiting:
            return None
        self._running.add(self.waiting)
        self.waiting -= 1
        return self.waiting + 1, PAYLOAD

    def hear(self, number: int, reports: object) -> None:
        self._running.discard(number)
        self.done += 1
        if self.done % self._every == 0:
            each = (time.monotonic() - self._began) / self._every
            memory = [process.memory_info().rss / MIB for process in (psutil.Process(), *self._ray)]
            print(f"{self.done:>8}  {1000 * each:8.1f} ms", *(f"{one:8.0f} MiB" for one in memory), flush=True)
            self._began = time.monotonic()

    def is_wanted(self, number: int) -> bool:
        return number in self._running

    def is_alone(self, number: int) -> bool:
        return False

    def fail(self, number: int, *why: object) -> None:
        raise RuntimeError(f"cohort {number}: {why}")

    def settle_saved(self, saved: object) -> None:
        pass

    def take_back(self) -> None:
        self.waiting += len(self._running)
        self._running.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=3000)
    parser.add_argument("--per-tuner", type=int, default=1000)
    parser.add_argument("--every", type=int, default=500)
    given = parser.parse_args()
    driver.CohortTrainable = StandIn
    with tempfile.TemporaryDirectory(prefix="abel-tuners-") as folder:
        place = Path(folder)
        options = Options(checkpoints=place, cache=place, workers=2, cohorts_per_tuner=given.per_tuner)
        with ray_cluster(options, leave=lambda: None) as directory:
            print(f"{'cohorts':>8}  {'each':>11} {'driver':>12}", *(f"{one:>12}" for one in ("GCS", "raylet")))
            cohorts: Any = Cohorts(given.cohorts, given.every)
            settings: Any = argparse.Namespace(checkpoints=place)
            nobody: Any = argparse.Namespace(announce=lambda staged: None)
            sweep = Shared(cohorts, settings, threading.Event(), nobody, lambda: None, WorkerNodes(options))
            driver._tune(sweep, options, "stand-in", directory)
    print(f"{cohorts.done} cohorts" + (f"; {sweep.error}" if sweep.error else ""))


if __name__ == "__main__":
    main()
