"""The tracking projector beside a run: a separate process, so an outage never slows or stops training."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.settings import Settings
from sweeps.urls import without_credentials

BY_HAND = 3  # the exit code of services.tracking.uploading if the store must be repaired by hand
DRAIN_SECONDS = 120.0  # about 300,000 points at MLflow's pace into SQLite
INTERRUPTED_DRAIN_SECONDS = 10.0  # after Ctrl-C, the user wants the prompt back; a later run sends the rest
LOOK_SECONDS = 0.1
STOP_SECONDS = 5.0
RESTART_SECONDS = 5.0  # between two starts of a projector that keeps being killed
NICENESS = 10  # training has priority

# Variables for workers: thread counts and compiler settings do not concern a process that only uploads.
NOT_PASSED = ("JAX_", "XLA_", "RAY_", "NPROC", "OMP_", "TF_")


@dataclass(kw_only=True)
class Projector:
    """A running projector; once it is drained, ``pending`` says what the store lacks, if anything.

    ``by_hand`` says that the store must be repaired before anything more can be sent.
    """

    command: Sequence[str]
    ledger_url: str
    tracking_uri: str
    target: str
    log: Path
    pending: str | None = None
    by_hand: bool = False
    _heard: int = 0

    def __post_init__(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=environment(os.environ) | {"ABEL_LEDGER": self.ledger_url, "ABEL_TRACKING_URI": self.tracking_uri},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is for the run, which then stops this in order
            )
        self._started = time.monotonic()
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self.process.pid, NICENESS)

    def keep(self) -> int | None:
        """Its exit code, if it has exited by itself; if it was killed, e.g. for lack of memory, it is restarted."""
        code = self.process.poll()
        if code is None or code >= 0:
            return code
        if time.monotonic() - self._started > RESTART_SECONDS:
            self._start()
        return None

    def complaints(self) -> list[str]:
        """Its messages since the last call, e.g. that the store is unreachable or reachable again."""
        try:
            self.keep()
            with self.log.open("rb") as file:
                file.seek(self._heard)
                *lines, _ = file.read().split(b"\n")
        except OSError:  # a missing log is no reason to stop training
            return []
        self._heard += sum(len(line) + 1 for line in lines)
        return [line.decode(errors="replace") for line in lines if line.strip()]

    def drain(self, stop: threading.Event) -> None:
        """Wait until the store has all of the sweep, but only briefly once ``stop`` is set; else set ``pending``."""
        began = time.monotonic()
        while (code := self.keep()) is None and time.monotonic() - began < (
            INTERRUPTED_DRAIN_SECONDS if stop.is_set() else DRAIN_SECONDS
        ):
            time.sleep(LOOK_SECONDS)
        self.stop()
        self.by_hand = code == BY_HAND
        if code != 0:
            late = "timed out before everything was sent"
            why = late if code is None else (_last_line(self.log) or f"exited with {code}")
            self.pending = f"Not everything is in the tracking store {self.target}: {why} (log: {self.log})"

    def stop(self) -> None:
        """Stop the process; a later run sends the rest."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def begin(settings: Settings, sweep_id: str) -> Projector:
    """Start a projector for the sweep; the caller must stop it."""
    return Projector(
        command=command(settings, sweep_id),
        ledger_url=settings.ledger_url,
        tracking_uri=settings.tracking_uri,
        target=without_credentials(settings.tracking_uri),
        log=settings.logs / f"tracking-{sweep_id}.log",
    )


@contextmanager
def projecting(settings: Settings, sweep_id: str, stop: threading.Event) -> Iterator[Projector]:
    """Run a projector for the sweep; drain it if the block ends without an exception, else stop it."""
    projector = begin(settings, sweep_id)
    try:
        yield projector
        projector.drain(stop)
    finally:
        projector.stop()


def command(settings: Settings, sweep_id: str) -> list[str]:
    """The projector's command line. Every user can read it, so URLs, which may hold passwords, go into the environment."""
    return [
        *(sys.executable, "-P", "-m", "services.tracking.uploading"),
        *("--sweep", sweep_id),
        *("--artifacts", str(settings.artifacts)),
        *(() if settings.data_dir is None else ("--data-dir", str(settings.data_dir))),
        "--follow",
    ]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a projector."""
    return {name: value for name, value in variables.items() if not name.startswith(NOT_PASSED)}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
