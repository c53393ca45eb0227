"""One sweep under faults in a separate home: its command, how far it is, and what a loss costs."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from faults import Death, Kill, Life
from oracle import Curves, curves
from victims import VITAL, Victim, find, send

from sweeps.ledger.ledger import Ledger
from sweeps.urls import of_sqlite

HERE = Path(__file__).parent
PATIENCE_SECONDS = 180.0  # for one sign of life; more is a hang, and a loss
STOP_SECONDS = 35.0  # a lease lasts 30
LOOK_SECONDS = 0.05
UNHARMED = Life(kills=(), death=Death.NONE, after=0.0, statement=0)

Heads = Mapping[str, tuple[int, str | None]]  # by trial: its epoch, and the process that trained it


class Round:
    """One sweep under faults."""

    def __init__(self, home: Path, spec: Path, save_every: float, *, crowded: bool = False, **environment: str) -> None:
        self.home, self.spec, self.environment = home, spec, environment
        self._look_seconds = 0.2 if crowded else LOOK_SECONDS  # a look reads every trial
        self._crowded = (
            crowded  # so many cohorts wait that one which lost its worker is taken up late: any progress counts
        )
        self.arguments = ["run", str(spec), "--workers", "2", "--save-every", str(save_every)]
        self.ledger = Ledger.open(of_sqlite(home / "ledger.db"))

    def type(self, life: Life = UNHARMED) -> "subprocess.Popen[bytes]":
        """Type the command."""
        environment = {"ABEL_HOME": str(self.home), **self.environment}
        if life.death is Death.IN_COMMIT:
            environment |= {"CHAOS_COMMITS": str(int(life.after)), "CHAOS_STATEMENT": str(life.statement)}
            environment["PYTHONPATH"] = str(HERE / "inside")
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "services.cli", *self.arguments]
            return subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)

    @contextmanager
    def command(self, life: Life = UNHARMED) -> Iterator["subprocess.Popen[bytes]"]:
        """A command under way; whatever happens, it has ended when the block has."""
        process = self.type(life)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @property
    def log(self) -> Path:
        """What the commands print."""
        return self.home / "command.log"

    @property
    def sweep_id(self) -> str | None:
        """The sweep's id once it is in the ledger."""
        sweeps = self.ledger.sweeps()
        return sweeps[-1].id if sweeps else None

    def heads(self) -> Heads:
        """How far every trial is, and which process trained it there."""
        rows = self.ledger.trials(self.sweep_id or "")
        states = self.ledger.states({row.head for row in rows if row.head})
        return {row.id: (row.epoch, states[row.head].worker if row.head in states else None) for row in rows}

    def going(self) -> set[str]:
        """The trials without an outcome."""
        return {row.id for row in self.ledger.trials(self.sweep_id or "") if not row.status.final}

    def going_heads(self) -> Heads:
        """How far the trials without an outcome are."""
        going = self.going()
        return {trial: head for trial, head in self.heads().items() if trial in going}

    def wait_for_progress(self, command: "subprocess.Popen[bytes]", since: Heads) -> bool:
        """Wait until one of these trials is further than it was; False where the command ends before."""
        began = time.monotonic()
        while command.poll() is None:
            now, going = self.heads(), self.going()
            if any(now.get(trial, (0, None))[0] > epoch or trial not in going for trial, (epoch, _) in since.items()):
                return True
            if not since and any(epoch for epoch, _ in now.values()):
                return True
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"no progress for {PATIENCE_SECONDS:.0f} s (log: {self.log})")
            time.sleep(self._look_seconds)
        return False

    def wait_for_end(self, command: "subprocess.Popen[bytes]") -> None:
        """Wait until the command ends, as long as it makes progress."""
        while since := self.going_heads():
            if not self.wait_for_progress(command, since):
                break
        command.wait(PATIENCE_SECONDS)

    def strike(self, command: "subprocess.Popen[bytes]", kill: Kill, draw: random.Random) -> tuple[bool, float | None]:
        """Have one process lost, and see the sweep go on.

        Returns whether there was such a process, and the seconds until a trial that was hit came further; None where the
        sweep or its command ended before, or no trial was hit.
        """
        victim = self._victim(command, kill, draw)
        if victim is None:
            return False, None
        drivers = find(command.pid, Victim.DRIVER)
        began, hit = time.monotonic(), self._hit(victim, kill)
        if kill.stop:
            send(victim, signal.SIGSTOP)
            time.sleep(STOP_SECONDS)
            send(victim, signal.SIGCONT)
        elif not send(victim, signal.SIGKILL):
            return False, None
        if kill.victim in VITAL:
            self._wait_for_loss(command, drivers)
            hit = self.going_heads()
        if hit and self._crowded:
            hit = self.going_heads()
        recovered = self.wait_for_progress(command, hit) if hit else False
        return True, time.monotonic() - began if recovered else None

    def _victim(self, command: "subprocess.Popen[bytes]", kill: Kill, draw: random.Random) -> psutil.Process | None:
        began = time.monotonic()
        while command.poll() is None:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"no {kill.victim} for {PATIENCE_SECONDS:.0f} s (log: {self.log})")
            found = find(command.pid, kill.victim)
            if kill.victim is Victim.WORKER and kill.at_work:
                working = {worker for _, worker in self.going_heads().values() if worker}
                found = [process for process in found if any(who.endswith(f":{process.pid}") for who in working)]
            if found:
                return draw.choice(sorted(found, key=lambda process: process.pid))
            time.sleep(self._look_seconds)
        return None

    def _hit(self, victim: psutil.Process, kill: Kill) -> Heads:
        if kill.victim is not Victim.WORKER:
            return self.going_heads()
        return {
            trial: (epoch, worker)
            for trial, (epoch, worker) in self.going_heads().items()
            if worker and worker.endswith(f":{victim.pid}")
        }

    def _wait_for_loss(self, command: "subprocess.Popen[bytes]", drivers: list[psutil.Process]) -> None:
        """Wait until the driver is gone as well: what it still writes is no recovery."""
        until = time.monotonic() + PATIENCE_SECONDS
        while command.poll() is None and any(driver.is_running() for driver in drivers):
            if time.monotonic() > until:
                raise TimeoutError(f"a driver outlives what it needs (log: {self.log})")
            time.sleep(LOOK_SECONDS)


def undisturbed(home: Path, spec: Path, save_every: float, **environment: str) -> Curves:
    """The oracle's run."""
    round_ = Round(home, spec, save_every, **environment)
    with round_.command() as command:
        command.wait()
    if command.returncode != 0:
        raise RuntimeError(f"the undisturbed run must end with 0, got {command.returncode} (log: {round_.log})")
    return curves(round_.ledger, str(round_.sweep_id))
