"""Where MLflow's UI shows a sweep and its trials: looked up in the background, as a request must not wait for MLflow."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from services.settings import Settings
from services.tracking.attaching import has_store
from sweeps.ledger.database import LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow

FRESH_SECONDS = 15.0  # trials get their runs while a sweep runs
SWEEPS_KNOWN = 64


@dataclass(frozen=True, kw_only=True)
class TrackingLinks:
    """Addresses in MLflow's UI: of the page that compares a sweep's trials, and of each trial's run by the trial's name."""

    sweep: str
    trials: Mapping[str, str]


class LinkFinder:
    """Knows what MLflow last said of each sweep; one lookup at a time. A store that is away leaves what was known."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._known: OrderedDict[str, tuple[TrackingLinks | None, float]] = OrderedDict()  # with when they were found
        self._looking = threading.Lock()

    def links(self, sweep: SweepRow | None) -> TrackingLinks | None:
        """Return a sweep's links, at once; None before they are known, or if the service knows no address of MLflow.

        MLflow would make a store that is not there yet, as the process that uploads may be doing.
        """
        if sweep is None or self._settings.mlflow_url is None or not has_store(self._settings):
            return None
        found, at = self._known.get(sweep.id, (None, float("-inf")))
        if sweep.id in self._known:
            self._known.move_to_end(sweep.id)
        if time.monotonic() - at > FRESH_SECONDS and self._looking.acquire(blocking=False):
            threading.Thread(target=self._look, args=(sweep, found), name="mlflow", daemon=True).start()
        return found

    def _look(self, sweep: SweepRow, found: TrackingLinks | None) -> None:
        url, store = self._settings.mlflow_url or "", self._settings.tracking_uri
        try:
            from services.tracking import runs  # MLflow

            with suppress(runs.RunsError, LedgerError):
                names = {trial.id: trial.name for trial in self._ledger.trials(sweep.id)}
                places = runs.places(store, sweep.id)
                trials = {names[id]: url + place for id, place in places.items() if id in names}
                found = TrackingLinks(sweep=url + runs.comparison(store, sweep), trials=trials)
        finally:
            self._known[sweep.id] = found, time.monotonic()
            while len(self._known) > SWEEPS_KNOWN:
                self._known.popitem(last=False)
            self._looking.release()
