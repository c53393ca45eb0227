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

from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.leases import Fenced
from sweeps.run.failures import FailureClass, classify
from sweeps.run.frontier import Frontier
from sweeps.run.losses import UNHEARD, Losses, Workforce
from sweeps.run.trainable import WorkerSettings

FINISHED: str = Searcher.FINISHED
LOOK_SECONDS = 0.5
QUIET_SECONDS = 10.0
DRAIN_SECONDS = 12.0  # Tune takes 5 s more to end its actors; whoever sends SIGTERM waits for 20 to 30


@dataclass
class Shared:
    """What searcher, callback, stopper and driver share while Tune runs."""

    frontier: Frontier
    settings: WorkerSettings
    told: threading.Event  # that somebody wants the sweep to stop
    announce: Callable[[], None]
    look: Callable[[], None]
    cohort_of: dict[str, int] = field(default_factory=dict)
    staged: set[int] = field(default_factory=set)  # cohorts that Tune holds ready for the next free worker
    losses: Losses = field(default_factory=Losses)
    workforce: Workforce = field(default_factory=Workforce)
    starting_seconds: float = 0.0  # until Ray was there
    committing_seconds: float = 0.0
    first_report_at: float | None = None
    stopped_at: float | None = None  # when it was first seen that the sweep is to stop
    failure: FailureClass | None = None  # why the sweep as a whole stops, where it does
    error: str | None = None
    away: LedgerAway | None = None  # where that is why: the sweep goes on once the ledger is back

    def end(self, error: Exception) -> None:
        """Drain the sweep because of an error that no trial caused. The first is reported, unless a later one ends the sweep."""
        if self.error is None or isinstance(error, Fenced):
            self.error = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
            self.failure = classify(error)
            self.away = error if isinstance(error, LedgerAway) else None

    @property
    def stopping(self) -> bool:
        """Whether no more cohorts are handed out: somebody said so, or something failed that is no trial's own."""
        return self.told.is_set() or self.error is not None

    @property
    def is_short_of_workers(self) -> bool:
        """Whether there is work for a worker that is about to start."""
        return self.workforce.is_starting and bool(self.staged or self.frontier.waiting)

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
        if sweep.stopping:
            return FINISHED
        taken = sweep.frontier.take()
        if taken is None:
            return None if sweep.frontier.running or sweep.frontier.waiting else FINISHED
        number, cohort = taken
        sweep.cohort_of[trial_id] = number
        sweep.staged.add(number)
        alone, lingers = sweep.frontier.is_alone(number), sweep.workforce.is_starting
        cohort_ref = ray.put(cohort)
        return {"cohort": cohort_ref, "settings": sweep.settings, "alone": alone, "lingers": lingers}

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
        self._last_word: dict[TuneTrial, float] = {}  # when each worker at work was last heard from or spoken to

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker takes its cohort up."""
        self._last_word[trial] = time.monotonic()
        self._sweep.staged.discard(self._sweep.cohort_of[trial.trial_id])
        self._sweep.workforce.start(trial.trial_id, trial.temporary_state.ray_actor)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker's report on its cohort."""
        self._last_word[trial] = time.monotonic()
        number = self._sweep.cohort_of[trial.trial_id]
        with self._guard(), self._timed():
            self._sweep.first_report_at = self._sweep.first_report_at or time.monotonic()
            self._sweep.frontier.hear(number, result["reports"])
            if (failure := result.get("failure")) and self._sweep.frontier.is_wanted(number):
                self._fail(number, FailureClass(result["failure_class"]), failure)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker is done; one that ended without a word on its cohort would have Tune wait for ever."""
        self._last_word.pop(trial, None)
        self._sweep.workforce.finish(trial.trial_id)
        number = self._sweep.cohort_of[trial.trial_id]
        with self._guard(), self._timed():
            if not self._sweep.stopping and self._sweep.frontier.is_wanted(number):
                self._fail(number, FailureClass.INFRASTRUCTURE, "a worker ended without a result")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker's process is gone."""
        self._last_word.pop(trial, None)
        number = self._sweep.cohort_of[trial.trial_id]
        self._sweep.staged.discard(number)  # gone before it could start
        self._sweep.workforce.lose(trial.trial_id)
        with self._guard(), self._timed():
            if self._sweep.frontier.is_wanted(number):
                loss = self._sweep.losses.current or UNHEARD
                self._fail(number, loss.failure, str(loss))

    def _fail(self, number: int, failure: FailureClass, error: str) -> None:
        self._sweep.frontier.fail(number, failure, error)
        if failure is FailureClass.NO_SPACE:
            self._sweep.failure, self._sweep.error = failure, error.strip().partition("\n")[0]

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Time for a look at the sweep; Tune takes ten steps a second."""
        if time.monotonic() - self._announced_at >= LOOK_SECONDS:
            with self._guard():
                self._speak()
                self._sweep.losses.look()
                self._sweep.look()
                self._sweep.announce()
            self._announced_at = time.monotonic()

    def _speak(self) -> None:
        """Send a word to every worker that is quiet, for it shows whether there is still a connection.

        A network that is cut for half a minute has the worker's side close the connection, and no word of that arrives.
        The driver, which only waits for an answer, would not notice for five minutes.
        """
        now = time.monotonic()
        for trial, at in self._last_word.items():
            if now - at >= QUIET_SECONDS and (actor := trial.temporary_state.ray_actor):
                self._last_word[trial] = now
                actor.__ray_ready__.remote()  # done when the epoch is, and nobody waits for it

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logging.getLogger(__name__).debug("draining the sweep", exc_info=True)
            self._sweep.end(error)

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
        """Whether this trial ends with this report: because the sweep does, or because nobody wants the cohort any more.

        A worker that is idle lingers while another one starts.
        """
        sweep = self._sweep
        if sweep.stopping:
            return True
        return not sweep.frontier.is_wanted(sweep.cohort_of[trial_id]) and not sweep.is_short_of_workers

    def stop_all(self) -> bool:
        """Whether to wait for no more reports: an epoch under way would outlast the time that a drain may take."""
        if not self._sweep.stopping:
            return False
        self._sweep.stopped_at = self._sweep.stopped_at or time.monotonic()
        return time.monotonic() - self._sweep.stopped_at > DRAIN_SECONDS
