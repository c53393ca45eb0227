"""What people are shown of a submission, and of a sweep that was run here without one: the same values for both."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from services.server.jobs import JobState
from services.server.reconciling import phase_of
from services.server.values import LOCAL, Happening, Submitted
from services.verbs import status
from sweeps.ledger.database import LedgerDamaged
from sweeps.ledger.holding import now_ms
from sweeps.ledger.leases import Holder, is_held
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import EventRow, SweepRow, SweepStatus, TrialStatus
from sweeps.ledger.submissions.rows import Phase, Submission, Wanted
from sweeps.processes.supervisor import START_SECONDS


def shown_submission(
    ledger: Ledger, one: Submission, sweep: SweepRow | None, state: JobState = JobState.UNKNOWN
) -> Submitted:
    """A submission in one line, with its sweep if it has one yet.

    Args:
        state: what the place of its last launch says, if that has not taken the submission yet.
    """
    return Submitted(
        id=one.id,
        owner=one.owner,
        name=one.name,
        title=str(one.spec.get("title", "")),
        phase=(phase := phase_of(one, state)),
        ended=phase.final,
        wanted=one.wanted,
        priority=one.priority,
        created_ms=one.created_ms,
        sweep_id=one.sweep_id,
        workers=one.workers,
        launches=one.launches,
        why=one.error,
        **({} if sweep is None else _figures(ledger, sweep)),
    )


def shown_sweep(ledger: Ledger, sweep: SweepRow, open_ones: Sequence[Submission] = ()) -> Submitted:
    """A sweep of this home in one line, as if it had been submitted under its own id.

    Args:
        open_ones: submissions of a service over this home without an outcome; one of this sweep says where it is.
    """
    one = next((one for one in open_ones if one.sweep_id == sweep.id), None)
    phase = phase_here(ledger, sweep) if one is None else phase_of(one)
    return Submitted(
        id=sweep.id,
        owner=LOCAL if one is None else one.owner,
        name=sweep.name,
        title=str(sweep.spec.get("title", "")),
        phase=phase,
        ended=any(phase == end for end in Phase if end.final),
        wanted=_wanted(phase) if one is None else one.wanted,
        priority=0 if one is None else one.priority,
        created_ms=sweep.created_ms,
        sweep_id=sweep.id,
        workers=None if one is None else one.workers,
        launches=ledger.work(sweep.id).invocations,
        why=None if one is None else one.error,
        **_figures(ledger, sweep),
    )


def phase_here(ledger: Ledger, sweep: SweepRow) -> str:
    """Where a sweep without a submission is: a phase of submissions, else its status in `abel status`."""
    if is_held(sweep):
        return Phase.STOPPING if sweep.status is SweepStatus.PAUSED else Phase.RUNNING
    if sweep.status is not SweepStatus.RUNNING:
        return sweep.status
    if sweep.holder is not None:  # its driver was lost, and the command that ran it may start another
        return Phase.RUNNING if Holder.read(sweep.holder).has_command else status.STOPPED
    is_new = now_ms() - sweep.created_ms < START_SECONDS * 1000 and not ledger.work(sweep.id).invocations
    return Phase.STARTING if is_new else status.STOPPED


def happening(row: EventRow, names: Mapping[str, str]) -> Happening:
    """An event of a sweep's log; ``names`` has its trials' names by id."""
    trial = names.get(row.payload.get("trial", ""))
    return Happening(id=row.id, kind=row.kind, at_ms=row.at_ms, trial=trial, payload=row.payload)


def _wanted(phase: str) -> Wanted:
    if phase in (Phase.STOPPING, Phase.PAUSED):
        return Wanted.PAUSED
    return Wanted.CANCELLED if phase == Phase.CANCELLED else Wanted.RUNNING


def _figures(ledger: Ledger, sweep: SweepRow) -> dict[str, Any]:
    """The sweep in numbers. What a trial reached before it diverged is not among its errors."""
    places = ledger.places(sweep.id)
    trained = [place for place in places if place.status is not TrialStatus.DIVERGED]
    errors = [place.minimum for place in trained if place.minimum is not None]
    if not errors and sweep.metric.cadence == 1 and any(place.epoch for place in trained):
        errors = _recorded_errors(ledger, sweep)
    figures = status.overview(ledger, sweep, places)
    return {"sweep": figures, "best": min(errors, default=None), "unit": sweep.metric.unit}


def _recorded_errors(ledger: Ledger, sweep: SweepRow) -> list[float]:
    """The errors of all epochs, as versions up to 0.2 kept none in a trial's row; none if some are damaged."""
    trained = [trial for trial in ledger.trials(sweep.id) if trial.status is not TrialStatus.DIVERGED]
    with suppress(LedgerDamaged):
        states = (state for curve in ledger.curves(sweep, trained) for state in curve)
        errors = (sweep.metric.error_in(state.epoch, state.metrics) for state in states)
        return [error for error in errors if error is not None and math.isfinite(error)]
    return []
