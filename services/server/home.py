"""The sweeps of one home without a service: what :class:`services.client.client.Client` has of it, by the same names and values.

If a service runs over this home too, a sweep that was submitted to it is paused and resumed there.
"""

import os
import time
from collections.abc import Iterator

from services import ledgers
from services.schemas import SweepDetail
from services.server.jobs import end_of, log_of
from services.server.reconciling import phase_of
from services.server.showing import happening, phase_here, shown_sweep
from services.server.values import Happening, Submitted
from services.settings import Settings
from services.verbs import status
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow, SweepStatus
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Submission, Wanted

LOOK_SECONDS = 1.0
PAGE = 1000
# Nothing goes on by itself from here, unless a command that has just started has not begun yet; a paused sweep may.
LEFT = (SweepStatus.INTERRUPTED, SweepStatus.NO_SPACE, status.STOPPED)
LEFT_SECONDS = 20.0


class Home:
    """The sweeps of an ABEL_HOME."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def sweeps(self, name: str | None = None) -> Iterator[Submitted]:
        """Yield the sweeps that were run here, the most recently run first."""
        with ledgers.opened_if_any(self._settings) as ledger:
            if ledger is None:
                return
            ones = Submissions.of(ledger).open_ones()
            for row in reversed(ledger.sweeps()):
                if name in (None, row.name):
                    yield shown_sweep(ledger, row, ones)

    def status(self, id: str) -> SweepDetail:
        """Return a sweep as ``abel status`` shows it.

        Raises:
            OperationError, LedgerError: there is no such sweep.
        """
        return status.status(self._settings, id)

    def log(self, id: str) -> str:
        """Return the end of what the sweep's last process printed: its driver, or the job of a submission.

        Raises:
            OperationError, LedgerError: there is no such sweep.
        """
        with ledgers.found(self._settings, id) as (ledger, row):
            jobs = [log_of(self._settings.logs, one.id, one.launches) for one in _ones(ledger, row)]
        files = [file for file in (self._settings.logs / f"driver-{row.id}.log", *jobs) if file.exists()]
        return end_of(max(files, key=os.path.getmtime)) if files else ""

    def pause(self, id: str) -> Submitted:
        """Let a sweep's running epochs finish; nothing more starts until it is resumed.

        Raises:
            OperationError, LedgerError: there is no such sweep.
        """
        with ledgers.found(self._settings, id) as (ledger, row):
            _want(ledger, row, Wanted.PAUSED)  # first, as a service starts a sweep again that stops by itself
            ledger.pause_sweep(row.id)
            return shown_sweep(ledger, ledger.sweep(row.id), _ones(ledger, row))

    def resume(self, id: str) -> Submitted | None:
        """Have a service over this home go on with a sweep that was submitted to it; None if there is no such submission.

        Raises:
            OperationError, LedgerError: there is no such sweep.
        """
        with ledgers.found(self._settings, id) as (ledger, row):
            asked = _want(ledger, row, Wanted.RUNNING)
            if asked:
                ledger.end_pause(row.id)
            return shown_sweep(ledger, row, _ones(ledger, row)) if asked else None

    def events(self, id: str, after: int = 0) -> Iterator[Submitted | Happening]:
        """Follow a sweep until it ends or is left: yield it whenever it changes, and its events, each once.

        Raises:
            OperationError, LedgerError: there is no such sweep.
        """
        with ledgers.found(self._settings, id) as (ledger, row):
            following = _Following(ledger, row.id, after)
            while not following.is_over:
                yield from following.news()
                if not (following.is_over or following.is_behind):
                    time.sleep(LOOK_SECONDS)


class _Following:
    """Where somebody has got to who follows a sweep.

    Attributes:
        is_over: there will be no more news.
        is_behind: there are more events already.
    """

    def __init__(self, ledger: Ledger, sweep_id: str, after: int) -> None:
        self._ledger, self._sweep_id, self._after = ledger, sweep_id, after
        self._names = {trial.id: trial.name for trial in ledger.trials(sweep_id)}
        self._mark: tuple[object, ...] = ()
        self._left_at = float("inf")
        self.is_over = self.is_behind = False

    def news(self) -> list[Submitted | Happening]:
        """Return the events since the last call, and the sweep if anything has changed."""
        self.is_behind = False
        try:
            before, self._mark = self._mark, _mark(self._ledger, self._sweep_id)
            if self._mark != before:
                return self._read()
        except LedgerAway:
            self._mark = ()  # nothing is lost, as events are read by their ids
            return []
        self.is_over = time.monotonic() - self._left_at > LEFT_SECONDS
        return []

    def _read(self) -> list[Submitted | Happening]:
        row = self._ledger.sweep(self._sweep_id)
        now = shown_sweep(self._ledger, row, _ones(self._ledger, row))  # before the events: none is missing at the end
        events = self._ledger.events(self._sweep_id, self._after, PAGE)
        new: list[Submitted | Happening] = [happening(event, self._names) for event in events]
        self._after = events[-1].id if events else self._after
        self.is_behind = len(events) == PAGE
        if self.is_behind:
            self._mark = ()
            return new
        self.is_over = now.ended
        self._left_at = time.monotonic() if now.phase in LEFT else float("inf")
        return [*new, now]


def _ones(ledger: Ledger, row: SweepRow) -> list[Submission]:
    return [one for one in Submissions.of(ledger).open_ones() if one.sweep_id == row.id]


def _want(ledger: Ledger, row: SweepRow, wanted: Wanted) -> int:
    """Change what is wanted of a sweep's submissions to a service, which heeds it; return how many there are."""
    ones = [one for one in _ones(ledger, row) if one.wanted is not Wanted.CANCELLED]
    for one in ones:
        Submissions.of(ledger).want(one.id, wanted, actor="console")
    return len(ones)


def _mark(ledger: Ledger, sweep_id: str) -> tuple[object, ...]:
    """What changes whenever there is something new to tell of a sweep; cheap enough to ask every second."""
    row = ledger.sweep(sweep_id)
    ones = [(one.id, phase_of(one), one.wanted, one.error) for one in _ones(ledger, row)]
    return phase_here(ledger, row), Submissions.of(ledger).pulse(sweep_id), ones
