"""Reports for the service: drawn by `abel report` in a process of its own, one at a time, and kept until more happens."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from services.errors import OperationError
from services.settings import Settings
from sweeps.files import private
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.ledger.submissions.queue import Submissions

DRAW_SECONDS = 300.0
WAIT_SECONDS = 30.0  # for others' reports; a waiting request holds one of the service's threads
HERE = {"ABEL_SERVER": ""}  # else the command would ask the service for the report


class Busy(OperationError):
    """The service has enough to do; the same request may succeed later."""


class Reports:
    """The reports of one home's sweeps."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._drawing = threading.Lock()

    def page(self, sweep: SweepRow | None) -> str:
        """Return a sweep's report as HTML.

        Raises:
            OperationError: there is no sweep yet, or the report cannot be drawn.
            Busy: other reports are being drawn.
        """
        if sweep is None:
            raise OperationError("report: must be of a sweep that has started, and this one has not")
        place = self._settings.reports / "service" / sweep.id
        mark = str(Submissions.of(self._ledger).last_event(sweep.id))
        if not self._drawing.acquire(timeout=WAIT_SECONDS):
            raise Busy("report: others are being drawn; ask again later")
        try:
            if not _is_of(place, mark):
                self._draw(sweep, place, mark)
            return (place / "index.html").read_text(encoding="utf-8")
        finally:
            self._drawing.release()

    def _draw(self, sweep: SweepRow, place: Path, mark: str) -> None:
        with private():
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{sweep.id}-", dir=place.parent))
        command = [sys.executable, "-P", "-m", "services.cli", "report", sweep.id, "--out", str(draft)]
        try:
            done = subprocess.run(
                command, env=os.environ | HERE, capture_output=True, text=True, timeout=DRAW_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise OperationError(
                f"report: must be drawn within {DRAW_SECONDS:g} s; `abel report` has no limit"
            ) from None
        if done.returncode:
            raise OperationError(f"report: cannot be drawn: {done.stderr.strip()[-300:]}")
        (draft / "mark").write_text(mark)
        _replace(draft, place)


def _is_of(place: Path, mark: str) -> bool:
    try:
        return (place / "mark").read_text() == mark
    except OSError:
        return False


def _replace(draft: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
