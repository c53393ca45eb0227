"""What is watched while a driver works: its progress, the sweep's news, and the projector's complaints."""

from typing import Protocol

from services.tracking.projector import Projector
from services.verbs.running.news import News
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.processes.job import Progress

NO_NODE = "no node of the Ray cluster can hold a worker; waiting for one to join"
NODE_JOINED = "a node has joined; continuing"


class View(Protocol):
    """Where a run reports what it does."""

    def note(self, text: str) -> None:
        """Report something once: a step of the start, a warning."""

    def news(self, trial: str, text: str) -> None:
        """Report what happened in a trial; a later text of the same trial replaces an earlier one."""

    def show(self, progress: Progress) -> None:
        """Show the sweep's progress."""


class Watch:
    """What is done each time the driver reports progress."""

    def __init__(self, ledger: Ledger, sweep_id: str, view: View) -> None:
        self._view = view
        names = {trial.id: trial.name for trial in ledger.trials(sweep_id)}
        self._news = News(ledger=ledger, sweep_id=sweep_id, names=names)
        self._news.skip()
        self._room = True

    def tick(self, progress: Progress, projector: Projector | None) -> None:
        """Pass on the progress, the news, and the projector's complaints."""
        try:
            self._tell_news()
        except LedgerDamaged:
            raise
        except LedgerError:
            pass  # a failed read does no harm; a failing writer stops at its next record
        for line in projector.complaints() if projector else ():
            self._view.note(line)
        if progress.room is not self._room:
            self._room = progress.room
            self._view.note(NODE_JOINED if progress.room else NO_NODE)
        self._view.show(progress)

    def _tell_news(self) -> None:
        for item in self._news.poll():
            if item.trial is None:
                self._view.note(item.text)
            else:
                self._view.news(item.trial, item.text)
