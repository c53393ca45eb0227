"""The verb ``run``: check everything before anything starts; then a driver trains and a projector uploads."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from services import ledgers
from services.schemas import Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.tracking.projector import projecting
from services.verbs import plan
from services.verbs.running import placing, preflight
from services.verbs.running.attempts import Attempts, Need, needed, result
from services.verbs.running.watching import View
from sweeps.files import private
from sweeps.forecast.plan import Forecast
from sweeps.forecast.recorded import estimate, of_other_code
from sweeps.ledger.driving import refuse_paused
from sweeps.ledger.entries import sweep_identity
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.processes.janitor import clean_leftovers
from sweeps.processes.job import Job, Options
from sweeps.spec.sweep import SweepSpec
from sweeps.urls import sqlite_file
from workers.config import Program
from workers.trajectory import Identity


def execute(
    settings: Settings,
    request: Request,
    spec: SweepSpec,
    *,
    view: View,
    stop: Stop,
    identified: Callable[[str], None] = lambda sweep_id: None,
) -> RunResult:
    """Run a sweep, or resume it, until it finishes or ``stop`` is set.

    Args:
        identified: called with the sweep's id as soon as it is known.

    Raises:
        SettingsError: a setting that is used only later is invalid.
        SweepPaused: the sweep is paused.
    """
    settings.check(
        *("home", "ledger_url", "store", "data_dir", "cache_dir", "notify_url", "ray_labels", "cohorts_per_tuner"),
        *(("tracking_uri",) if request.tracking else ()),
    )
    with private():
        return _run(settings, request, spec, view=view, stop=stop, identified=identified)


def _run(
    settings: Settings,
    request: Request,
    spec: SweepSpec,
    *,
    view: View,
    stop: Stop,
    identified: Callable[[str], None],
) -> RunResult:
    preflight.check_home(settings.home)
    view.note(f"{spec.name}: reading its data and earlier results")
    clean_leftovers()
    if settings.ray_address is not None:
        view.note(f"waiting for a free worker of the Ray cluster at {settings.ray_address}, which reads the data")
    with ledgers.opened_if_any(settings) as known:
        sweep = _placed(settings, request, spec, view)
        identified(sweep.id)
        if known is not None and _is_finished(known, sweep):
            known.describe_sweep(sweep.id, spec.to_dict())
            return _show_again(settings, request, known, sweep.id, stop)
        if settings.store:
            preflight.check_store(settings.store)
        preflight.check_room(settings.checkpoints, needed(settings, known, sweep.id))
        cost = _forecast(sweep, known, request, view)
    return _drive(settings, request, sweep, cost, view, stop)


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A sweep for which it is known where it is trained."""

    id: str
    spec: SweepSpec
    identities: Mapping[Program, Identity]
    options: Options


def _placed(settings: Settings, request: Request, spec: SweepSpec, view: View) -> _Placed:
    found = placing.place(settings, request, spec)
    if found.note is not None:
        view.note(found.note)
    sweep_id = sweep_identity(spec.name, spec.expand(), found.identities, sharing=request.sharing)
    return _Placed(id=sweep_id, spec=spec, identities=found.identities, options=found.options)


def _is_finished(known: Ledger, sweep: _Placed) -> bool:
    """Whether a sweep has its outcome already.

    Raises:
        LedgerDamaged: its records are not intact.
        SweepPaused: it is paused.
        OperationError: one of its name is unfinished on another number of devices.
    """
    plan.refuse_damaged(known, sweep.id)
    plan.refuse_other_devices(known, sweep.spec.name, sweep.id, sweep.identities)
    row = ledgers.intact_sweep(known, sweep.id)
    if row is None:
        return False
    refuse_paused(row.name, row.status)
    return row.status is SweepStatus.FINISHED


def _forecast(sweep: _Placed, known: Ledger | None, request: Request, view: View) -> Forecast:
    """The cost of a sweep; notes if all of it is trained anew although other code has recorded epochs of it."""
    cost = estimate(sweep.spec, sweep.identities, known, sharing=request.sharing)
    if known is not None and request.sharing and not cost.known_epochs:
        why = of_other_code(sweep.spec.expand(), sweep.identities, known)
        if why is not None:
            view.note(f"{sweep.spec.name}: trains every epoch anew: {why}")
    return cost


def _drive(settings: Settings, request: Request, sweep: _Placed, cost: Forecast, view: View, stop: Stop) -> RunResult:
    """Enter a sweep in the ledger, and train it until nothing more helps."""
    trials = sweep.spec.expand()
    with ledgers.opened(settings.prepare()) as ledger:
        stop.hold()
        ledger.create_sweep(
            *(sweep.spec.name, sweep.spec.to_dict(), trials, sweep.identities),
            sharing=request.sharing,
            forecast=asdict(cost),
        )
        job = Job(
            ledger_url=settings.ledger_url,
            sweep_id=sweep.id,
            trials=trials,
            identities=sweep.identities,
            options=sweep.options,
            forecast=cost.new_epochs,
        )
        with Attempts(settings, request, job, ledger, view, stop) as attempts:
            while (need := attempts.attempt()) is not Need.NOTHING:
                attempts.wait_for(need)
            return attempts.result()


def _show_again(settings: Settings, request: Request, ledger: Ledger, sweep_id: str, stop: Stop) -> RunResult:
    """The result of a finished sweep; uploads what the tracking store still lacks after an outage."""
    ledger.use_sweep(sweep_id)
    projector = None
    if request.tracking and not _is_uploaded(settings, ledger, sweep_id):
        with projecting(settings, sweep_id, stop) as projector:
            pass
    return result(settings, ledger, sweep_id, None, projector)


def _is_uploaded(settings: Settings, ledger: Ledger, sweep_id: str) -> bool:
    """Whether the tracking store has acknowledged every event and, if it is a file, still exists."""
    file = sqlite_file(settings.tracking_uri)
    if file is not None and not file.exists():
        return False
    return not ledgers.lag(settings, ledger, sweep_id)
