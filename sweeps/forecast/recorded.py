"""The cost of a sweep, given the recorded epochs of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from abel.schedules import EpochPlan
from sweeps.forecast.plan import Forecast, Span, forecast
from sweeps.ledger.database import LedgerDamaged
from sweeps.ledger.entries import sweep_identity
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import TrialStatus
from sweeps.spec.sweep import SweepSpec, Trial
from workers.config import Program
from workers.fold import diverged, observation, plan_epoch, updated
from workers.trajectory import Identity, child


def estimate(
    spec: SweepSpec, known: Mapping[Program, Identity], ledger: Ledger | None, *, sharing: bool = True
) -> Forecast:
    """Return the sweep's cost in epochs, given the ledger; without identities or ledger no epoch counts as recorded."""
    trials = spec.expand()
    if not sharing:
        return _unshared(spec.name, trials, known, ledger)
    if not known:
        return forecast(trials)
    recorded = recorded_epochs(trials, known, ledger) if ledger else {}
    if ledger and any(trial.halving for trial in trials):
        recorded = {**recorded, **_stopped(sweep_identity(spec.name, trials, known, sharing=True), ledger)}
    return forecast(trials, lambda trial: recorded.get(trial.number, 0), lambda trial: known[trial.program].examples)


def recorded_epochs(trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger) -> Mapping[int, int]:
    """Return the number of leading epochs recorded for each trial, by trial number; a trial that ended early is complete."""
    recorded = {trial.number: 0 for trial in trials}
    walking = [(trial, trial.schedule.init(), known[trial.program].root(trial.seed)) for trial in trials]
    for epoch in range(1, max((trial.epochs for trial in trials), default=0) + 1):
        ahead = [
            (trial, state, plan_epoch(trial.schedule, state, epoch, key, known[trial.program]).key)
            for trial, state, key in walking
        ]
        found = ledger.states({key for _, _, key in ahead})
        walking = []
        for trial, state, key in ahead:
            if key not in found:
                continue
            seen = observation(found[key].metrics)
            if diverged(seen):
                recorded[trial.number] = trial.epochs
                continue
            after = updated(trial.schedule, state, seen)
            recorded[trial.number] = trial.epochs if after.finished else epoch
            if recorded[trial.number] < trial.epochs:
                walking.append((trial, after, key))
        if not walking:
            break
    return recorded


def why_nothing(
    trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger | None, *, sharing: bool = True
) -> str:
    """Return why no recorded state can be used by a sweep's trials."""
    earlier = _earlier(ledger) if ledger else []
    if ledger is None or not earlier:
        return "no sweep was run here yet"
    differences = [ours.why_not(other) for ours in known.values() for other in earlier if ours.program == other.program]
    if not differences:
        return "no sweep trained this program here yet"
    nearest = min(differences, key=len)
    if sharing and (adoptable := of_other_code(trials, known, ledger)):
        return adoptable
    return (
        f"recorded states differ in {'; '.join(nearest)}" if nearest else "its seeds and first learning rates are new"
    )


def of_other_code(trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger) -> str | None:
    """Return how to keep epochs of these trials that other code recorded; None if it recorded no first epoch of one.

    Nor is there anything to keep where such an epoch is damaged.
    """
    pairs = [(other, ours, ours.why_not(other)) for other in _earlier(ledger) for ours in known.values()]
    others = [(other, ours, why[0]) for other, ours, why in pairs if len(why) == 1 and why[0].startswith("code: ")]
    if not others:
        return None
    starts: dict[str, tuple[Identity, int, EpochPlan]] = {}  # many trials have one start
    for trial in trials:
        ours = known[trial.program]
        planned = plan_epoch(trial.schedule, trial.schedule.init(), 1, ours.root(trial.seed), ours)
        starts[planned.key] = (ours, trial.seed, planned.plan)
    found = {
        child(other.root(seed), plan): why
        for other, like, why in others
        for ours, seed, plan in starts.values()
        if ours is like
    }
    try:
        recorded = ledger.states(found)
    except LedgerDamaged:
        return None
    differing = next((why for key, why in found.items() if key in recorded), None)
    return differing and f"recorded states differ in {differing}; `abel adopt` keeps them if they are the same"


def _earlier(ledger: Ledger) -> list[Identity]:
    """Return the distinct identities of the ledger's sweeps, the newest first."""
    rows = reversed(ledger.intact_sweeps())
    return list({identity.root(0): identity for row in rows for identity in row.identities}.values())


def _stopped(sweep_id: str, ledger: Ledger) -> Mapping[int, int]:
    """Return the epochs of trials that a sweep stopped at a rung, by number: they have nothing left to train."""
    return {row.number: row.epochs for row in ledger.trials(sweep_id) if row.status is TrialStatus.STOPPED}


def _unshared(name: str, trials: Sequence[Trial], known: Mapping[Program, Identity], ledger: Ledger | None) -> Forecast:
    """Return the cost without sharing: every trial trains its own epochs, and only the same sweep can have recorded them."""
    sweep_id = sweep_identity(name, trials, known, sharing=False) if known else ""
    rows = ledger.trials(sweep_id) if ledger else []
    recorded = {row.number: row.epochs if row.status.final else row.epoch for row in rows}
    cost = forecast(trials, lambda trial: recorded.get(trial.number, 0))
    everything = Span(cost.sure_epochs, cost.naive_epochs)
    left = Span(max(0, cost.sure_epochs - cost.known_epochs), cost.naive_epochs - cost.known_epochs)
    arms = tuple(replace(arm, shared_epochs=Span(arm.sure_epochs, arm.naive_epochs)) for arm in cost.arms)
    return replace(cost, shared_epochs=everything, new_epochs=left, arms=arms)
