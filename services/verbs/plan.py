"""The verb `plan`: forecast what a sweep costs on this machine. Trains and records nothing."""

import time
from collections.abc import Mapping

from services import ledgers
from services.errors import OperationError
from services.schemas import ArmPlan, Plan, Request
from services.settings import Settings
from services.verbs import specs
from services.verbs.running import placing
from services.verbs.running.placing import Placement
from services.wording import duration
from sweeps.forecast.plan import ArmForecast, Forecast, wall_seconds
from sweeps.forecast.recorded import estimate, why_nothing
from sweeps.forecast.seconds import seconds_per_epoch, seconds_to_start
from sweeps.ledger.entries import sweep_identity
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.processes.identity import DataAbsent
from sweeps.spec.expansion import alike
from sweeps.spec.sweep import SweepSpec
from workers.config import Program
from workers.trajectory import Identity

PATIENCE_SECONDS = 60.0  # with a Ray cluster that has no free worker
START_SECONDS = 15.0  # for Ray, a worker and the compiler, until measured here


def plan(settings: Settings, request: Request) -> Plan:
    """Forecast the sweep's cost in epochs and time, even if its data is missing.

    Raises:
        IdentityError, OperationError: it cannot be trained as it is.
        ClusterAway: the Ray cluster cannot be joined.
    """
    spec = specs.requested(request)
    with ledgers.opened_if_any(settings) as ledger:
        return _plan(settings, request, spec, ledger)


def _plan(settings: Settings, request: Request, spec: SweepSpec, ledger: Ledger | None) -> Plan:
    began = time.monotonic()
    placement, absent = _placement(settings, request, spec)
    known: Mapping[Program, Identity] = placement.identities if placement else {}
    if known and ledger is not None:
        refuse_damaged(ledger, sweep_identity(spec.name, spec.expand(), known, sharing=request.sharing))
    cost = estimate(spec, known, ledger, sharing=request.sharing)
    looked = time.monotonic() - began  # a run does this too
    workers = placement.workers if placement else placing.options(settings, request, spec).slots
    measured = seconds_per_epoch(ledger, spec.expand()) if ledger else None
    seconds = measured or spec.epoch_seconds
    start = looked + _start_seconds(ledger, seconds) if cost.new_epochs.high else 0.0
    return Plan(
        name=spec.name,
        title=spec.title,
        trials=cost.trials,
        arms=tuple(map(_arm, cost.arms)),
        epochs_naive=cost.naive_epochs,
        epochs_shared=cost.shared_epochs,
        epochs_known=cost.known_epochs,
        epochs_remaining=cost.new_epochs,
        reason=why_nothing(spec.expand(), known, ledger, sharing=request.sharing)
        if known and not cost.known_epochs
        else None,
        data=absent,
        workers=workers,
        seconds=_seconds(cost, seconds, workers, start) if seconds else None,
        start_seconds=start,
        basis=_basis(spec, measured),
        notes=(*alike(spec.expand()), *((placement.note,) if placement and placement.note else ())),
    )


def _placement(settings: Settings, request: Request, spec: SweepSpec) -> tuple[Placement | None, str | None]:
    """Where the sweep is trained; None, and why, if its data is missing."""
    try:
        return placing.place(settings, request, spec, patience_seconds=PATIENCE_SECONDS), None
    except DataAbsent as error:
        return None, str(error)


def _arm(arm: ArmForecast) -> ArmPlan:
    return ArmPlan(arm=arm.arm, trials=arm.trials, epochs_naive=arm.naive_epochs, epochs_shared=arm.shared_epochs)


def _start_seconds(ledger: Ledger | None, seconds: float | None) -> float:
    measured = seconds_to_start(ledger, seconds or 0.0) if ledger else None
    return START_SECONDS if measured is None else measured


def refuse_damaged(ledger: Ledger, sweep_id: str) -> None:
    """Verify the ledger's records of a sweep, if it has any.

    Raises:
        LedgerDamaged: some are damaged or missing.
    """
    if any(row.id == sweep_id for row in ledger.intact_sweeps()):
        ledger.verify(sweep_id)


def refuse_other_devices(ledger: Ledger, name: str, sweep_id: str, known: Mapping[Program, Identity]) -> None:
    """Refuse to begin a sweep anew where one of its name is unfinished on another number of devices.

    Raises:
        OperationError: it is; its states cannot be continued here, as their arithmetic differs.
    """
    rows = [row for row in ledger.intact_sweeps() if row.name == name]
    if any(row.id == sweep_id for row in rows):
        return
    for row in rows:
        unfinished = row.status not in (SweepStatus.FINISHED, SweepStatus.CANCELLED)
        pairs = [(ours, old) for ours in known.values() for old in row.identities if ours.program == old.program]
        for ours, old in pairs if unfinished else ():
            found = ours.why_not(old)
            if any(why.startswith("devices: ") for why in found):
                raise OperationError(
                    f"{name}: must continue on the number of devices it began with, but this machine and sweep {row.id} "
                    f"differ in {'; '.join(found)}; run it there, cancel it (abel cancel {row.id}), or give the spec a new name"
                )


def _basis(spec: SweepSpec, measured: float | None) -> str:
    """What the forecast time is based on, or why it is unknown."""
    if measured:
        return f"{_short(measured)} per epoch, measured here"
    if spec.epoch_seconds:
        return f"{_short(spec.epoch_seconds)} per epoch, according to the spec; not measured here yet"
    stated = f"; the spec says: {' '.join(spec.cost.split())}" if spec.cost else ""
    return f"no epoch was measured here yet{stated}"


def _seconds(cost: Forecast, seconds: float, workers: int, start: float) -> tuple[float, float]:
    low, high = wall_seconds(cost, seconds, workers)
    return low + start, high + start


def _short(seconds: float) -> str:
    """A duration that may be a fraction of a second."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
