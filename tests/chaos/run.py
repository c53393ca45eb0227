"""Kills workers and drivers of a real sweep by a seeded plan, until it ends all the same, and compares every record.

    python tests/chaos/run.py [--short] [--seed N]

Prints the plan, then a table, and exits with 1 on any loss, double, or differing bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from faults import Death, Life, plan
from oracle import Curves, Verdict, compare, compare_tracking, curves

from sweeps.ledger import Ledger
from sweeps.urls import of_sqlite

HERE = Path(__file__).parent
PATIENCE_SECONDS = 180.0  # for one sign of life; more is a hang, and a loss
LOOK_SECONDS = 0.05
UNHARMED = Life(workers=(), at_work=(), death=Death.NONE, after=0.0, statement=0)


@dataclass
class Tally:
    """What was done and seen."""

    workers: int = 0
    drivers: dict[Death, int] = field(default_factory=dict)
    rounds: int = 0
    trained: int = 0
    replayed: int = 0
    worker_recoveries: list[float] = field(default_factory=list)
    driver_recoveries: list[float] = field(default_factory=list)
    ledger: Verdict = field(default_factory=Verdict)
    tracking: Verdict = field(default_factory=Verdict)


class Round:
    """One sweep under faults, in a home of its own."""

    def __init__(self, home: Path, spec: Path, save_every: float) -> None:
        self.home, self.spec = home, spec
        self.arguments = ["run", str(spec), "--workers", "2", "--save-every", str(save_every)]
        self.ledger = Ledger.open(of_sqlite(home / "ledger.db"))

    @contextmanager
    def driver(self, life: Life) -> Iterator[subprocess.Popen[bytes]]:
        """A driver process; whatever happens, it has ended when the block has."""
        command = [sys.executable, "-m", "services.cli"]
        if life.death is Death.IN_COMMIT:
            command = [sys.executable, str(HERE / "driver.py"), str(int(life.after)), str(life.statement)]
        with (self.home / "driver.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *self.arguments], env=os.environ | {"ABEL_HOME": str(self.home)}, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @property
    def sweep_id(self) -> str | None:
        """The sweep's id once it is in the ledger."""
        sweeps = self.ledger.sweeps()
        return sweeps[-1].id if sweeps else None

    def heads(self) -> dict[str, tuple[int, str | None]]:
        """How far every trial is, and which process trained it there."""
        rows = self.ledger.trials(self.sweep_id or "")
        states = self.ledger.states({row.head for row in rows if row.head})
        return {row.id: (row.epoch, states[row.head].worker if row.head in states else None) for row in rows}

    def going(self) -> set[str]:
        """The trials without an outcome."""
        return {row.id for row in self.ledger.trials(self.sweep_id or "") if not row.status.final}

    def wait_for_progress(self, driver: subprocess.Popen[bytes], since: dict[str, tuple[int, str | None]]) -> bool:
        """Wait until one of these trials is further than it was; False where the driver ends before."""
        began = time.monotonic()
        while driver.poll() is None:
            now, going = self.heads(), self.going()
            if any(now.get(trial, (0, None))[0] > epoch or trial not in going for trial, (epoch, _) in since.items()):
                return True
            if not since and any(epoch for epoch, _ in now.values()):
                return True
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"no progress for {PATIENCE_SECONDS:.0f} s (log: {self.home / 'driver.log'})")
            time.sleep(LOOK_SECONDS)
        return False

    def wait_for_end(self, driver: subprocess.Popen[bytes]) -> None:
        """Wait until the driver ends, as long as it makes progress."""
        while going := self.going():
            if not self.wait_for_progress(
                driver, {trial: head for trial, head in self.heads().items() if trial in going}
            ):
                break
        driver.wait(PATIENCE_SECONDS)


def live(life: Life, round_: Round, tally: Tally, draw: random.Random) -> tuple[bool, Life | None]:
    """Live one driver's life; returns whether the sweep came to its end in it, and what of the life was left by then."""
    began, killed = time.monotonic(), 0
    with round_.driver(life) as driver:
        if life.death is Death.EARLY:
            try:
                driver.wait(life.after)
            except subprocess.TimeoutExpired:
                _kill(driver.pid)
                tally.drivers[Death.EARLY] = tally.drivers.get(Death.EARLY, 0) + 1
            return _ended(driver, round_, life)
        if round_.wait_for_progress(driver, round_.heads()) and tally.drivers:
            tally.driver_recoveries.append(time.monotonic() - began)
        for delay, at_work in zip(life.workers, life.at_work, strict=True):
            time.sleep(delay)
            before = tally.workers
            goes_on = _kill_worker(round_, driver, at_work, tally, draw)
            killed += tally.workers - before
            if not goes_on:
                break
        if life.death is Death.LATE and driver.poll() is None:
            time.sleep(life.after)
            if driver.poll() is None:
                _kill(driver.pid)
                tally.drivers[Death.LATE] = tally.drivers.get(Death.LATE, 0) + 1
        else:
            round_.wait_for_end(driver)
            if driver.returncode == -signal.SIGKILL:
                tally.drivers[Death.IN_COMMIT] = tally.drivers.get(Death.IN_COMMIT, 0) + 1
        return _ended(driver, round_, replace(life, workers=life.workers[killed:], at_work=life.at_work[killed:]))


def _ended(driver: subprocess.Popen[bytes], round_: Round, rest: Life) -> tuple[bool, Life | None]:
    driver.wait()
    if driver.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the driver must end with 0, got {driver.returncode} (log: {round_.home / 'driver.log'})")
    died = driver.returncode != 0
    spared = rest if not died and (rest.workers or rest.death is not Death.NONE) else None
    return not died, spared


def _kill_worker(
    round_: Round, driver: subprocess.Popen[bytes], at_work: bool, tally: Tally, draw: random.Random
) -> bool:
    """Kill one worker and see its trials go on; False where the sweep ends before."""
    began = time.monotonic()
    while driver.poll() is None:
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"no worker for {PATIENCE_SECONDS:.0f} s (log: {round_.home / 'driver.log'})")
        heads, going = round_.heads(), round_.going()
        working = {worker for trial, (_, worker) in heads.items() if worker and trial in going}
        pids = {int(worker.rpartition(":")[2]) for worker in working}
        victims = sorted(pid for pid in _workers(driver.pid) if not at_work or pid in pids)
        if victims:
            victim = draw.choice(victims)
            hit = {
                trial: (epoch, worker)
                for trial, (epoch, worker) in heads.items()
                if trial in going and worker and worker.endswith(f":{victim}")
            }
            if not _kill(victim):
                continue
            tally.workers += 1
            killed = time.monotonic()
            if not round_.wait_for_progress(driver, hit):
                return False
            if hit:
                tally.worker_recoveries.append(time.monotonic() - killed)
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _workers(driver: int) -> list[int]:
    """The processes of Ray's that train or are about to."""
    found = []
    try:
        children = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for process in children:
        try:
            title = process.cmdline()[0] if process.cmdline() else ""
        except psutil.Error:
            continue
        if title.startswith("ray::") and "Agent" not in title:
            found.append(process.pid)
    return found


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def undisturbed(home: Path, spec: Path, save_every: float) -> Curves:
    """The oracle's run."""
    round_ = Round(home, spec, save_every)
    with round_.driver(UNHARMED) as driver:
        driver.wait()
    if driver.returncode != 0:
        raise RuntimeError(f"the undisturbed run must end with 0, got {driver.returncode} (log: {home / 'driver.log'})")
    return curves(round_.ledger, str(round_.sweep_id))


def chaos(lives: list[Life], spec: Path, save_every: float, root: Path, seed: int) -> Tally:
    """Run sweeps under the plan until it is used up and the last sweep has ended."""
    expected, tally, draw = undisturbed(_home(root), spec, save_every), Tally(), random.Random(seed + 1)
    todo = list(lives)
    while todo:
        round_, tally.rounds = Round(_home(root), spec, save_every), tally.rounds + 1
        lived, done = 0, False
        while not done:
            done, spared = live(todo.pop(0) if todo else UNHARMED, round_, tally, draw)
            lived += 1
            if spared is not None:  # a quick machine ended the sweep first: the next sweep has what it was spared
                todo.insert(0, spared)
        sweep_id = str(round_.sweep_id)
        work = round_.ledger.work(sweep_id)
        tally.trained += work.trained
        tally.replayed += work.replayed
        found = compare(expected, round_.ledger, sweep_id)
        tally.ledger += found
        tally.tracking += compare_tracking(expected, of_sqlite(round_.home / "mlflow.db"), sweep_id)
        print(f"sweep {tally.rounds}: {lived} drivers, {tally.workers} workers killed so far, {found}", flush=True)
    return tally


def table(tally: Tally) -> str:
    """What was done and seen, a line each."""
    deaths = ", ".join(f"{count} {death}" for death, count in sorted(tally.drivers.items()))
    rows = {
        "workers killed": f"{tally.workers}",
        "drivers killed": f"{sum(tally.drivers.values())} ({deaths})",
        "sweeps": f"{tally.rounds}",
        "epochs trained, and trained again": f"{tally.trained}, {tally.replayed}",
        "recovery of a worker, p50 and p95": _percentiles(tally.worker_recoveries),
        "recovery of a driver, p50 and p95": _percentiles(tally.driver_recoveries),
    }
    for name, verdict in (("ledger", tally.ledger), ("MLflow", tally.tracking)):
        rows[f"{name}: records"] = f"{verdict.records}"
        rows[f"{name}: missing, duplicate, differing"] = f"{verdict.missing}, {verdict.duplicate}, {verdict.differing}"
    return "\n".join(f"  {name:44}{value}" for name, value in rows.items())


def _percentiles(seconds: list[float]) -> str:
    if not seconds:
        return "none seen"
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} s, {ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]:.1f} s"


def _home(root: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="home-", dir=root))


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--short", action="store_true", help="a few faults, in two to three minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    lives = plan(options.seed, *((6, 3) if options.short else (100, 25)))
    print(f"fault plan, --seed {options.seed}:")
    for life in lives:
        print(f"  {len(life.workers)} workers, then the driver {life.death} ({life.after:.1f})")
    spec = HERE / ("short.yaml" if options.short else "sweep.yaml")
    with tempfile.TemporaryDirectory(prefix="abel-chaos-") as root:
        tally = chaos(lives, spec, 2.0, Path(root), options.seed)
    print(table(tally))
    return 0 if tally.ledger.is_clean and tally.tracking.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
