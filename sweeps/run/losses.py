"""Lost Ray workers: Ray's error, its class, and a one-line message.

Tune passes errors on only as pickles in its folder, and ends the whole experiment on an unexpected error of an actor, such as
one of the memory monitor. So losses are intercepted in memory, where they arrive.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

from sweeps.processes import memory
from sweeps.processes.memory import GIB
from sweeps.run.failures import FailureClass, classify

# A second worker is waited for three times as long as the slowest start took, within these limits.
LEAST_START_SECONDS = 15.0
MOST_START_SECONDS = 60.0
RECENT_SECONDS = 10.0  # a kill explains a loss that follows within this time, or at most twice as long
MONITOR = re.compile(r"Memory usage (?P<used>\d+)B exceeded threshold of (?P<threshold>\d+)B \(.*? of (?P<total>\d+)B")
WORKER = r"Actor\({actor}\).*?actual memory used=(?P<used>[\d.]+)GB"


class WorkerLost(RayActorError):  # type: ignore[misc]
    """A worker is gone, and Ray reported it with an error of another type, which is the cause of this one."""

    def __init__(self, cause: RayError) -> None:
        super().__init__(error_msg=str(cause))
        self.__cause__ = cause


@dataclass(frozen=True)
class Loss:
    """Ray's error for a lost worker; ``actor`` is the worker's Ray id.

    ``by_kernel`` says that the kernel has just killed a process for lack of memory, which Ray cannot know; ``memory`` describes
    the memory in use when the loss was reported.
    """

    error: BaseException
    actor: str
    by_kernel: bool = False
    memory: str = ""

    @property
    def failure(self) -> FailureClass:
        """The class of the failure."""
        if self.by_kernel and isinstance(self.error, ActorDiedError):
            return FailureClass.OUT_OF_MEMORY
        return classify(self.error) if isinstance(self.error, RayError) else FailureClass.INFRASTRUCTURE

    def __str__(self) -> str:
        text = str(self.error).strip()
        if self.by_kernel and isinstance(self.error, ActorDiedError):
            return f"out of memory: the kernel killed the worker; {self.memory}"
        if self.failure is FailureClass.OUT_OF_MEMORY and (figures := memory_figures(text, self.actor)):
            return f"out of memory: {figures}"
        return f"a worker was lost: {why_lost(self.error)}"


@dataclass
class Workforce:
    """Tells whether the only worker that is left waits for a second one.

    Tune starts a worker for the next cohort, but drops it again when another worker becomes idle before the new one is up, and
    gives that one the cohort. If training a cohort takes less time than starting a worker, one worker would stay alone for the
    rest of the sweep. So for a while after the sweep begins, and after the loss of a worker, it does not become idle.
    """

    room: int = 0  # workers that the cluster can hold
    since: float = 0.0  # when a worker was last asked for
    slowest: float = 0.0  # seconds from there until one was up
    up: set[str] = field(default_factory=set)  # Ray's ids of the workers that have started and are not lost

    def expect(self, room: int) -> None:
        """Wait for a second worker if there is room for one."""
        self.room, self.since = room, time.monotonic()

    def join(self, actor: str) -> None:
        """Count a worker that is up, and note how long it took if one was waited for."""
        if actor not in self.up:
            if not self.up or self.is_starting:
                self.slowest = max(self.slowest, time.monotonic() - self.since)
            self.up.add(actor)

    def lose(self, actor: str) -> None:
        """Wait for another worker instead of one that was up; one that never started says that others may not start either."""
        if actor in self.up:
            self.up.remove(actor)
            self.expect(self.room)

    @property
    def is_starting(self) -> bool:
        """Whether a second worker may be about to start."""
        patience = min(max(LEAST_START_SECONDS, 3 * self.slowest), MOST_START_SECONDS)
        return len(self.up) == 1 < self.room and time.monotonic() - self.since < patience


UNHEARD = Loss(RayActorError(error_msg="its process died"), "")  # if Tune does not say why


class Losses:
    """Intercepts every loss of a worker before Tune's callbacks; ``current`` is the loss that Tune is handling."""

    def __init__(self) -> None:
        self.current: Loss | None = None
        self._before = self._counted = memory.oom_kills()
        self._counted_at = time.monotonic()

    def look(self) -> None:
        """Update the count of kills, so an old kill does not explain a new loss."""
        if (now := time.monotonic()) - self._counted_at >= RECENT_SECONDS:
            self._before, self._counted, self._counted_at = self._counted, memory.oom_kills(), now

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Make Tune survive the loss of any worker while the block runs, and report it here."""
        usual = tune_controller.RayActorManager
        tune_controller.RayActorManager = type("Actors", (_Actors,), {"losses": self})
        try:
            yield
        finally:
            tune_controller.RayActorManager = usual

    @contextmanager
    def dealt_with(self, error: Exception, actor: str) -> Iterator[None]:
        """Make this the current loss while the block runs."""
        before, kills = self._before, memory.oom_kills()
        self._before = self._counted = kills
        self.current = Loss(error, actor, by_kernel=kills > before, memory=memory.in_use())
        try:
            yield
        finally:
            self.current = None


class _Actors(RayActorManager):  # type: ignore[misc]
    """Tune's actor manager, changed to treat any Ray error in a worker as the loss of that worker.

    Tune's own handles only ``RayActorError``; any other, such as ``OutOfMemoryError``, ends the experiment.
    """

    losses: Losses

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        with self.losses.dealt_with(exception, self._ray_id(tracked_actor)):
            super()._actor_start_failed(tracked_actor, exception)

    def _actor_task_failed(self, tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = WorkerLost(exception)
        with self.losses.dealt_with(exception, self._ray_id(tracked_actor_task._tracked_actor)):
            super()._actor_task_failed(tracked_actor_task, exception)

    def _ray_id(self, tracked_actor: TrackedActor) -> str:
        held = self._live_actors_to_ray_actors_resources.get(tracked_actor)
        return held[0]._actor_id.hex() if held else ""


def why_lost(error: BaseException) -> str:
    """Return the line of Ray's error for a lost process that gives the reason; its first only says that the process died."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    why = next((line for line in lines if "because" in line), lines[0])
    return why.strip().partition(". ")[0]


def memory_figures(text: str, actor: str) -> str | None:
    """Return what Ray's memory monitor measured when it killed an actor; None if the text has no figures."""
    if (machine := MONITOR.search(text)) is None:
        return None
    used, threshold, total = (int(machine[name]) / GIB for name in ("used", "threshold", "total"))
    figures = f"{used:.1f} GiB of {total:.1f} GiB were in use, and the threshold is {threshold:.1f} GiB"
    worker = re.search(WORKER.format(actor=actor), text, re.DOTALL)
    return f"{figures}; the worker had {float(worker['used']):.1f} GiB" if worker else figures
