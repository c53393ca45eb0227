"""A sweep's measures as metrics of its own run: ``robustness/<arm>/<measure>``, and ``.low`` and ``.high`` for the interval.

An arm has them once all of its trials have a result, and none before. Values and timestamps depend only on the results, so
they are the same points however often a sweep is finished or shown again.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from services.tracking.projection import MetricPoint, metric_key
from sweeps.ledger.queries import Reading
from sweeps.ledger.records import SweepRow, TrialRow, TrialStatus
from sweeps.results import baseline, guessing, summary
from sweeps.results.grids import Grid
from sweeps.results.load import load
from sweeps.results.measures import telling

SECTION = "robustness"
DIGITS = 4  # another processor may round a float64 differently, and MLflow would have two points
RESULTS = (TrialStatus.FINISHED, TrialStatus.DIVERGED)


def measure_points(
    ledger: Reading, sweep: SweepRow, trials: Sequence[TrialRow], data_dir: Path | None = None
) -> Iterator[MetricPoint]:
    """The measures of every arm that has all of its results; for an arm near chance, only those that are informative.

    Args:
        data_dir: directory of the data; needed for an arm with a diverged trial if the ledger lacks the error of guessing.
    """
    arms = dict.fromkeys(trial.arm for trial in trials)
    lacking = {trial.arm for trial in trials if trial.status not in RESULTS}
    whole = [arm for arm in arms if arm not in lacking]
    if not whole:
        return
    frames = load(ledger, sweep, (), whole)
    for arm in whole:
        own = [trial for trial in trials if trial.arm == arm]
        found = guessing.guessing_error(sweep, own[0].program, data_dir)
        of_arm = [result for result in frames.results if result.arm == arm]
        ends = ledger.states({str(trial.head) for trial in own})
        with suppress(ValueError):  # the error of guessing is unknown, or a setting lacks a seed
            (table,) = baseline.tables(of_arm, summary.counted_error(sweep.spec), found, frames.chance).values()
            yield from _of(arm, table, max(state.finished_at_ms for state in ends.values()))


def _of(arm: str, table: Grid, at_ms: int) -> Iterator[MetricPoint]:
    for name, found in telling(table).items():
        key = f"{SECTION}/{metric_key(arm)}/{name}"
        for suffix, value in (("", found.value), (".low", found.low), (".high", found.high)):
            if math.isfinite(value):  # with one seed there is no interval
                yield MetricPoint(key + suffix, round(value, DIGITS), at_ms, 0)
