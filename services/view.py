"""The page on which MLflow opens a sweep: a saved view of its own UI, kept in a tag of the experiment.

The view's format is MLflow's own and in no documentation: that of version 3.17.2's front end, which
`tests/services/test_view.py` opens in a browser. What a newer front end does not know it leaves out.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from services import thinning
from sweeps.rows import SweepRow, TrialRow

TAG = "mlflow.sharedViewState."
LOADED = 100  # runs that MLflow's list has before somebody asks it for more
CARD_PIXELS = 320
MAIN, REST, SYSTEM = "abel", "abel-rest", "abel-system"  # ids of the sections; the names of the last two are MLflow's

ORDER = "metrics.`minimum_test_error`"  # by time of creation MLflow would fold trials away below the sweep's own run
# MLflow draws a colour from the text of tag and arm; from the parameter `arm` the arms `constant` and `decay-at` have one.
BY_ARM = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "abel.arm"}]}
CURVES = ("test_error", "weight_norm_sq", "learning_rate_first")
RESULTS = ("minimum_test_error", "final_test_error", "norm_rise")
ABOUT = ("abel.decay_epochs", "abel.outcome")


class View(NamedTuple):
    """A saved view: its key, by which an address names it, and the experiment's tag that holds it."""

    key: str
    tag: str
    text: str

    @property
    def digest(self) -> str:
        """Names the view's content."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def key(sweep_id: str) -> str:
    """The key of a sweep's view."""
    return f"abel-{sweep_id}"


def trials_of(sweep_id: str) -> str:
    """The filter that finds a sweep's trials; its own run has no arm."""
    return f"tags.`abel.sweep_id` = '{sweep_id}' and tags.`abel.arm` LIKE '%'"


def view(sweep: SweepRow, trials: Sequence[TrialRow]) -> View:
    """The view of a sweep: its trials by arm, the best first, with test error, norm and rate by epoch.

    A line is an arm's mean, where that is one: MLflow takes it at each epoch over the trials that have a point there, so
    long trials have a line each. And it takes it over the trials that its list has loaded: a larger sweep opens on its
    best trials, without arms.
    """
    state = json.dumps(_state(sweep, trials), separators=(",", ":"))
    envelope = {"name": f"Sweep {sweep.id}", "createdAt": sweep.created_ms, "state": state}
    return View(key(sweep.id), TAG + key(sweep.id), json.dumps(envelope, separators=(",", ":")))


def _state(sweep: SweepRow, trials: Sequence[TrialRow]) -> dict[str, Any]:
    few, whole = len(trials) <= LOADED, all(thinning.is_whole(trial.epochs) for trial in trials)
    heading = ("By arm: mean and range" if whole else "By trial") if few else "The best 20 trials"
    axes = dict.fromkeys(name for trial in trials for name in trial.settings)
    return {
        # Which runs, in which order.
        "searchFilter": trials_of(sweep.id),
        "orderByKey": ORDER,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        # The list of runs.
        "groupBy": BY_ARM if few else None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": few and whole,  # with a band around it, from the least to the largest
        "runsHiddenMode": "SHOW_ALL" if few else "FIRST_20_RUNS",
        "selectedColumns": list(_columns(axes)),
        # The charts.
        "compareRunCharts": [*map(_line, CURVES), _chart("BAR", RESULTS[0])],
        "compareRunSections": [
            _section(MAIN, heading, display=True),
            _section(REST, "Model metrics", display=False),
            _section(SYSTEM, "System metrics", display=False),
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _columns(axes: Iterable[str]) -> Iterator[str]:
    yield from (f"params.`{name}`" for name in ("arm", *axes, "seed"))
    yield from (f"metrics.`{name}`" for name in RESULTS)
    yield from (f"tags.`{name}`" for name in ABOUT)


def _line(metric: str) -> Mapping[str, Any]:
    return _chart("LINE", metric) | {
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "log" if metric == "learning_rate_first" else "linear",
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
