"""What stands between Ray Tune and a sweep's frontier: Tune asks for cohorts, and reports go to the ledger."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from sweeps.frontier import Frontier
from sweeps.trainable import WorkerSettings

FINISHED: str = Searcher.FINISHED
ANNOUNCE_SECONDS = 0.5


@dataclass
class Shared:
    """What searcher, callback, stopper and driver share while Tune runs."""

    frontier: Frontier
    settings: WorkerSettings
    stop: threading.Event
    announce: Callable[[], None]
    cohort_of: dict[str, int] = field(default_factory=dict)
    staged: set[int] = field(default_factory=set)  # cohorts that Tune holds ready for the next free worker
    committing_seconds: float = 0.0
    first_report_at: float | None = None
    error: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore, and ours is from the ledger."""
        return {}


class CohortSearcher(Searcher):  # type: ignore[misc]
    """Suggests the next ready cohort; None while only running ones could bring more; FINISHED at the end."""

    def __init__(self, sweep: Shared) -> None:
        super().__init__()
        self._sweep = sweep

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next cohort's configuration."""
        sweep = self._sweep
        if sweep.stop.is_set():
            return FINISHED
        taken = sweep.frontier.take()
        if taken is None:
            return None if sweep.frontier.running else FINISHED
        number, cohort = taken
        sweep.cohort_of[trial_id] = number
        sweep.staged.add(number)
        return {"number": number, "cohort": ray.put(cohort), "settings": sweep.settings}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback has seen the results, and the ledger has them."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class LedgerCallback(tune.Callback):  # type: ignore[misc]
    """Writes every report to the ledger. An exception here would end all trials, so faults are noted and drain the sweep."""

    def __init__(self, sweep: Shared) -> None:
        self._sweep = sweep
        self._announced_at = -math.inf

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker takes its cohort up."""
        self._sweep.staged.discard(self._sweep.cohort_of[trial.trial_id])

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker's report on its cohort."""
        number = self._sweep.cohort_of[trial.trial_id]
        with self._guard(), self._timed():
            self._sweep.first_report_at = self._sweep.first_report_at or time.monotonic()
            self._sweep.frontier.hear(number, result["reports"])
            if failure := result.get("failure"):
                self._sweep.frontier.fail(number, failure)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker's process is gone."""
        with self._guard(), self._timed():
            why = str(trial.get_error() or "its process died").strip().splitlines()[-1]
            self._sweep.frontier.lose(self._sweep.cohort_of[trial.trial_id], why)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Time for a look at the sweep; Tune takes ten steps a second."""
        if time.monotonic() - self._announced_at >= ANNOUNCE_SECONDS:
            with self._guard():
                self._sweep.announce()
            self._announced_at = time.monotonic()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logging.getLogger(__name__).debug("draining the sweep", exc_info=True)
            self._sweep.error = self._sweep.error or f"{type(error).__name__}: {error}"
            self._sweep.stop.set()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._sweep.committing_seconds += time.monotonic() - began


class DrainStopper(tune.Stopper):  # type: ignore[misc]
    """Ends each trial at its next report once the sweep is to stop, so that no trained epoch is thrown away."""

    def __init__(self, sweep: Shared) -> None:
        self._sweep = sweep

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends with this report."""
        return self._sweep.stop.is_set()

    def stop_all(self) -> bool:
        """Never at once: the searcher says when all is done."""
        return False
