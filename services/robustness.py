"""How robust each arm of a report's sweeps is: tables of errors out of its runs, and their measures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from services.axes import axes
from services.measures import Grid, Point, grid, measures, numbers_of
from services.runs import Runs
from services.schemas import Interval, Scalar

NAMED_AT_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """An arm's results.

    Args:
        arm: its name.
        kind: of its schedule.
        table: its errors, settings down and seeds across.
        measures: of them, by name.
    """

    arm: str
    kind: str
    table: Grid
    measures: Mapping[str, Interval]

    @property
    def axes(self) -> tuple[str, ...]:
        """What varies over its grid."""
        return tuple(axes(self.table))

    @property
    def whole(self) -> bool:
        """Whether its settings are all combinations of its axes' values; those that were drawn are not."""
        return len(self.table.settings) == math.prod(map(len, axes(self.table).values()))


def robustness(runs: Runs, guessing: float | None) -> tuple[list[Robustness], list[str]]:
    """Each arm's results on the trials' minimum test errors, and why an arm has none, in sentences.

    Args:
        guessing: the error of guessing, in percent: what a diverged trial counts as; None where it is not known.
    """
    found, lacking = [], []
    for arm, trials in runs.trials.groupby("arm", sort=False):
        without = trials[~trials["outcome"].isin(("finished", "diverged"))]
        if len(without):
            names = ", ".join(f"{row['name']} ({row['outcome']})" for _, row in without.head(NAMED_AT_MOST).iterrows())
            more = ", …" * (len(without) > NAMED_AT_MOST)
            lacking.append(
                f"{arm} has no measures: {len(without)} of its {len(trials)} trials have no result: {names}{more}."
            )
            continue
        try:
            table = grid(_points(trials, guessing))
        except ValueError as error:
            lacking.append(f"{arm} has no measures: {error}.")
            continue
        kind = str(trials["kind"].iloc[0])
        found.append(Robustness(arm=str(arm), kind=kind, table=table, measures=measures(table)))
    return found, lacking


def _points(trials: pd.DataFrame, guessing: float | None) -> Iterator[Point]:
    for _, row in trials.iterrows():
        diverged = row["outcome"] == "diverged"
        error = float(row["minimum_test_error"])
        if diverged:
            error = math.nan if guessing is None else guessing
        setting = tuple(sorted(row["settings"].items()))
        yield Point(setting, int(row["seed"]), error, len(row["decay_epochs"]), diverged)


def ordered(values: Iterable[Scalar]) -> list[Scalar]:
    """The distinct values, numbers in ascending order and anything else as it comes."""
    distinct = list(dict.fromkeys(values))
    numbers = numbers_of(distinct)
    return distinct if numbers is None else [value for _, value in sorted(zip(numbers, distinct, strict=True))]


def robustness_findings(arms: Sequence[Robustness]) -> Iterator[str]:
    """What the measures say, in sentences: of each arm with a grid, and which arm depends least on its settings."""
    gridded = [arm for arm in arms if len(arm.table.settings) > 1]
    for arm in gridded:
        found, count = arm.measures, len(arm.table.settings)
        yield (
            f"{arm.arm}: over its {count} settings the test error goes from {found['best'].value:.1f} to "
            f"{found['worst'].value:.1f} %, a spread of {_points_of(found['spread'])} points; a blind choice among them "
            f"costs {_points_of(found['area'])} points on average."
        )
    if len(gridded) > 1:
        least, most = min(gridded, key=_spread), max(gridded, key=_spread)
        apart = least.measures["spread"].high < most.measures["spread"].low
        sure = "surely so, their intervals do not meet" if apart else "their intervals meet, so this may be chance"
        yield (
            f"Least spread has {least.arm} ({_spread(least):.1f} points), most {most.arm} ({_spread(most):.1f} points): {sure}."
        )


def _spread(arm: Robustness) -> float:
    return arm.measures["spread"].value


def _points_of(found: Interval) -> str:
    bounds = "" if math.isnan(found.low) else f" ({found.low:.1f} to {found.high:.1f})"
    return f"{found.value:.1f}{bounds}"
