"""What a sweep tells of its progress while it runs."""

import math
import time
from collections.abc import Callable, Sequence

import ray

from sweeps.ledger.records import TrialStatus
from sweeps.processes.job import Progress
from sweeps.run.frontier import Frontier
from sweeps.run.placement.pinning import WorkerNodes
from sweeps.spec.trial import Trial

ANNOUNCE_SECONDS = 1.0  # while walking through recorded epochs


class Announcer:
    """Reports the progress of one sweep since ``began``, in seconds of the monotonic clock.

    Args:
        forecast: bounds of the epochs still to be trained at the start.
        tell: is given each report.
    """

    def __init__(
        self,
        frontier: Frontier,
        nodes: WorkerNodes,
        trials: Sequence[Trial],
        forecast: tuple[int, int],
        tell: Callable[[Progress], None],
        began: float,
    ) -> None:
        self._frontier, self._nodes, self._tell, self._began = frontier, nodes, tell, began
        self._total = sum(trial.epochs for trial in trials)
        self._forecast = forecast
        # Epochs and seconds at the first report: the pace excludes the start.
        self._first: tuple[int, float] | None = None

    def announce(self, staged: int) -> None:
        """Report the progress; so many of the cohorts in training have not started yet."""
        frontier, elapsed = self._frontier, time.monotonic() - self._began
        statuses = list(frontier.statuses.values())
        running, waiting = frontier.running - staged, frontier.waiting + staged
        if frontier.trained and self._first is None:
            self._first = (frontier.trained, elapsed)
        self._tell(
            Progress(
                trials=len(statuses),
                ended=sum(status.final for status in statuses),
                diverged=statuses.count(TrialStatus.DIVERGED),
                failed=statuses.count(TrialStatus.FAILED),
                cancelled=statuses.count(TrialStatus.CANCELLED),
                stopped=statuses.count(TrialStatus.STOPPED),
                running=running,
                waiting=waiting,
                room=running > 0 or waiting == 0 or self._nodes.has_room,
                joined=ray.is_initialized(),
                trained=frontier.trained,
                replayed=frontier.replayed,
                covered=frontier.covered,
                total=self._total,
                forecast_low=self._forecast[0],
                forecast_high=self._forecast[1],
                elapsed_seconds=elapsed,
                eta_seconds=self._eta(elapsed),
            )
        )

    def _eta(self, elapsed: float) -> float | None:
        """The seconds to the expected number of epochs at the pace since the first report; None before there is one."""
        trained = self._frontier.trained
        if self._first is None or trained <= self._first[0]:
            return None
        trained_then, elapsed_then = self._first
        expected = sum(self._forecast) / 2
        return max(0.0, expected - trained) * (elapsed - elapsed_then) / (trained - trained_then)


def seldom(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls ``act`` at most once per ``ANNOUNCE_SECONDS``."""
    acted_at = -math.inf

    def maybe() -> None:
        nonlocal acted_at
        if time.monotonic() - acted_at >= ANNOUNCE_SECONDS:
            act()
            acted_at = time.monotonic()

    return maybe
