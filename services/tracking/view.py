"""The page on which MLflow opens a sweep: a saved view of its UI, kept in a tag of the experiment.

The format is undocumented; it is that of MLflow 3.17.2's front end, which `tests/services/tracking/test_view.py` opens in a
browser. A newer front end ignores what it does not know.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from abel.schedules import Abel, Plateau
from services.tracking import downsampling, projection
from sweeps.ledger.records import SweepRow, TrialRow
from workers.contracts import Metric

TAG = "mlflow.sharedViewState."
LOADED = 100  # runs in MLflow's list before a user loads more
CARD_PIXELS = 320
MAIN, REST, SYSTEM = "abel", "abel-rest", "abel-system"  # ids of the sections; MLflow names the last two

# Group by setting: a mean over an arm's whole grid is not the error of any setting. Groups are ordered by their mean.
SETTING = "abel.setting"
BY_SETTING = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": SETTING}]}
FOLDED_CHARACTERS = 5_000  # of the settings' names in a view: MLflow refuses experiment tags of more than 20,000
RATE = "learning_rate_first"
LINES = 20  # settings that are drawn at first
BY_TRAINING = frozenset({Abel.kind, Plateau.kind})  # schedules that react to training: seeds decay at different epochs
ABOUT = ("abel.decay_epochs", "abel.outcome")


class SavedView(NamedTuple):
    """A saved view: its key, used in URLs, and the experiment's tag that holds it."""

    key: str
    tag: str
    text: str

    @property
    def digest(self) -> str:
        """A digest of the view's content."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def key(sweep_id: str) -> str:
    """The key of a sweep's view."""
    return f"abel-{sweep_id}"


def order(metric: Metric) -> str:
    """By what a sweep's trials are ordered; by creation time, MLflow would fold them below the sweep's own run."""
    return f"metrics.`{metric.column('minimum')}`"


def trials_of(sweep_id: str) -> str:
    """The filter that finds a sweep's trials; its own run has no arm."""
    return f"tags.`abel.sweep_id` = '{sweep_id}' and tags.`abel.arm` LIKE '%'"


def view(sweep: SweepRow, trials: Sequence[TrialRow]) -> SavedView:
    """The view of a sweep: its trials by setting, the best first, with their metric, norm and rate by epoch.

    A line is a setting's mean over its seeds, unless that mean would mislead. MLflow averages at each epoch over the trials
    that have a point there, so long trials get one line each. It averages only over the trials loaded in its list, so a
    larger sweep opens on its best trials, ungrouped. If seeds decay at different epochs, no trial has their mean rate, so
    the view shows the final value of the metric instead of the rate.
    """
    state = json.dumps(_state(sweep, trials), separators=(",", ":"))
    envelope = {"name": f"Sweep {sweep.id}", "createdAt": sweep.created_ms, "state": state}
    return SavedView(key(sweep.id), TAG + key(sweep.id), json.dumps(envelope, separators=(",", ":")))


def _state(sweep: SweepRow, trials: Sequence[TrialRow]) -> dict[str, Any]:
    few, whole = len(trials) <= LOADED, all(downsampling.is_whole(trial.epochs) for trial in trials)
    means = few and whole
    settings = sorted({*map(_setting, trials)})
    lines = len(settings) if means else len(trials)
    heading = "By setting: mean and range over seeds" if means else "By trial"
    best, final = (sweep.metric.column(statistic) for statistic in ("minimum", "final"))
    third = _chart("BAR", final) if means and _rates_differ(trials) else _line(RATE)
    axes = dict.fromkeys(name for trial in trials for name in trial.settings)
    return {
        # Which runs, in which order.
        "searchFilter": trials_of(sweep.id),
        "orderByKey": order(sweep.metric),
        "orderByAsc": not sweep.metric.higher_is_better,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        # The list of runs.
        "groupBy": BY_SETTING if few else None,
        "groupsExpanded": _folded(settings),
        "useGroupedValuesInCharts": means,  # with a band from the minimum to the maximum
        "runsHiddenMode": "SHOW_ALL" if lines <= LINES else "FIRST_20_RUNS",
        "selectedColumns": list(_columns(axes, (best, final, "norm_rise"))),
        # The charts.
        "compareRunCharts": [_line(sweep.metric.name), _line("weight_norm_sq"), third, _chart("BAR", best)],
        "compareRunSections": [
            _section(MAIN, heading if lines <= LINES else f"{heading}, the best {LINES}", display=True),
            _section(REST, "Model metrics", display=False),
            _section(SYSTEM, "System metrics", display=False),
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _setting(trial: TrialRow) -> str:
    return projection.trial_tags(trial)[SETTING]


def _folded(settings: Iterable[str]) -> Mapping[str, bool]:
    """The groups of the list that hide their trials, by MLflow's names for them: all, or none if the names are too long."""
    groups = {f"tag.{SETTING}.{setting}": False for setting in settings}
    return groups if len(json.dumps(groups)) <= FOLDED_CHARACTERS else {}


def _rates_differ(trials: Sequence[TrialRow]) -> bool:
    """Whether a setting's seeds may have different rates: it has several, and its schedule reacts to training."""
    seeds = Counter(_setting(trial) for trial in trials if trial.schedule["kind"] in BY_TRAINING)
    return any(count > 1 for count in seeds.values())


def _columns(axes: Iterable[str], results: Iterable[str]) -> Iterator[str]:
    yield from (f"params.`{name}`" for name in ("arm", *axes, "seed"))
    yield from (f"metrics.`{name}`" for name in results)
    yield from (f"tags.`{name}`" for name in ABOUT)


def _line(metric: str) -> Mapping[str, Any]:
    return _chart("LINE", metric) | {
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "log" if metric == RATE else "linear",
        "yAxisKey": "metric",
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": True,
        "useGlobalXaxisKey": True,
        "displayPoints": False,
    }


def _chart(kind: str, metric: str) -> dict[str, Any]:
    return {
        "uuid": f"abel-{metric}",
        "type": kind,
        "metricKey": metric,
        "metricSectionId": MAIN,
        "runsCountToCompare": LOADED,
        "isGenerated": False,
        "deleted": False,
    }


def _section(uuid: str, name: str, *, display: bool) -> Mapping[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "columns": 2,
        "cardHeight": CARD_PIXELS,
        "isReordered": uuid == MAIN,
        "isGenerated": uuid != MAIN,
        "deleted": False,
    }
