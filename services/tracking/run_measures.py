"""A sweep's measures as metrics of its own run: ``robustness/<arm>/<measure>``, and ``.low`` and ``.high`` for the interval.

An arm has them once all of its trials have a result, and none before. Values and timestamps depend only on the results, so
they are the same points however often a sweep is finished or shown again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from services.tracking.projection import MetricPoint, metric_key
from sweeps.ledger.records import StateRow, SweepRow, TrialRow, TrialStatus
from sweeps.results import baseline, guessing, summary
from sweeps.results.grids import Grid
from sweeps.results.measures import telling

SECTION = "robustness"
DIGITS = 4  # another processor may round a float64 differently, and MLflow would have two points
RESULTS = (TrialStatus.FINISHED, TrialStatus.DIVERGED)


def measure_points(
    sweep: SweepRow,
    trials: Sequence[TrialRow],
    curve: Callable[[str | None], Sequence[StateRow]],
    data_dir: Path | None = None,
) -> Iterator[MetricPoint]:
    """The measures of every arm that has all of its results; for an arm near chance, only those that are informative.

    Args:
        curve: returns the records of the trial with a head.
        data_dir: directory of the data; needed for an arm with a diverged trial if the ledger lacks the error of guessing.
    """
    for arm in dict.fromkeys(trial.arm for trial in trials):
        own = [trial for trial in trials if trial.arm == arm]
        if any(trial.status not in RESULTS for trial in own):
            continue
        results, at_ms = [], 0
        for trial in own:  # one curve at a time: those of a large sweep take a gigabyte
            states = curve(trial.head)
            results.append(summary.trial_result(trial, states, sweep.metric))
            at_ms = max(at_ms, states[-1].finished_at_ms)
        found = guessing.guessing_error(sweep, own[0].program, data_dir)
        with suppress(ValueError):  # the error of guessing is unknown, or a setting lacks a seed
            (table,) = baseline.tables(results, summary.counted_error(sweep.spec), found).values()
            yield from _of(arm, table, at_ms)


def _of(arm: str, table: Grid, at_ms: int) -> Iterator[MetricPoint]:
    for name, found in telling(table).items():
        key = f"{SECTION}/{metric_key(arm)}/{name}"
        for suffix, value in (("", found.value), (".low", found.low), (".high", found.high)):
            if math.isfinite(value):  # with one seed there is no interval
                yield MetricPoint(key + suffix, round(value, DIGITS), at_ms, 0)
