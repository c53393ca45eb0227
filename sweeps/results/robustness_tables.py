"""Robustness of each arm in a report: tables of errors and their measures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeps.results.axes import axes, is_full_grid
from sweeps.results.baseline import tables
from sweeps.results.confidence import ROUNDING
from sweeps.results.frames import Frames
from sweeps.results.grids import Grid, Setting, numbers_of
from sweeps.results.measures import measures, near_chance
from sweeps.results.values import Interval, Scalar
from sweeps.results.wording import bounded, error_words, percent
from sweeps.spec.sections import Statistic


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """An arm's results.

    Args:
        arm: its name.
        kind: kind of its schedule.
        error: the error of a trial that counts.
        table: the errors, settings down and seeds across.
        measures: measures of the errors, by name.
    """

    arm: str
    kind: str
    error: Statistic
    table: Grid
    measures: Mapping[str, Interval]
    metric: str  # what the errors are, in words
    row: str = ""  # of the sweep's table, if its arms name rows; only arms of one row are compared

    @property
    def in_words(self) -> str:
        """Which error of a trial counts, such as "minimum error"."""
        return error_words(self.error, self.metric)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes that its grid varies."""
        return tuple(axes(self.table))

    @property
    def whole(self) -> bool:
        """Whether its settings are all combinations of its axes' values, as opposed to drawn settings."""
        return is_full_grid(self.table)


def robustness(
    frames: Frames, guessing: float | None, error: Statistic = "minimum"
) -> tuple[list[Robustness], list[str]]:
    """Return each arm's results, and sentences that explain why an arm has none.

    Args:
        guessing: the error of guessing, in percent, assigned to diverged trials; None if unknown.
        error: the error of a trial that counts.
    """
    found, lacking = [], []
    kinds = dict(zip(frames.trials["arm"], frames.trials["kind"], strict=True))
    results, spec = frames.results, frames.spec.get("arms", {})
    for arm, kind in kinds.items():
        own = [result for result in results if result.arm == arm]
        try:
            (table,) = tables(own, error, guessing, frames.chance).values()
        except ValueError as fault:
            lacking.append(f"{arm} has no measures: {fault}.")
            continue
        found.append(
            Robustness(
                arm=arm,
                kind=kind,
                error=error,
                table=table,
                measures=measures(table),
                metric=frames.metric.error_label,
                row=spec.get(arm, {}).get("row", ""),
            )
        )
    return found, lacking


def ordered(values: Iterable[Scalar]) -> list[Scalar]:
    """Return the distinct values, in ascending order if all are numbers, else in the given order."""
    distinct = list(dict.fromkeys(values))
    numbers = numbers_of(distinct)
    return distinct if numbers is None else [value for _, value in sorted(zip(numbers, distinct, strict=True))]


def robustness_findings(arms: Sequence[Robustness]) -> Iterator[str]:
    """Yield sentences about each arm with a grid, and about which of the arms with the same grid depends least on it."""
    gridded = [arm for arm in arms if len(arm.table.settings) > 1]
    for arm in arms:
        if near_chance(arm.table):
            yield (
                f"{arm.arm} is near chance: at its best its {arm.in_words} is {percent(arm.measures['best'])}, and guessing "
                f"has {arm.table.guessing:g} %."
                + " So small differences between its settings say nothing."
                * (len(arm.table.settings) > 1)
            )
    for arm in gridded:
        found, count = arm.measures, len(arm.table.settings)
        if near_chance(arm.table):
            continue
        yield (
            f"{arm.arm}: over its {count} settings the {arm.in_words} ranges from {found['best'].value:.1f} to "
            f"{found['worst'].value:.1f} %, a spread of {bounded(found['spread'])} points; averaged over the grid it "
            f"is {bounded(found['area'])} points above the best."
        )
    alike: dict[tuple[str, frozenset[Setting]], list[Robustness]] = {}
    for arm in gridded:
        alike.setdefault((arm.row, frozenset(arm.table.settings)), []).append(arm)
    for same in alike.values():
        if len(same) > 1:
            yield f"On the grid shared by {', '.join(arm.arm for arm in same)}, {_ranked(same)}."


def _ranked(same: Sequence[Robustness]) -> str:
    """Describe which of the arms of one grid spreads least and which most, and how sure that is; those near chance are last."""
    last = [arm.arm for arm in same if near_chance(arm.table)]
    same = [arm for arm in same if arm.arm not in last]
    behind = f"; {', '.join(last)} {'are' if len(last) > 1 else 'is'} last, being near chance" if last else ""
    if len(same) < 2:
        return f"there is no spread to compare{behind}"
    return _by_spread(same) + behind


def _by_spread(same: Sequence[Robustness]) -> str:
    least, most = min(same, key=_spread), max(same, key=_spread)
    if _spread(most) - _spread(least) <= ROUNDING:
        return f"no difference in spread was seen ({_spread(least):.1f} points each)"
    low, high = most.measures["spread"].low, least.measures["spread"].high
    if math.isnan(low) or math.isnan(high):
        sure = "one seed cannot show whether this is chance"
    else:
        sure = "their intervals do not overlap" if high < low else "their intervals overlap, so this may be chance"
    return (
        f"{least.arm} has the smallest spread ({_spread(least):.1f} points) and {most.arm} the largest "
        f"({_spread(most):.1f} points): {sure}"
    )


def _spread(arm: Robustness) -> float:
    return arm.measures["spread"].value
