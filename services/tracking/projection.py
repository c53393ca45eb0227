"""The ledger's rows as tags, parameters and points of a tracking store. Pure.

A sweep is a parent run, a trial is a run below it. Tags starting with ``abel.`` are for programs to read back, parameters
for people to compare trials by.
"""

import json
import math
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import takewhile
from typing import Any, NamedTuple, get_args

from abel.curves import bounces
from abel.schedules import Event
from services.tracking import downsampling
from services.tracking.acts import Change
from services.tracking.tag_parsing import epochs_of, whole_number
from sweeps.ledger.records import EventRow, StateRow, SweepRow, TrialRow, TrialStatus, Work
from sweeps.results import summary
from sweeps.spec.sections import Statistic
from workers.contracts import Metric

DISTRIBUTIONS = ("abel-sweeps", "numpy", "orbax-checkpoint", "ray", "mlflow")  # not covered by any state key
TEXT_LIMIT = 5000  # characters of a tag or parameter; MLflow cuts at 6,000 to 8,000 without saying so
DIGEST_LIMIT = 36  # characters of a data set's digest
NAME_LIMIT = 240  # characters of a metric's name; MLflow allows 250, and tags add a prefix

NOTES = ("note", "nondeterministic")

# MLflow's colours: diverged and failed trials are red in its list. An unknown status is shown as a failure.
TRIALS_AS = {"finished": "FINISHED", "cancelled": "KILLED", "stopped": "KILLED"}
SWEEPS_AS = {"finished": "FINISHED"} | dict.fromkeys(("interrupted", "paused", "cancelled", "no_space"), "KILLED")
FAILED = "FAILED"

# Which epochs of a trial a tag lists, by the flags of the schedule's event.
EPOCH_TAGS: Mapping[str, Event] = {f"abel.{name}": flags for name, flags in summary.EPOCH_LISTS.items()}


class MetricPoint(NamedTuple):
    """One value of a metric. The timestamp is that of the record, so a point sent twice is the same point."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class DataSet(NamedTuple):
    """A run's training data set in MLflow. The digest is that of the decoded arrays, as in the state keys."""

    name: str
    digest: str
    source: str
    profile: str


def data_of(sweep: SweepRow, trial: TrialRow) -> DataSet | None:
    """What a trial is trained on; None for a program that the sweep does not know."""
    task = trial.program["task"]
    given = trial.program.get("data") or task  # a task may make its data itself
    for identity in sweep.identities:
        if identity.program == trial.program:
            name = str(given.get("name") or given.get("kind") or task["kind"])
            profile = json.dumps({"num_rows": identity.examples})
            return DataSet(name, identity.data[:DIGEST_LIMIT], _text(given), profile)
    return None


def epoch_points(state: StateRow) -> Iterator[MetricPoint]:
    """The points of one recorded epoch; infinities become NaN, as MLflow would turn them into 1.8e308."""
    for name, value in sorted(state.metrics.items()):
        yield MetricPoint(
            metric_key(name), value if math.isfinite(value) else math.nan, state.finished_at_ms, state.epoch
        )


def metric_key(name: str) -> str:
    """A metric's name in MLflow, which rejects requests with brackets in a name.

    Slashes in a layer's metric become dots: MLflow gives every prefix its own section, above the sweep's main curves.
    """
    return re.sub(r"[^\w .:-]", ".", name)[:NAME_LIMIT]


def nonfinite_tags(states: Iterable[StateRow]) -> dict[str, str]:
    """For every metric that was not finite, the first epoch and the exact value."""
    tags: dict[str, str] = {}
    for state in states:
        for key, value in state.metrics.items():
            if not math.isfinite(value):
                tags.setdefault(f"nonfinite.{metric_key(key)}", f"{value} in epoch {state.epoch}")
    return tags


def bounce_points(curve: Sequence[StateRow]) -> Iterator[MetricPoint]:
    """The bounce of an ended trial's squared norm, as metrics at its last epoch with a finite norm.

    The fall to the minimum and the rise after it, as fractions of the norm; and the epoch of the minimum.
    """
    finite = list(takewhile(lambda state: math.isfinite(state.metrics["weight_norm_sq"]), curve))
    if not finite:
        return
    whole = bounces(state.metrics["weight_norm_sq"] for state in finite).whole
    found = {"norm_fall": whole.fall, "norm_minimum_epoch": float(whole.minimum), "norm_rise": whole.rise}
    for key, value in found.items():
        yield MetricPoint(key, value, finite[-1].finished_at_ms, finite[-1].epoch)


def error_points(curve: Sequence[StateRow], metric: Metric) -> Iterator[MetricPoint]:
    """The results of an ended trial by the sweep's metric, as metrics at its last epoch.

    The best and its epoch, the final one, and the one at the lowest training loss. For diverged trials, see
    :func:`guessing_points`.
    """
    known = [state for state in curve if metric.is_measured(state.epoch) and math.isfinite(state.metrics[metric.name])]
    if not known:
        return
    best = min(known, key=lambda state: metric.error(state.metrics[metric.name]))
    found = {
        metric.column("minimum"): best.metrics[metric.name],
        "minimum_epoch": float(best.epoch),
        metric.column("final"): known[-1].metrics[metric.name],
    }
    chosen = summary.selected(curve)
    if chosen in known:
        found[metric.column("selected")] = chosen.metrics[metric.name]
    for key, value in found.items():
        yield MetricPoint(key, value, curve[-1].finished_at_ms, curve[-1].epoch)


def guessing_points(curve: Sequence[StateRow], metric: Metric) -> Iterator[MetricPoint]:
    """The results of a diverged trial: the worst value, such as the error of guessing, so MLflow orders it correctly.

    No points if that is unknown: the values before the divergence would rank the trial among the best.
    """
    if metric.worst is None or not curve:
        return
    for statistic in get_args(Statistic):
        yield MetricPoint(metric.column(statistic), metric.worst, curve[-1].finished_at_ms, curve[-1].epoch)


def decision_points(decisions: Iterable[EventRow]) -> Iterator[MetricPoint]:
    """The decays of a trial as a metric: the event's flags (2 bounce, 4 last decay, 8 milestone, 16 plateau) at its epoch."""
    for row in decisions:
        flags = Event(row.payload["event"])
        if flags & EPOCH_TAGS["abel.decay_epochs"]:
            yield MetricPoint("decay_event", float(flags), row.at_ms, row.payload["epoch"])


def decision_tags(known: Mapping[str, str], decisions: Iterable[EventRow]) -> dict[str, str]:
    """The tags that list a trial's decay and minimum epochs, these decisions added to what is known."""
    lists = {name: set(epochs_of(known.get(name, ""))) for name in EPOCH_TAGS}
    for row in decisions:
        for name, flags in EPOCH_TAGS.items():
            if Event(row.payload["event"]) & flags:
                lists[name].add(row.payload["epoch"])
    written = {name: ",".join(map(str, sorted(epochs))) for name, epochs in lists.items() if epochs}
    return {name: text for name, text in written.items() if known.get(name) != text}


def turns(known: Mapping[str, str], decisions: Iterable[EventRow]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """After which epochs a trial's schedule saw a minimum, and decayed: these decisions added to what is known."""
    listed = {**known, **decision_tags(known, decisions)}
    minima, decays = (epochs_of(listed.get(f"abel.{name}_epochs", "")) for name in ("minimum", "decay"))
    return minima, decays


def trial_tags(trial: TrialRow) -> dict[str, str]:
    """The tags of a trial that do not depend on training; `abel.setting` is its name without the seed."""
    return {
        "abel.sweep_id": trial.sweep_id,
        "abel.trial_id": trial.id,
        "abel.trial": _text(trial.name),
        "abel.number": str(trial.number),
        "abel.arm": trial.arm,
        "abel.kind": str(trial.schedule["kind"]),
        "abel.seed": str(trial.seed),
        "abel.epochs": str(trial.epochs),
        "abel.settings": _text(trial.settings),
        "abel.setting": _text(trial.name.removesuffix(f" seed={trial.seed}")),
    }


def trial_parameters(trial: TrialRow) -> dict[str, str]:
    """Schedule and program, flattened to dotted names; the grid's coordinates are among them."""
    nested = {"schedule": trial.schedule, "program": trial.program}
    plain = {"arm": trial.arm, "seed": trial.seed, "epochs": trial.epochs}
    return {name: _text(value) for name, value in (*plain.items(), *trial.settings.items(), *_leaves(nested))}


def trial_update(
    known: Mapping[str, str],
    change: Change,
    news: Sequence[StateRow],
    metric: Metric,
    shown: Sequence[StateRow] | None = None,
) -> tuple[list[MetricPoint], dict[str, str]]:
    """The points and tags to send for a change of a trial.

    Args:
        metric: what the trials are compared by; it is sent where it is measured.
        known: the tags of the trial's run.
        news: the records that the run lacks.
        shown: the records to show, if not all of ``news``; see `services.tracking.downsampling`.
    """
    points = [point for state in (news if shown is None else shown) for point in epoch_points(state)]
    points = [point for point in points if point.key != metric_key(metric.name) or metric.is_measured(point.step)]
    _, decays = turns(known, change.decisions)
    points += [point for point in decision_points(change.decisions) if point.step in decays[: downsampling.POINTS]]
    nonfinite = {name: text for name, text in nonfinite_tags(news).items() if not known.get(name)}
    epoch = str(news[-1].epoch if news else whole_number(known, "abel.epoch"))
    outcome: dict[str, str] = {}
    if change.ended is not None:
        outcome = outcome_tags(change.ended, epoch)
    elif change.trained:
        outcome = {"abel.outcome": str(TrialStatus.RUNNING)}
    if outcome and "abel.error" in known and "abel.error" not in outcome:
        outcome["abel.error"] = "none; an earlier attempt failed"
    happened = incident_tags(known, change.incidents) | decision_tags(known, change.decisions)
    return points, happened | nonfinite | outcome | {"abel.epoch": epoch}


def outcome_tags(ended: EventRow, epoch: str) -> dict[str, str]:
    """How a trial ended, in which epoch, and why, if it failed."""
    outcome = ended.payload
    tags = {"abel.outcome": str(outcome["status"]), "abel.outcome_epoch": str(outcome.get("epoch") or epoch)}
    return tags | ({"abel.error": _text(outcome["error"])} if outcome.get("error") else {})


def sweep_tags(sweep: SweepRow, trials: int) -> dict[str, str]:
    """A sweep's description, and the versions of the software that runs it."""
    about = {f"abel.{key}": _text(sweep.spec[key]) for key in ("title", "claim", "cost") if sweep.spec.get(key)}
    return {
        "abel.sweep_id": sweep.id,
        "abel.sweep": sweep.name,
        "abel.trials": str(trials),
        "abel.sharing": "on" if sweep.sharing else "off",
        "abel.figure": str(sweep.spec.get("figure") or ""),
        "abel.claims": _text(sweep.spec.get("claims") or ""),
        "mlflow.note.content": _text(sweep.spec.get("claim") or sweep.spec.get("title") or ""),
        **about,
        **{f"abel.version.{name}": text for name, text in versions(sweep).items()},
    }


def cost_tags(trials: Iterable[TrialRow], work: Work) -> dict[str, str]:
    """The outcomes of the trials and the training cost. Tags, since they change when a sweep is resumed."""
    rows = list(trials)
    counts = {status: sum(row.status is status for row in rows) for status in TrialStatus}
    return {
        "abel.outcomes": ", ".join(f"{count} {status}" for status, count in counts.items() if count),
        "abel.epochs_naive": str(sum(row.epoch for row in rows)),
        "abel.epochs_trained": str(work.trained),
        "abel.epochs_replayed": str(work.replayed),
        "abel.seconds_training": f"{work.seconds_training:.1f}",
        "abel.seconds_wall": f"{work.seconds_wall:.1f}",
        "abel.invocations": str(work.invocations),
    }


def incident_tags(known: Mapping[str, str], incidents: Iterable[EventRow]) -> dict[str, str]:
    """The number of incidents and the text of the last; those already counted in ``known`` are not counted again."""
    new = [event for event in incidents if event.id > whole_number(known, "abel.incident_event")]
    if not new:
        return {}
    return {
        "abel.incidents": str(whole_number(known, "abel.incidents") + len(new)),
        "abel.incident": _text(new[-1].payload.get("text", "")),
        "abel.incident_event": str(new[-1].id),
    }


def note_tags(events: Iterable[EventRow]) -> dict[str, str]:
    """The sweep's last note and its last nondeterministic epoch. Notes are incidents in ledgers of older versions."""
    return {f"abel.{event.kind}": _text(event.payload) for event in events if event.kind in NOTES}


def versions(sweep: SweepRow) -> dict[str, str]:
    """What determines the sweep's numbers, as in its state keys, and the versions of the software that runs it."""
    numerics = {name: str(text) for identity in sweep.identities for name, text in identity.numerics.items() if text}
    return numerics | {name: metadata.version(name) for name in DISTRIBUTIONS} | {"python": platform.python_version()}


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    # JSON spells a float one way only; MLflow refuses a second spelling of a parameter.
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:TEXT_LIMIT].encode(errors="replace").decode()  # a lone surrogate, as from a path, has no UTF-8
