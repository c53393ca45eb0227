"""The verb ``run``: everything is checked before anything starts; then the driver trains and a projector uploads."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from services import forecasts, preflight, standing, storage
from services.interruption import Stop
from services.news import News
from services.projector import Projector, projecting
from services.schemas import Request, RunResult
from services.settings import Settings
from services.wording import size
from sweeps import driver
from sweeps.database import LedgerAway
from sweeps.driver import Options, Outcome, Progress
from sweeps.entries import sweep_identity
from sweeps.ledger import Ledger
from sweeps.rows import SweepStatus
from sweeps.spec import SweepSpec
from workers.config import Program
from workers.trajectory import Identity

NOTHING_TO_DO = "nothing to do"
NO_NODE = "no node of the Ray cluster is large enough for a worker; waiting for one to join"
NODE_JOINED = "a node has joined; going on"
LOOK_SECONDS = 5.0
PAUSE_SECONDS = 10.0


class View(Protocol):
    """Where the run tells what it does."""

    def note(self, text: str) -> None:
        """Say something once: a step of the start, a warning."""

    def news(self, trial: str, text: str) -> None:
        """Say what happened in a trial; a later text of the same trial takes the place of an earlier one."""

    def show(self, progress: Progress) -> None:
        """Show how far the sweep is."""


def run(settings: Settings, request: Request, spec: SweepSpec, *, view: View, stop: Stop) -> RunResult:
    """Run a sweep, or go on with it, until it ends or ``stop`` is set."""
    preflight.check_home(settings.home)
    view.note(f"{spec.name}: looking at its data, and at what is known of it already")
    with standing.opened_if_any(settings) as known:
        identities = forecasts.identities(settings, request, spec)
        sweep_id = sweep_identity(spec.name, spec.expand(), identities, sharing=request.sharing)
        if known is not None:
            forecasts.refuse_damaged(known, sweep_id)
        if known is not None and _is_finished(known, sweep_id):
            known.describe_sweep(sweep_id, spec.to_dict())
            return _show_again(settings, request, known, sweep_id, stop)
        preflight.check_room(settings.checkpoints, _needed(settings, known, sweep_id))
        estimate = forecasts.estimate(spec, identities, known, sharing=request.sharing)
    with standing.opened(settings.prepare()) as ledger:
        stop.hold()
        ledger.create_sweep(
            *(spec.name, spec.to_dict(), spec.expand(), identities),
            sharing=request.sharing,
            forecast=forecasts.as_json(estimate),
        )
        invocation, outcome = None, None
        while True:
            try:
                if outcome is None:
                    invocation = None  # where the reply is lost, it is not known which has the sweep
                    # Before the projector looks: it ends where no sweep runs.
                    invocation = ledger.begin_invocation(sweep_id)
                    with _tracking(settings, request, sweep_id, stop) as projector:
                        watch = _Watch(ledger, sweep_id, projector, view, stop)
                        outcome = _drive(settings, request, spec, identities, estimate.new_epochs, watch, invocation)
                        if projector is not None:
                            view.note("waiting for the tracking store to take the rest")
                if outcome.status is not SweepStatus.NO_SPACE or not _room_comes(settings, ledger, outcome, watch):
                    return _result(settings, ledger, sweep_id, outcome, projector)
                outcome = None
            except LedgerAway as error:
                ours = None if outcome else invocation
                if not _ledger_comes(ledger, sweep_id, ours, error, view, stop):
                    raise KeyboardInterrupt from error  # without a ledger there is no result to tell


def _needed(settings: Settings, ledger: Ledger | None, sweep_id: str) -> int:
    return preflight.needed_bytes(storage.largest(settings, ledger, sweep_id))


def _room_comes(settings: Settings, ledger: Ledger, outcome: Outcome, watch: "_Watch") -> bool:
    """Wait for room on the disk; False once the run is to stop."""
    view, stop, needed = watch.view, watch.stop, _needed(settings, ledger, watch.sweep_id)
    view.note(f"{outcome.error}; waiting for {size(needed)} in {settings.home}")
    # What was full may be another disk, or a quota, of which this one says nothing: so a pause in any case.
    if stop.wait(PAUSE_SECONDS):
        return False
    while not preflight.has_room(settings.checkpoints, needed):
        if stop.wait(LOOK_SECONDS):
            return False
    view.note("there is room again; going on")
    return True


def _ledger_comes(
    ledger: Ledger, sweep_id: str, invocation: int | None, error: LedgerAway, view: View, stop: Stop
) -> bool:
    """Wait for the ledger's server; False once the run is to stop.

    Raises:
        Fenced: another process has taken the sweep over from this invocation meanwhile, whether or not it still runs it.
    """
    view.note(f"{error}; waiting for it")
    while not stop.wait(LOOK_SECONDS):
        with suppress(LedgerAway):
            if invocation is None:
                ledger.sweep(sweep_id)
            else:
                ledger.renew_lease(sweep_id, invocation)
            view.note("the ledger is back; going on")
            return True
    return False


class _Watch:
    """What is done each time the driver tells how far it is."""

    def __init__(self, ledger: Ledger, sweep_id: str, projector: Projector | None, view: View, stop: Stop) -> None:
        self.ledger, self.sweep_id, self.view, self.stop = ledger, sweep_id, view, stop
        self._projector = projector
        names = {trial.id: trial.name for trial in ledger.trials(sweep_id)}
        self._news = News(ledger=ledger, sweep_id=sweep_id, names=names)
        self._news.skip()
        self._room = True

    def tick(self, progress: Progress) -> None:
        """Pass on figures, news, and what the projector complains of."""
        self.stop.hold()
        with suppress(LedgerAway):  # the next record has to be written, and tells
            self._tell_news()
        for line in self._projector.complaints() if self._projector else ():
            self.view.note(line)
        if progress.room is not self._room:
            self._room = progress.room
            self.view.note(NODE_JOINED if progress.room else NO_NODE)
        self.view.show(progress)

    def _tell_news(self) -> None:
        for item in self._news.poll():
            if item.trial is None:
                self.view.note(item.text)
            else:
                self.view.news(item.trial, item.text)


@contextmanager
def _barred(name: str) -> Iterator[None]:
    """Keep a library out of this process: Ray Tune imports MLflow, where there is one, to count who uses it with Ray."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # which has an import fail, and Ray goes on without
    try:
        yield
    finally:
        del sys.modules[name]


@_barred("mlflow")
def _drive(
    settings: Settings,
    request: Request,
    spec: SweepSpec,
    identities: Mapping[Program, Identity],
    forecast: tuple[int, int],
    watch: _Watch,
    invocation: int,
) -> Outcome:
    options = Options(
        checkpoints=settings.checkpoints,
        cache=settings.cache,
        data_dir=settings.data_dir,
        address=settings.ray_address,
        sharing=request.sharing,
        workers=request.workers,
        threads=request.threads,
        allow_nondeterminism=request.allow_nondeterminism,
        save_every_seconds=request.save_every_seconds,
        cpu=spec.resources.cpu,
        gpu=spec.resources.gpu,
        tpu=spec.resources.tpu,
    )
    try:
        return driver.run(
            watch.ledger,
            watch.sweep_id,
            invocation,
            spec.expand(),
            identities,
            options,
            forecast=forecast,
            on_progress=watch.tick,
            stop=watch.stop,
        )
    except BaseException as error:
        if not isinstance(error, LedgerAway):  # then it is not over
            with suppress(Exception):  # the disk may be full, which is then what is told
                watch.ledger.end_invocation(watch.sweep_id, invocation, SweepStatus.INTERRUPTED)
        if isinstance(error, SystemExit):  # by Ray's own handler of SIGTERM, while it starts
            raise KeyboardInterrupt from error
        raise


@contextmanager
def _tracking(settings: Settings, request: Request, sweep_id: str, stop: Stop) -> Iterator[Projector | None]:
    if request.tracking:
        with projecting(settings, sweep_id, stop) as projector:
            yield projector
    else:
        yield None


def _is_finished(ledger: Ledger, sweep_id: str) -> bool:
    return any(row.id == sweep_id and row.status is SweepStatus.FINISHED for row in ledger.intact_sweeps())


def _show_again(settings: Settings, request: Request, ledger: Ledger, sweep_id: str, stop: Stop) -> RunResult:
    """The result of a finished sweep; what an outage kept from the tracking store is sent now."""
    ledger.use_sweep(sweep_id)
    projector = None
    if request.tracking and not _is_uploaded(settings, ledger, sweep_id):
        with projecting(settings, sweep_id, stop) as projector:
            pass
    return _result(settings, ledger, sweep_id, None, projector)


def _is_uploaded(settings: Settings, ledger: Ledger, sweep_id: str) -> bool:
    """Whether the tracking store has acknowledged all, and, where it is a file, is still there."""
    uri = settings.tracking_uri
    if uri.startswith("sqlite:") and not Path(uri.partition(":///")[2].partition("?")[0]).exists():
        return False
    return not standing.lag(settings, ledger, sweep_id)


def _result(
    settings: Settings, ledger: Ledger, sweep_id: str, outcome: Outcome | None, projector: Projector | None
) -> RunResult:
    pending = projector.pending if projector else None
    if pending is not None:
        pending += f"; `abel track {ledger.sweep(sweep_id).name}` sends the rest"
    return RunResult(
        outcome=NOTHING_TO_DO if outcome is None else outcome.status,
        trained=outcome.trained if outcome else 0,
        replayed=outcome.replayed if outcome else 0,
        seconds=outcome.seconds if outcome else {},
        error=outcome.error if outcome else None,
        tracking=pending,
        detail=standing.detail(settings, ledger, ledger.sweep(sweep_id)),
    )
