"""Results of a sweep, by trial and by arm."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from abel.schedules import DECAYS, Event, ScheduleState
from sweeps.ledger.queries import OUTCOMES, Reading
from sweeps.ledger.records import CurveResult, StateRow, SweepRow, TrialRow, TrialStatus
from sweeps.results.values import ArmSummary, TrialResult
from sweeps.spec.schedules import schedule_from_dict
from sweeps.spec.sections import Statistic
from workers.contracts import Metric
from workers.fold import observation, states

# Lists of a trial's epochs, with the event flags that define them.
EPOCH_LISTS: Mapping[str, Event] = {
    "decay_epochs": DECAYS,
    "bounce_epochs": Event.DECAY,
    "forced_epochs": Event.LAST_DECAY,
    "minimum_epochs": Event.MINIMUM,
}


def counted_error(spec: Mapping[str, Any]) -> Statistic:
    """Return which error of a trial counts in a sweep."""
    error: Statistic = (spec.get("check") or {}).get("error", "minimum")
    return error


def results_at_hand(ledger: Reading, sweep: SweepRow, trials: Sequence[TrialRow]) -> list[TrialResult]:
    """Return the result of each trial from its row; only the curves of rows without one are read."""
    lacking = [trial for trial in trials if trial.result is None and trial.epoch]
    others = zip(lacking, ledger.curves(sweep, lacking), strict=True)
    read = {trial.id: trial_result(trial, epochs, sweep.metric) for trial, epochs in others}
    return [read.get(trial.id) or _told(trial, trial.result or CurveResult()) for trial in trials]


def trial_result(trial: TrialRow, epochs: Sequence[StateRow], metric: Metric) -> TrialResult:
    """Reduce a trial and its recorded epochs to its result."""
    return _told(trial, curve_result(epochs, schedule_states(trial.schedule, epochs), metric))


def curve_result(epochs: Sequence[StateRow], after: Sequence[ScheduleState], metric: Metric) -> CurveResult:
    """Reduce recorded epochs, and the schedule's states after them, to a result."""
    found, decays = CurveResult(), {state.epoch for state in after if state.event & DECAYS}
    for one in epochs:
        error, loss = metric.error_in(one.epoch, one.metrics), one.metrics["train_loss"]
        found = found.after(one.epoch, error, loss, decayed=one.epoch in decays)
    return found


def _told(trial: TrialRow, found: CurveResult) -> TrialResult:
    return TrialResult(
        name=trial.name,
        arm=trial.arm,
        seed=trial.seed,
        settings=trial.settings,
        status=trial.status,
        epoch=trial.epoch,
        epochs=trial.epochs,
        minimum_error=found.minimum,
        final_error=found.final,
        selected_error=found.selected,
        decays=found.decays,
        error=trial.error,
        failure=trial.failure,
        attempts=trial.attempts,
    )


def selected(curve: Sequence[StateRow]) -> StateRow | None:
    """Return the epoch with the lowest training loss, whose error the paper reports if the error rises after a decay (SM)."""
    known = (state for state in curve if math.isfinite(state.metrics["train_loss"]))
    return min(known, key=lambda state: state.metrics["train_loss"], default=None)


def schedule_states(schedule: Mapping[str, Any], epochs: Sequence[StateRow]) -> list[ScheduleState]:
    """Return a schedule's state after each recorded epoch, up to the first diverged one."""
    return states(schedule_from_dict(schedule), (observation(one.metrics) for one in epochs))[1:]


def summarise(trials: Sequence[TrialRow], results: Sequence[TrialResult]) -> tuple[ArmSummary, ...]:
    """Return one summary per arm, in the order of the spec."""
    kinds: dict[str, str] = {}
    for trial in trials:
        kinds.setdefault(trial.arm, trial.schedule["kind"])
    by_arm: dict[str, list[TrialResult]] = defaultdict(list)
    for result in results:
        by_arm[result.arm].append(result)
    return tuple(_arm(arm, kind, by_arm[arm]) for arm, kind in kinds.items())


def _arm(arm: str, kind: str, results: Sequence[TrialResult]) -> ArmSummary:
    best = best_seeds(results)
    finals = [result.final_error for result in best if result.final_error is not None]
    statuses = Counter(result.status for result in results)
    return ArmSummary(
        arm=arm,
        kind=kind,
        trials=len(results),
        ended=sum(statuses[outcome] for outcome in OUTCOMES),
        diverged=statuses[TrialStatus.DIVERGED],
        failed=statuses[TrialStatus.FAILED],
        cancelled=statuses[TrialStatus.CANCELLED],
        stopped=statuses[TrialStatus.STOPPED],
        seeds=len({result.seed for result in results}),
        settings=best[0].settings if best else None,
        minimum_error=_mean_minimum(best) if best else None,
        final_error=fmean(finals) if finals else None,
        final_sd=stdev(finals) if len(finals) > 1 else None,
        decays=tuple(result.decays for result in best),
    )


def best_seeds(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the seeds of an arm's best setting; one with a diverged, failed or unfinished seed cannot be the best."""
    by_setting: dict[tuple[tuple[str, Any], ...], list[TrialResult]] = defaultdict(list)
    for result in results:
        by_setting[tuple(sorted(result.settings.items()))].append(result)
    complete = [seeds for seeds in by_setting.values() if all(r.status == TrialStatus.FINISHED for r in seeds)]
    return min(complete, key=_mean_minimum, default=[])


def _mean_minimum(seeds: Sequence[TrialResult]) -> float:
    return fmean([result.minimum_error for result in seeds if result.minimum_error is not None])
