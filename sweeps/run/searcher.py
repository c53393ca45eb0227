"""Adapters between Ray Tune and a sweep's frontier: Tune asks for cohorts, and their reports go to the ledger."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.leases import Fenced
from sweeps.run.announcing import Announcer
from sweeps.run.failures import FailureClass, classify
from sweeps.run.frontier import Frontier
from sweeps.run.losses import UNHEARD, Losses, Workforce
from sweeps.run.placement.pinning import WorkerNodes
from sweeps.run.trainable import Payload, WorkerSettings

FINISHED: str = Searcher.FINISHED
LOOK_SECONDS = 0.5
QUIET_SECONDS = 10.0
DRAIN_SECONDS = 12.0  # Tune needs another 5 s to end its actors, and senders of SIGTERM usually wait 20 to 30 s


@dataclass
class Shared:
    """State that searcher, callback, stopper and driver share while Tune runs."""

    frontier: Frontier
    settings: WorkerSettings
    told: threading.Event  # set when the sweep is asked to stop
    announcer: Announcer
    look: Callable[[], None]
    nodes: WorkerNodes
    most_workers: int | None = None  # on a cluster, which may have room for more
    left: int = 1  # cohorts that this tuner may still be given
    cohort_of: dict[str, int] = field(default_factory=dict)
    staged: set[int] = field(default_factory=set)  # cohorts that Tune holds ready for the next free worker
    losses: Losses = field(default_factory=Losses)
    workforce: Workforce = field(default_factory=Workforce)
    starting_seconds: float = 0.0  # until Ray was ready
    committing_seconds: float = 0.0
    first_report_at: float | None = None
    stopped_at: float | None = None  # when the stopper first saw that the sweep is stopping
    failure: FailureClass | None = None  # why the whole sweep stops, if it does
    error: str | None = None
    away: LedgerAway | None = None  # set if the ledger is unreachable; the sweep continues once it is back

    def end(self, error: Exception) -> None:
        """Drain the sweep because of an error not caused by a trial. The first error is reported, unless a later is `Fenced`."""
        if self.error is None or isinstance(error, Fenced):
            self.error = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
            self.failure = classify(error)
            self.away = error if isinstance(error, LedgerAway) else None

    def announce(self) -> None:
        """Report the progress."""
        self.announcer.announce(len(self.staged))

    @property
    def stopping(self) -> bool:
        """Whether no more cohorts are handed out, on request or because of an error not caused by a trial."""
        return self.told.is_set() or self.error is not None

    def begin_tuner(self, cohorts: int) -> None:
        """Prepare for a tuner that may be given so many cohorts; its workers are new processes."""
        self.left, self.workforce = cohorts, Workforce()
        self.cohort_of.clear()
        self.staged.clear()
        self.workforce.expect(self.nodes.room)

    @property
    def is_handing_on(self) -> bool:
        """Whether another tuner is to take over all cohorts in training."""
        return self.left <= 0

    @property
    def is_short_of_workers(self) -> bool:
        """Whether there is work for a worker that is about to start, which may run beside others."""
        work = bool(self.staged or self.frontier.waiting)
        return work and self.workforce.is_starting and not self.frontier.has_lone_work

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher for a restore, but sweeps restore from the ledger."""
        return {}


class CohortSearcher(Searcher):  # type: ignore[misc]
    """Suggests the next ready cohort; None while none is ready but more may come; FINISHED at the end."""

    def __init__(self, sweep: Shared) -> None:
        super().__init__()
        self._sweep = sweep

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next cohort."""
        sweep = self._sweep
        if sweep.stopping or sweep.is_handing_on:
            return FINISHED
        if sweep.most_workers and sweep.frontier.running >= sweep.most_workers:
            return None
        taken = sweep.frontier.take()
        if taken is None:
            return None if sweep.frontier.running or sweep.frontier.waiting else FINISHED
        number, cohort = taken
        sweep.left -= 1
        sweep.cohort_of[trial_id] = number
        sweep.staged.add(number)
        return {
            "cohort": Payload.of(cohort),
            "settings": sweep.settings,
            "alone": sweep.frontier.is_alone(number),
            "nodes": sweep.nodes.selector,
            "lingers": sweep.workforce.is_starting,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the callback has written the results to the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""


class LedgerCallback(tune.Callback):  # type: ignore[misc]
    """Writes every report to the ledger. An exception here would end all trials, so errors are stored and drain the sweep."""

    def __init__(self, sweep: Shared) -> None:
        self._sweep = sweep
        self._announced_at = -math.inf
        self._last_word: dict[TuneTrial, float] = {}  # when each busy worker last sent or received a message

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Handle that a worker starts its cohort."""
        self._last_word[trial] = time.monotonic()
        self._sweep.staged.discard(self._sweep.cohort_of[trial.trial_id])
        self._sweep.workforce.join(trial.temporary_state.ray_actor._actor_id.hex())

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Handle a worker's report on its cohort."""
        self._last_word[trial] = time.monotonic()
        number = self._sweep.cohort_of[trial.trial_id]
        with self._guard(), self._timed():
            self._sweep.first_report_at = self._sweep.first_report_at or time.monotonic()
            self._sweep.frontier.hear(number, result["reports"])
            if foreign := result.get("foreign_node"):
                self._sweep.nodes.avoid(foreign)
            if (failure := result.get("failure")) and self._sweep.frontier.is_wanted(number):
                self._fail(number, FailureClass(result["failure_class"]), failure)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Handle that a worker is done; if it ended without a result, Tune would wait for its cohort forever."""
        self._last_word.pop(trial, None)
        number = self._sweep.cohort_of[trial.trial_id]
        with self._guard(), self._timed():
            leaving = self._sweep.stopping or self._sweep.is_handing_on
            if not leaving and self._sweep.frontier.is_wanted(number):
                self._fail(number, FailureClass.INFRASTRUCTURE, "a worker ended without a result")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Handle the loss of a worker's process."""
        self._last_word.pop(trial, None)
        number = self._sweep.cohort_of[trial.trial_id]
        self._sweep.staged.discard(number)  # gone before it could start
        loss = self._sweep.losses.current or UNHEARD
        self._sweep.workforce.lose(loss.actor)
        with self._guard(), self._timed():
            if self._sweep.frontier.is_wanted(number):
                self._fail(number, loss.failure, str(loss))

    def _fail(self, number: int, failure: FailureClass, error: str) -> None:
        self._sweep.frontier.fail(number, failure, error)
        if failure is FailureClass.NO_SPACE:
            self._sweep.failure, self._sweep.error = failure, error.strip().partition("\n")[0]

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Check the sweep and report progress every ``LOOK_SECONDS``; Tune takes ten steps a second."""
        if time.monotonic() - self._announced_at >= LOOK_SECONDS:
            with self._guard():
                self._speak()
                self._sweep.losses.look()
                self._sweep.nodes.look()
                self._sweep.look()
                self._sweep.announce()
            self._announced_at = time.monotonic()

    def _speak(self) -> None:
        """Send a message to every quiet worker, to detect a lost connection.

        If the network is down for half a minute, the worker's side closes the connection, and the driver is not notified.
        The driver, which only waits for an answer, would not notice for five minutes.
        """
        now = time.monotonic()
        for trial, at in self._last_word.items():
            if now - at >= QUIET_SECONDS and (actor := trial.temporary_state.ray_actor):
                self._last_word[trial] = now
                actor.__ray_ready__.remote()  # answered after the epoch; the answer is not used

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
    """Ends each trial at its next report once the sweep is stopping or changes its tuner, so no trained epoch is lost."""

    def __init__(self, sweep: Shared) -> None:
        self._sweep = sweep

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends with this report: all do, or the cohort has no trials left to train.

        While another worker starts, an idle one keeps its Tune trial.
        """
        sweep = self._sweep
        if sweep.stopping or sweep.is_handing_on:
            return True
        wanted = sweep.frontier.is_wanted(sweep.cohort_of[trial_id])
        if result.get("idle"):
            return wanted or not sweep.is_short_of_workers  # idle though wanted: it ended without a result
        return not wanted

    def stop_all(self) -> bool:
        """Whether to stop waiting for reports, as the current epochs take longer than a drain may."""
        if not self._sweep.stopping:
            return False
        self._sweep.stopped_at = self._sweep.stopped_at or time.monotonic()
        return time.monotonic() - self._sweep.stopped_at > DRAIN_SECONDS
