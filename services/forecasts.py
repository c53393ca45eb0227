"""What a sweep will cost on this machine: the plan's epochs, less what the ledger knows, times measured seconds."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from statistics import fmean, median
from typing import Any

from services.errors import OperationError
from services.schemas import ArmPlan, Plan, Request
from services.settings import Settings
from services.wording import duration
from sweeps.database import LedgerDamaged
from sweeps.entries import sweep_identity
from sweeps.expansion import alike
from sweeps.identity import IdentityError, WorkerEnvironment, identify, workers_at_once
from sweeps.ledger import Ledger
from sweeps.plan import Forecast, Span, forecast, wall_seconds
from sweeps.rows import TrialStatus
from sweeps.spec import SweepSpec, Trial
from workers.cohort import diverged, observation
from workers.config import Program, to_dict
from workers.trajectory import Identity, child

# Sweeps whose curves are read for seconds per epoch: the latest say most about the machine as it is.
SWEEPS_ASKED = 5
START_SECONDS = 15.0  # of Ray, a worker and the compiler, until they were measured here


def identities(settings: Settings, request: Request, spec: SweepSpec) -> Mapping[Program, Identity]:
    """What the sweep's programs are on this machine; reads the data, in a process with a worker's environment.

    Raises:
        IdentityError: the data is missing or does not fit.
        OperationError: a batch is larger than the data.
    """
    accelerated = spec.resources.gpu > 0 or spec.resources.tpu > 0
    environment = WorkerEnvironment(threads=request.threads, cache=settings.cache, gpu=accelerated)
    found = identify([trial.program for trial in spec.expand()], environment, settings.data_dir)
    for program, identity in found.items():
        if program.batch_size > identity.examples:
            rule = f"must be at most the {identity.examples} training examples"
            raise OperationError(f"{spec.name}: program.batch_size: {rule}, got {program.batch_size}")
    return found


def estimate(
    spec: SweepSpec, known: Mapping[Program, Identity], ledger: Ledger | None, *, sharing: bool = True
) -> Forecast:
    """The sweep's cost in epochs, given what the ledger holds; without identities or ledger nothing counts as known."""
    trials = spec.expand()
    if not sharing:
        return _unshared(spec.name, trials, known, ledger)
    if not known:
        return forecast(trials)
    recorded = recorded_epochs(trials, known, ledger) if ledger else {}
    if ledger and any(trial.halving for trial in trials):
        recorded = {**recorded, **_stopped(sweep_identity(spec.name, trials, known, sharing=True), ledger)}
    return forecast(trials, lambda trial: recorded.get(trial.number, 0), lambda trial: known[trial.program].examples)


def plan(settings: Settings, request: Request, spec: SweepSpec, ledger: Ledger | None) -> Plan:
    """The sweep's cost in epochs and time. A sweep whose data is not here yet has a plan all the same."""
    began = time.monotonic()
    try:
        known, fault = identities(settings, request, spec), None
    except IdentityError as error:
        known, fault = {}, f"the data cannot be read: {error}"
    if known and ledger is not None:
        refuse_damaged(ledger, sweep_identity(spec.name, spec.expand(), known, sharing=request.sharing))
    cost = estimate(spec, known, ledger, sharing=request.sharing)
    looked = time.monotonic() - began  # a run looks too
    workers = request.workers or workers_at_once(request.threads, spec.resources.cpu)
    measured = seconds_per_epoch(ledger, spec.expand()) if ledger else None
    seconds = measured or spec.epoch_seconds
    started = seconds_to_start(ledger, seconds or 0.0) if ledger else None
    start = looked + (START_SECONDS if started is None else started) if cost.new_epochs.high else 0.0
    return Plan(
        name=spec.name,
        title=spec.title,
        trials=cost.trials,
        arms=tuple(
            ArmPlan(arm=arm.arm, trials=arm.trials, epochs_naive=arm.naive_epochs, epochs_shared=arm.shared_epochs)
            for arm in cost.arms
        ),
        epochs_naive=cost.naive_epochs,
        epochs_shared=cost.shared_epochs,
        epochs_known=cost.known_epochs,
        epochs_remaining=cost.new_epochs,
        reason=None if cost.known_epochs else fault or why_nothing(known, ledger),
        workers=workers,
        seconds=_seconds(cost, seconds, workers, start) if seconds else None,
        start_seconds=start,
        basis=_basis(spec, measured),
        notes=alike(spec.expand()),
    )


def refuse_damaged(ledger: Ledger, sweep_id: str) -> None:
    """Check what the ledger holds of a sweep, where it has it.

    Raises:
        LedgerDamaged: some of it is damaged or missing.
    """
    if any(row.id == sweep_id for row in ledger.intact_sweeps()):
        ledger.verify(sweep_id)


def recorded_epochs(trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger) -> Mapping[int, int]:
    """How many epochs from the first the ledger holds of each trial, by number; one that ended early is complete."""
    recorded = {trial.number: 0 for trial in trials}
    walking = [(trial, trial.schedule.init(), known[trial.program].root(trial.seed)) for trial in trials]
    for epoch in range(1, max((trial.epochs for trial in trials), default=0) + 1):
        ahead = []
        for trial, state, key in walking:
            plan_ = trial.schedule.plan(state, epoch, known[trial.program].examples, trial.program.batch_size)
            ahead.append((trial, state, child(key, plan_)))
        found = ledger.states({key for _, _, key in ahead})
        walking = []
        for trial, state, key in ahead:
            if key not in found:
                continue
            seen = observation(found[key].metrics)
            if diverged(seen):
                recorded[trial.number] = trial.epochs
                continue
            after = trial.schedule.update(state, seen)
            recorded[trial.number] = trial.epochs if after.finished else epoch
            if recorded[trial.number] < trial.epochs:
                walking.append((trial, after, key))
        if not walking:
            break
    return recorded


def _stopped(sweep_id: str, ledger: Ledger) -> Mapping[int, int]:
    """The trials that a sweep stopped at a rung, by number: nothing of them is left to train."""
    return {row.number: row.epochs for row in ledger.trials(sweep_id) if row.status is TrialStatus.STOPPED}


def why_nothing(known: Mapping[Program, Identity], ledger: Ledger | None) -> str:
    """Why no recorded state serves the sweep."""
    earlier = [identity for row in reversed(ledger.intact_sweeps()) for identity in row.identities] if ledger else []
    if not earlier:
        return "no sweep was run here yet"
    differences = [ours.why_not(other) for ours in known.values() for other in earlier if ours.program == other.program]
    if not differences:
        return "no sweep trained this program here yet"
    nearest = min(differences, key=len)
    if not nearest:
        return "its seeds and first learning rates are new"
    return "what is recorded has other " + "; ".join(nearest)


def seconds_per_epoch(ledger: Ledger, trials: Sequence[Trial]) -> float | None:
    """The mean over the sweep's programs of their median seconds per recorded epoch; None where none was measured."""
    wanted = {_canonical(to_dict(trial.program)) for trial in trials}
    found: dict[str, float] = {}
    for sweep in reversed(ledger.intact_sweeps()[-SWEEPS_ASKED:]):
        with suppress(LedgerDamaged):  # which is told of whoever asks for that sweep
            for row in ledger.trials(sweep.id):
                program = _canonical(row.program)
                if program in wanted and program not in found and row.head is not None:
                    found[program] = median(state.metrics["seconds"] for state in ledger.curve(row.head))
    return fmean(found.values()) if found else None


def seconds_to_start(ledger: Ledger, pace: float) -> float | None:
    """The median of how long the latest sweeps took from their start to their first epoch; None where none trained.

    Args:
        pace: seconds of an epoch.
    """
    found = []
    for sweep in reversed(ledger.sweeps()[-SWEEPS_ASKED:]):
        for began in ledger.events_of(sweep.id, "sweep_started")[:1]:
            events = ledger.events(sweep.id, after=began.id)
            keys = {key for event in events if event.kind == "progress" for key in event.payload["keys"]}
            ends = [row.finished_at_ms for row in ledger.states(keys).values() if row.finished_at_ms >= began.at_ms]
            if ends:
                found.append(max(0.0, (min(ends) - began.at_ms) / 1000 - pace))
    return median(found) if found else None


def as_json(cost: Forecast) -> dict[str, Any]:
    """What the ledger keeps of a forecast."""
    return asdict(cost)


def _unshared(name: str, trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger | None) -> Forecast:
    """Without sharing every trial trains its own epochs, and only the very same sweep can have recorded them."""
    sweep_id = sweep_identity(name, trials, known, sharing=False) if known else ""
    rows = ledger.trials(sweep_id) if ledger else []
    recorded = {row.number: row.epochs if row.status.final else row.epoch for row in rows}
    cost = forecast(trials, lambda trial: recorded.get(trial.number, 0))
    everything = Span(cost.sure_epochs, cost.naive_epochs)
    left = Span(max(0, cost.sure_epochs - cost.known_epochs), cost.naive_epochs - cost.known_epochs)
    arms = tuple(replace(arm, shared_epochs=Span(arm.sure_epochs, arm.naive_epochs)) for arm in cost.arms)
    return replace(cost, shared_epochs=everything, new_epochs=left, arms=arms)


def _basis(spec: SweepSpec, measured: float | None) -> str:
    """What the time is computed from, or why there is none."""
    if measured:
        return f"{_short(measured)} an epoch, as measured here"
    if spec.epoch_seconds:
        return f"{_short(spec.epoch_seconds)} an epoch, as the spec says; none was measured here yet"
    stated = f"; the spec says: {' '.join(spec.cost.split())}" if spec.cost else ""
    return f"no epoch was measured here yet{stated}"


def _seconds(cost: Forecast, seconds: float, workers: int, start: float) -> tuple[float, float]:
    low, high = wall_seconds(cost, seconds, workers)
    return low + start, high + start


def _canonical(program: Mapping[str, Any]) -> str:
    return json.dumps(program, sort_keys=True)


def _short(seconds: float) -> str:
    """A length of time that may be a fraction of a second."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
