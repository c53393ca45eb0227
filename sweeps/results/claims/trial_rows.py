"""Trials of a sweep as rows, and differences between them by seed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from sweeps.results.claims.evidence import Evidence
from sweeps.results.confidence import COUNT_VARIANCE, level, mean_count, mean_difference, paired_difference
from sweeps.results.frames import Frames
from sweeps.results.guessing import UNKNOWN
from sweeps.results.values import Interval

L2, SCALE = "l2", "initial_scale"
DEFAULTS = {L2: 0.0, SCALE: 1.0}  # of a program

Row = Mapping[str, Any]  # of `Frames.trials`
Rows = Sequence[Row]


def all_rows(evidence: Evidence) -> Rows:
    """Return all trials, finished or not."""
    return cast(Rows, evidence.frames.trials.to_dict("records"))


def finished_rows(evidence: Evidence) -> Rows:
    """Return the trials that finished."""
    return cast(Rows, evidence.frames.finished.to_dict("records"))


def counted_rows(evidence: Evidence) -> Rows:
    """Return the trials whose errors count: those that finished, and those that diverged, with the error of guessing.

    Raises:
        ValueError: a trial diverged, and the error of guessing on its data is unknown.
    """
    counted = evidence.frames.counted(evidence.guessing)
    outcomes = evidence.frames.trials["outcome"]
    if len(counted) < outcomes.isin(("finished", "diverged")).sum():
        raise ValueError(UNKNOWN)
    return cast(Rows, counted.to_dict("records"))


def rows_of_kind(rows: Rows, kind: str) -> Rows:
    """Return the trials with a kind of schedule."""
    return [row for row in rows if row["kind"] == kind]


def rows_by_l2(evidence: Evidence, among: Rows | None = None) -> tuple[Rows, Rows]:
    """Return the trials with L2, and those without, among these or all that finished."""
    rows = finished_rows(evidence) if among is None else among
    with_l2, without = (
        [row for row in rows if bool(program_value(evidence.frames, row, L2)) is has] for has in (True, False)
    )
    return with_l2, without


def longest_rows(rows: Rows, among: Rows) -> Rows:
    """Return those of the rows with as many epochs as the longest trials of the sweep.

    Args:
        rows: trials that finished, or whose errors count.
        among: all trials of the sweep, finished or not.

    Raises:
        ValueError: none of the rows is that long.
    """
    return _of_length(rows, max((row["epochs"] for row in among), default=0))


def shortest_rows(rows: Rows, among: Rows) -> Rows:
    """Return those of the rows with as few epochs as the shortest trials of the sweep; see `longest_rows`.

    Raises:
        ValueError: all trials are of one length, or none of the rows is that short.
    """
    lengths = {row["epochs"] for row in among}
    if len(lengths) < 2:
        raise ValueError("needs trials of two lengths")
    return _of_length(rows, min(lengths))


def _of_length(rows: Rows, epochs: int) -> Rows:
    if found := [row for row in rows if row["epochs"] == epochs]:
        return found
    raise ValueError(f"needs finished trials of {epochs} epochs")


def program_value(frames: Frames, row: Row, name: str) -> float:
    """Return a number of a trial's program: that of its grid, of its arm, of the sweep, or the default."""
    spec = frames.spec
    documents = (spec.get("arms", {}).get(row["arm"], {}).get("program", {}), spec.get("program", {}), DEFAULTS)
    given = next(document[name] for document in documents if name in document)
    return float(row["settings"].get(f"program.{name}", given))


def final_errors(rows: Rows) -> dict[int, float]:
    """Return the final error of each seed."""
    return seed_means([(row, row["final_error"]) for row in rows])


def seed_means(numbers: Sequence[tuple[Row, float]]) -> dict[int, float]:
    """Return the mean of the numbers of each seed."""
    found: dict[int, list[float]] = defaultdict(list)
    for row, number in numbers:
        found[row["seed"]].append(number)
    return {seed: float(np.mean(each)) for seed, each in found.items()}


def seed_differences(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return the first minus the second, over their common seeds."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def mean_count_over_seeds(counts: Sequence[tuple[Row, float]], lack: str) -> Interval:
    """Return the mean of one count per trial; its interval is that of the measure `decays`.

    Raises:
        ValueError: there is no trial; it says that the sweep needs `lack`.
    """
    if not counts:
        raise ValueError(f"needs {lack}")
    settings = len({setting_key(row) for row, _ in counts})
    return mean_count(list(seed_means(counts).values()), least_variance=COUNT_VARIANCE / settings)


def paired_gap(first: Mapping[int, float], second: Mapping[int, float], lack: str) -> Interval:
    """Return the mean of errors by seed minus that of others, over their common seeds, with the interval of two mean errors.

    Raises:
        ValueError: no seed is in both; it says that the sweep needs `lack`.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        raise ValueError(f"needs {lack}")
    one, other = (level([errors[seed] for seed in seeds]) for errors in (first, second))
    return paired_difference(one, other)


def setting_key(row: Row) -> tuple[str, str]:
    """Return what the trials of one setting have in common, whatever their seeds: the arm, and the point of its grid."""
    return str(row["arm"]), repr(sorted(row["settings"].items()))


def mean_over_seeds(by_seed: Mapping[int, float], lack: str) -> Interval:
    """Return the mean with its interval.

    Raises:
        ValueError: there is no seed; it says that the sweep needs `lack`.
    """
    if not by_seed:
        raise ValueError(f"needs {lack}")
    return mean_difference(list(by_seed.values()))
