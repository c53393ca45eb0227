"""Attempts at a sweep, one after another, and the waits in between: for disk space, the ledger, or another driver.

The driver is a separate process. If it or its Ray cluster is lost, another one resumes from the ledger.
"""

import time
from contextlib import closing, suppress
from dataclasses import replace
from enum import Enum

from services.schemas import Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.tracking.projector import Projector, begin
from services.verbs.running import preflight
from services.verbs.running.driver_restarts import Restarts
from services.verbs.running.watching import View, Watch
from services.verbs.status import detail
from services.wording import size
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.leases import SweepPaused
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.processes import supervisor
from sweeps.processes.janitor import clean_leftovers
from sweeps.processes.job import Begun, ClusterAway, DriverLost, Job, Outcome, Progress

NOTHING_TO_DO = "nothing to do"
LOOK_SECONDS = 5.0
PAUSE_SECONDS = 10.0


class Need(Enum):
    """What a sweep needs before the next attempt."""

    NOTHING = "nothing"  # it has its outcome
    ROOM = "room"  # on the disk
    LEDGER = "ledger"  # its server
    DRIVER = "driver"  # another one


class Attempts:
    """Attempts at one sweep, until one has an outcome that stands."""

    def __init__(self, settings: Settings, request: Request, job: Job, ledger: Ledger, view: View, stop: Stop) -> None:
        self._settings, self._request, self._job = settings, request, job
        self._ledger, self._view, self._stop = ledger, view, stop
        self._watch = Watch(ledger, job.sweep_id, view)
        self._log = settings.logs / f"driver-{job.sweep_id}.log"
        self._log.write_bytes(b"")
        self._began, self._before = time.monotonic(), ledger.work(job.sweep_id)
        self._invocation: int | None = None
        self._outcome: Outcome | None = None
        self._projector: Projector | None = None
        self._away: LedgerAway | None = None
        self._lost: DriverLost | None = None  # until another driver may start
        self._joined = False  # whether any driver has joined the Ray cluster
        self._restarts = Restarts(ledger, job.sweep_id)
        self._result: RunResult | None = None

    def __enter__(self) -> "Attempts":
        return self

    def __exit__(self, *_: object) -> None:
        if self._projector is not None:
            self._projector.stop()

    def attempt(self) -> Need:
        """Advance the sweep as far as possible now; return what it needs next."""
        try:
            if self._outcome is None and self._lost is None:
                self._try_to_drive()
            if self._outcome is None and self._lost is not None:
                again = self._restarts.count(self._lost)
                if again and not self._stop.is_set():
                    self._view.note(f"the driver was lost: {self._lost}; starting another from the last checkpoints")
                    return Need.DRIVER
                self._outcome = self._without_driver(again)
            assert self._outcome is not None
            if self._outcome.status is SweepStatus.NO_SPACE and not self._stop.is_set():
                return Need.ROOM
            self._result = self._results()
            return Need.NOTHING
        except LedgerAway as error:
            self._away = error
            if self._outcome is None:
                self._let_projector_go()
            return Need.LEDGER

    def wait_for(self, need: Need) -> None:
        """Wait until another attempt makes sense or the sweep must stop.

        Raises:
            KeyboardInterrupt: it must stop while its ledger is away, so there is no result to show.
            Fenced: another process has taken over the sweep, whether or not it still runs it.
        """
        match need:
            case Need.ROOM if self._room_comes():
                self._outcome = self._projector = None
            case Need.LEDGER if not self._ledger_comes():
                raise KeyboardInterrupt from self._away
            case Need.DRIVER:
                if not self._stop.wait(self._restarts.pause_seconds):
                    self._lost = None

    def result(self) -> RunResult:
        """The result, once nothing more is needed."""
        assert self._result is not None
        return self._result

    # One driver

    def _try_to_drive(self) -> None:
        clean_leftovers()
        try:
            self._outcome = self._drive()
        except SweepPaused:  # since this run looked, or since its last driver was lost
            self._outcome = Outcome(status=SweepStatus.PAUSED, trained=0, replayed=0, seconds={})
        except DriverLost as error:
            if isinstance(error, ClusterAway) and not self._joined:
                self._interrupt()
                raise
            self._lost = error
        except LedgerAway:
            raise  # the sweep continues once the ledger is back
        except BaseException:
            self._interrupt()
            raise
        else:
            if self._projector is not None:
                self._view.note("waiting for the tracking store to receive the rest")
                self._projector.drain(self._stop)

    def _drive(self) -> Outcome:
        self._invocation = None  # if the ledger's reply is lost, the invocation that holds the sweep is unknown
        done = self._ledger.work(self._job.sweep_id).trained - self._before.trained
        low, high = self._job.forecast
        job = replace(self._job, forecast=(max(0, low - done), max(0, high - done)))
        with closing(supervisor.drive(job, stop=self._stop, log=self._log)) as messages:
            for message in messages:
                match message:
                    case Begun():
                        self._begin(message.invocation)
                    case Progress():
                        self._joined |= message.joined
                        self._watch.tick(self._since_the_command(message, done), self._projector)
                    case Outcome():
                        return message
        raise AssertionError("a driver ends with an outcome or an error")

    def _interrupt(self) -> None:
        if self._invocation is not None:
            with suppress(Exception):  # the disk may be full, which is the error to report
                self._ledger.end_invocation(self._job.sweep_id, self._invocation, SweepStatus.INTERRUPTED)

    def _begin(self, invocation: int) -> None:
        self._invocation = invocation
        self._restarts.tell(invocation)
        if self._request.tracking and self._projector is None:  # not earlier: it exits if no sweep runs
            self._projector = begin(self._settings, self._job.sweep_id)

    def _since_the_command(self, progress: Progress, done: int) -> Progress:
        """Progress since the start of the command; a driver counts from its own start."""
        low, high = self._job.forecast
        return replace(
            progress,
            trained=progress.trained + done,
            elapsed_seconds=time.monotonic() - self._began,
            forecast_low=low,
            forecast_high=high,
        )

    def _let_projector_go(self) -> None:
        if self._projector is not None:
            self._projector.stop()
            self._projector = None

    def _without_driver(self, again: bool) -> Outcome:
        """The outcome if no driver follows a lost one: the run must stop, or too many were lost."""
        if again:
            return self._restarts.interrupt(self._invocation)
        return self._restarts.give_up(self._invocation, self._log)

    # Waiting

    def _room_comes(self) -> bool:
        """Wait for free disk space, or for a pause; False if the run must stop."""
        assert self._outcome is not None
        wanted = needed(self._settings, self._ledger, self._job.sweep_id)
        self._view.note(f"{self._outcome.error}; waiting for {size(wanted)} of free disk in {self._settings.home}")
        # Pause in any case: the full disk may be another one, or a quota, which this check does not see.
        if self._stop.wait(PAUSE_SECONDS):
            return False
        while not (has_space := preflight.has_space(self._settings.checkpoints, wanted)) and not self._is_paused():
            if self._stop.wait(LOOK_SECONDS):
                return False
        if has_space:
            self._view.note("there is free disk space again; continuing")
        return True

    def _is_paused(self) -> bool:
        with suppress(LedgerAway):
            return self._ledger.is_paused(self._job.sweep_id)
        return False

    def _ledger_comes(self) -> bool:
        """Wait for the ledger's server; False if the run must stop."""
        self._view.note(f"{self._away}; waiting for it")
        while not self._stop.wait(LOOK_SECONDS):
            with suppress(LedgerAway):
                if self._outcome is not None or self._invocation is None:
                    self._ledger.sweep(self._job.sweep_id)
                else:
                    self._ledger.renew_lease(self._job.sweep_id, self._invocation)
                self._view.note("the ledger is back; continuing")
                return True
        return False

    def _results(self) -> RunResult:
        assert self._outcome is not None
        work = self._ledger.work(self._job.sweep_id)
        outcome = replace(
            self._outcome,
            trained=work.trained - self._before.trained,
            replayed=work.replayed - self._before.replayed,
            seconds={**self._outcome.seconds, "wall": time.monotonic() - self._began},
        )
        return result(self._settings, self._ledger, self._job.sweep_id, outcome, self._projector)


def needed(settings: Settings, ledger: Ledger | None, sweep_id: str) -> int:
    """The free disk space that the sweep needs, in bytes."""
    from services.verbs import gc  # Orbax, which only a sweep with something to train needs

    return preflight.needed_bytes(gc.largest(settings, ledger, sweep_id))


def result(
    settings: Settings, ledger: Ledger, sweep_id: str, outcome: Outcome | None, projector: Projector | None
) -> RunResult:
    """The current result of a sweep, with an invocation's outcome if there was one."""
    pending = projector.pending if projector else None
    if pending is not None and projector and not projector.by_hand:
        pending += f"; `abel track {ledger.sweep(sweep_id).name}` sends the rest"
    return RunResult(
        outcome=NOTHING_TO_DO if outcome is None else outcome.status,
        trained=outcome.trained if outcome else 0,
        replayed=outcome.replayed if outcome else 0,
        seconds=outcome.seconds if outcome else {},
        error=outcome.error if outcome else None,
        tracking=pending,
        detail=detail(settings, ledger, ledger.sweep(sweep_id)),
    )
