"""A report's part in the tracking store, in a process of its own: importing MLflow takes as long as drawing the figures.

``python -m services.tracking.attaching ID...`` writes where MLflow shows the trials of these sweeps, then reads the report's
files, attaches them to the sweeps' runs, and writes whether that worked; each is a line of JSON. If the store cannot be read, it
ends after the first.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from services.settings import Settings, SettingsError
from services.tracking.projector import environment
from sweeps.files import private
from sweeps.urls import sqlite_file


def has_store(settings: Settings) -> bool:
    """Whether there may be a tracking store: a server, or an existing file."""
    try:
        file = sqlite_file(settings.tracking_uri)
    except SettingsError:
        return False
    return file is None or file.exists()


class Attaching:
    """Runs the process while the block runs, unless no sweep is given; ``notes`` list what it could not do."""

    def __init__(self, settings: Settings, sweeps: Sequence[str]) -> None:
        self.notes: list[str] = []
        self._settings, self._sweeps = settings, sweeps
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if self._sweeps:
            # Every user can read a command line, so URLs, which may hold passwords, go into the environment.
            urls = {"ABEL_LEDGER": self._settings.ledger_url, "ABEL_TRACKING_URI": self._settings.tracking_uri}
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "services.tracking.attaching", *self._sweeps],
                env=environment(os.environ) | urls | {"ABEL_HOME": str(self._settings.home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # a Ctrl-C at the terminal is for the report, which then ends this
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def places(self) -> Mapping[str, str]:
        """Each trial's address in MLflow's UI below its base URL, by trial id; empty if the store cannot be read."""
        found: Mapping[str, str] = self._answer("The page has no links to MLflow") or {}
        return found

    def attach(self, files: Sequence[Path]) -> None:
        """Attach a report's files to the sweeps' own runs, unless the store could not be read."""
        if self._process is None or self.notes:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it was killed, which the answer shows
            self._process.stdin.write(json.dumps([str(file) for file in files]) + "\n")
            self._process.stdin.flush()
        self._answer("The files are not attached to the sweep's MLflow run")

    def _answer(self, otherwise: str) -> Any:
        if self._process is None:
            return None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        is_whole = line.endswith("\n")
        answer = json.loads(line) if is_whole else {"fault": f"its process ended with code {self._process.wait()}"}
        if "fault" in answer:
            self.notes.append(f"{otherwise}: {answer['fault']}")
        return answer.get("places")


def main(sweeps: Sequence[str], asked: IO[str], answers: IO[str]) -> None:
    """Answer for some sweeps."""
    from services.tracking.runs import RunsError, places
    from services.tracking.store import TrackingError, attach_figure

    settings = Settings.from_env()

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        say(places={trial: place for sweep in sweeps for trial, place in places(settings.tracking_uri, sweep).items()})
    except RunsError as error:
        return say(fault=str(error))
    files = [Path(file) for file in json.loads(asked.readline() or "[]")]
    try:
        with private():
            for sweep in sweeps if files else ():
                attach_figure(settings, sweep, files)
        say()
    except TrackingError as error:
        say(fault=str(error))


if __name__ == "__main__":
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as own:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        main(sys.argv[1:], sys.stdin, own)
