"""Where jobs run. A job is one process that carries out one launch of a submission; three verbs: launch, observe, stop.

Its command is fixed, and its arguments are the service's own: the spec travels by the ledger. What a job is doing, the
ledger says, by the lease that it holds; a place is asked only for jobs that hold none or do not renew theirs, and for
their output.
"""

import os
import signal
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Protocol

from sweeps.files import private

LOG_BYTES = 200_000  # of the end of a job's output, which is what anybody reads


class JobState(Enum):
    """What a place knows of a job."""

    ALIVE = "alive"
    WAITING = "waiting"  # the place starts it once there is room, however long that takes
    ENDED = "ended"
    FORGOTTEN = "forgotten"  # the place has no such job, so it does not run there
    UNKNOWN = "unknown"  # the place cannot tell: another service started it, or its entry was removed


class JobPlace(Protocol):
    """A place for jobs. Its errors are :class:`JobsAway`: nothing is known, and nothing happened."""

    def launch(self, id: str, number: int) -> None:
        """Start the process for this launch of a submission, once."""

    def observe(self, id: str, number: int) -> JobState:
        """Say what is known of it."""

    def stop(self, id: str, number: int) -> None:
        """Ask it to drain and end; nothing happens if there is no such job."""

    def output(self, id: str, number: int) -> str:
        """Return the end of what it printed."""


class JobsAway(Exception):
    """The place for jobs does not answer, or refuses."""


def job_command(id: str, number: int) -> list[str]:
    """The command of a job. Both arguments are made by the service, so nothing that a user wrote reaches a shell."""
    return ["-m", "services.server.job", id, str(number)]


class LocalJobs:
    """Jobs as processes of this machine. They outlive the service; the next one finds them by their leases."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}

    def launch(self, id: str, number: int) -> None:
        """Start the process for this launch of a submission, once."""
        for job, process in list(self._running.items()):
            if process.poll() is not None and job != (id, number):
                self._running.pop(job, None)  # it has ended, and was waited for by this
        if (id, number) in self._running:
            return
        try:
            with private(), self._log(id, number).open("ab") as log:
                self._running[id, number] = subprocess.Popen(
                    [sys.executable, "-P", *job_command(id, number)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the service's terminal is not for them
                )
        except OSError as error:
            raise JobsAway(f"a job cannot be started: {error.strerror}") from None

    def observe(self, id: str, number: int) -> JobState:
        """Say what is known of it."""
        process = self._running.get((id, number))
        if process is None:
            return JobState.UNKNOWN
        if process.poll() is None:
            return JobState.ALIVE
        self._running.pop((id, number), None)
        return JobState.ENDED

    def stop(self, id: str, number: int) -> None:
        """Ask it to drain and end; nothing happens if there is no such job."""
        process = self._running.get((id, number))
        if process is not None and process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)

    def output(self, id: str, number: int) -> str:
        """Return the end of what it printed."""
        return end_of(self._log(id, number))

    def _log(self, id: str, number: int) -> Path:
        return log_of(self._logs, id, number)


def log_of(logs: Path, id: str, number: int) -> Path:
    """The file with the output of a job of this machine."""
    return logs / f"submission-{id}-{number}.log"


def end_of(log: Path) -> str:
    """Return the end of a log, or an empty text if it does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
