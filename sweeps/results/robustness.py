"""How robust each arm of a report's sweeps is: tables of errors out of its runs, and their measures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeps.results.axes import axes
from sweeps.results.baseline import tables
from sweeps.results.claims.evidence import Evidence
from sweeps.results.confidence import ROUNDING
from sweeps.results.frames import Frames
from sweeps.results.grids import Grid, Setting, numbers_of
from sweeps.results.measures import measures, near_chance
from sweeps.results.values import Interval, Scalar
from sweeps.results.wording import bounded, percent
from sweeps.spec.models import Statistic

ERRORS: Mapping[Statistic, str] = {
    "minimum": "minimum test error",
    "final": "final test error",
    "selected": "test error at the least training loss",
}


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """An arm's results.

    Args:
        arm: its name.
        kind: of its schedule.
        error: which test error of a trial counts.
        table: the errors, settings down and seeds across.
        measures: of them, by name.
    """

    arm: str
    kind: str
    error: Statistic
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


def robustness(
    frames: Frames, guessing: float | None, error: Statistic = "minimum"
) -> tuple[list[Robustness], list[str]]:
    """Each arm's results, and why an arm has none, in sentences.

    Args:
        guessing: the error of guessing, in percent: what a diverged trial counts as; None where it is not known.
        error: which test error of a trial counts.
    """
    found, lacking = [], []
    kinds = dict(zip(frames.trials["arm"], frames.trials["kind"], strict=True))
    results = Evidence(frames=frames).results
    for arm, kind in kinds.items():
        own = [result for result in results if result.arm == arm]
        try:
            (table,) = tables(own, error, guessing).values()
        except ValueError as fault:
            lacking.append(f"{arm} has no measures: {fault}.")
            continue
        found.append(Robustness(arm=arm, kind=kind, error=error, table=table, measures=measures(table)))
    return found, lacking


def ordered(values: Iterable[Scalar]) -> list[Scalar]:
    """The distinct values, numbers in ascending order and anything else as it comes."""
    distinct = list(dict.fromkeys(values))
    numbers = numbers_of(distinct)
    return distinct if numbers is None else [value for _, value in sorted(zip(numbers, distinct, strict=True))]


def robustness_findings(arms: Sequence[Robustness]) -> Iterator[str]:
    """What the measures say, in sentences: of each arm with a grid, and of arms with one grid which depends least on it."""
    gridded = [arm for arm in arms if len(arm.table.settings) > 1]
    for arm in arms:
        if near_chance(arm.table):
            yield (
                f"{arm.arm} is near chance: at its best its {ERRORS[arm.error]} is {percent(arm.measures['best'])}, and guessing "
                f"has {arm.table.guessing:g} %."
                + " That its settings are alike says nothing."
                * (len(arm.table.settings) > 1)
            )
    for arm in gridded:
        found, count = arm.measures, len(arm.table.settings)
        if near_chance(arm.table):
            continue
        yield (
            f"{arm.arm}: over its {count} settings the {ERRORS[arm.error]} goes from {found['best'].value:.1f} to "
            f"{found['worst'].value:.1f} %, a spread of {bounded(found['spread'])} points; averaged over the range it "
            f"is {bounded(found['area'])} points above the best."
        )
    alike: dict[frozenset[Setting], list[Robustness]] = {}
    for arm in gridded:
        alike.setdefault(frozenset(arm.table.settings), []).append(arm)
    for same in alike.values():
        if len(same) > 1:
            yield f"Over the grid that {', '.join(arm.arm for arm in same)} share, {_ranked(same)}."


def _ranked(same: Sequence[Robustness]) -> str:
    """Which of the arms of one grid spreads least and which most, and how sure that is; those near chance come last."""
    last = [arm.arm for arm in same if near_chance(arm.table)]
    same = [arm for arm in same if arm.arm not in last]
    behind = f"; last, being near chance, {'are' if len(last) > 1 else 'is'} {', '.join(last)}" if last else ""
    if len(same) < 2:
        return f"there is no spread to compare{behind}"
    return _by_spread(same) + behind


def _by_spread(same: Sequence[Robustness]) -> str:
    least, most = min(same, key=_spread), max(same, key=_spread)
    if _spread(most) - _spread(least) <= ROUNDING:
        return f"no difference in spread was seen ({_spread(least):.1f} points each)"
    low, high = most.measures["spread"].low, least.measures["spread"].high
    if math.isnan(low) or math.isnan(high):
        sure = "one seed cannot tell whether this is chance"
    else:
        sure = "surely so, their intervals do not meet" if high < low else "their intervals meet, so this may be chance"
    return (
        f"{least.arm} has the least spread ({_spread(least):.1f} points) and {most.arm} the most "
        f"({_spread(most):.1f} points): {sure}"
    )


def _spread(arm: Robustness) -> float:
    return arm.measures["spread"].value
