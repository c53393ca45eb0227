"""A table of scores with a row for each schedule, a column for each row of the spec and one for their mean: table S1.

Each score is that of the setting with the best mean over the seeds, as the paper takes the best of four learning rates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.results.comparison import lowest_mean
from sweeps.results.confidence import level
from sweeps.results.frames import Frames
from sweeps.results.values import Interval
from sweeps.results.wording import percent, setting

AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class BestScore:
    """The score of a schedule in one column.

    Args:
        setting: the best point of the grid, in words; empty for an average or an arm without a grid.
        found: the mean final score over the seeds in percent, with its 95 % interval.
        reported: the paper's; None if unknown.
    """

    setting: str
    found: Interval
    reported: float | None


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores by kind of schedule and column; a schedule without a result in a column has none there.

    Args:
        label: what the scores are, with their unit.
        columns: in the spec's order; the average comes last, if there is more than one.
    """

    label: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, BestScore]]


def best_scores(frames: Frames, guessing: float | None) -> ScoreTable | None:
    """Return the table of all trials that count; None if there are none, or if errors are not in percent."""
    trials = frames.counted(guessing)
    if trials.empty or frames.metric.bounds != (0.0, 100.0):
        return None
    arms = frames.spec.get("arms", {})
    columns = tuple(dict.fromkeys(str(arms.get(arm, {}).get("row") or arm) for arm in trials["arm"]))
    column = trials["arm"].map(lambda arm: str(arms.get(arm, {}).get("row") or arm))
    told = trials.assign(column=column, words=trials["settings"].map(setting))
    rows: dict[str, dict[str, BestScore]] = {}
    best: dict[str, list[pd.Series[float]]] = {}
    for (kind, name), own in told.groupby(["kind", "column"], sort=False):
        arm, words, errors = _best_setting(own)
        reported = arms.get(arm, {}).get("reported")
        words = words if any(own["settings"]) else ""
        rows.setdefault(str(kind), {})[str(name)] = _score(frames, errors, words, reported)
        best.setdefault(str(kind), []).append(errors)
    if len(columns) > 1:
        for kind, found in best.items():
            if len(found) == len(columns) and (mean := _mean(found)) is not None:
                rows[kind][AVERAGE] = _score(frames, mean, "", _reported(frames, rows[kind], columns))
        columns = (*columns, AVERAGE)
    return ScoreTable(label=frames.metric.label_with_unit, columns=columns, rows=rows)


def _best_setting(trials: pd.DataFrame) -> tuple[str, str, "pd.Series[float]"]:
    """Return the arm and the setting with the lowest mean, and its final error for each seed."""
    groups = {name: own.set_index("seed")["final_error"] for name, own in trials.groupby(["arm", "words"], sort=False)}
    arm, words = lowest_mean(
        {name: dict(zip(own.index.tolist(), own.tolist(), strict=True)) for name, own in groups.items()}
    )
    return str(arm), str(words), groups[arm, words].sort_index()


def _mean(columns: Sequence["pd.Series[float]"]) -> "pd.Series[float] | None":
    """Return the mean over the columns for each seed that all of them have; None if there is no such seed."""
    together = pd.concat(list(columns), axis=1, join="inner")
    return None if together.empty else together.mean(axis=1)


def _score(frames: Frames, errors: "pd.Series[float]", words: str, reported: float | None) -> BestScore:
    found = level(errors.tolist()).interval()
    if not frames.metric.higher_is_better:
        return BestScore(setting=words, found=found, reported=reported)
    value, low, high = (100 - bound for bound in found)
    theirs = None if reported is None else 100 - reported
    return BestScore(setting=words, found=Interval(value, high, low), reported=theirs)


def _reported(frames: Frames, row: Mapping[str, BestScore], columns: Sequence[str]) -> float | None:
    """Return the mean of the paper's errors, if it has all of them."""
    known = [row[name].reported for name in columns]
    if any(one is None for one in known):
        return None
    mean = float(np.mean([one for one in known if one is not None]))
    return 100 - mean if frames.metric.higher_is_better else mean


def best_score_findings(table: ScoreTable) -> Iterator[str]:
    """Yield a sentence for each column."""
    for column in table.columns:
        told = [
            f"{kind} {percent(row[column].found)}"
            + (f" at {row[column].setting}" if row[column].setting else "")
            + ("" if row[column].reported is None else f", in the paper {row[column].reported:.1f} %")
            for kind, row in table.rows.items()
            if column in row
        ]
        if told:
            yield f"{column}: {'; '.join(told)}."
