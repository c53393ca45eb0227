"""Reports for the service: each drawn as `abel report` does, in a process, one at a time, and kept until more happens."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from services.errors import OperationError
from services.settings import Settings
from sweeps.files import private
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.ledger.submissions.rows import Submission

DRAW_SECONDS = 300.0
MOST_ASKING = 3  # requests at once: each holds one of the service's threads


class Busy(OperationError):
    """The service has enough to do; the same request may succeed later."""


class Reports:
    """The reports of one home's sweeps."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._drawing, self._asking = threading.Lock(), threading.BoundedSemaphore(MOST_ASKING)

    def page(self, one: Submission, sweep: SweepRow | None) -> str:
        """Return the report of a submission's sweep as HTML, in the words of its own spec.

        Raises:
            OperationError: there is no sweep yet, or the report cannot be drawn.
            Busy: other reports are being drawn.
        """
        if sweep is None:
            raise OperationError("report: must be of a sweep that has started, and this one has not")
        told = json.dumps([one.spec, self._settings.mlflow_url], sort_keys=True)
        words = hashlib.sha256(told.encode()).hexdigest()[:12]
        place = self._settings.reports / "service" / f"{sweep.id}-{words}"
        mark = str(self._ledger.last_event(sweep.id))
        if not self._asking.acquire(blocking=False):
            raise Busy("report: others are being drawn; ask again later")
        try:
            with self._drawing:
                if not _is_of(place, mark):
                    self._draw(one, place, mark)
                return (place / "index.html").read_text(encoding="utf-8")
        finally:
            self._asking.release()

    def _draw(self, one: Submission, place: Path, mark: str) -> None:
        with private():
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{one.id}-", dir=place.parent))
        command = [sys.executable, "-P", "-m", "services.server.drawing", one.id, str(draft)]
        try:
            _run(command)
        except OperationError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        (draft / "mark").write_text(mark)
        _replace(draft, place)


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRAW_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        rule = f"must be drawn within {DRAW_SECONDS:g} s; `abel report` has no limit"
        raise OperationError(f"report: {rule}") from None
    if done.returncode:
        raise OperationError(f"report: cannot be drawn: {done.stderr.strip()[-300:]}")


def _is_of(place: Path, mark: str) -> bool:
    try:
        return (place / "mark").read_text() == mark
    except OSError:
        return False


def _replace(draft: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
