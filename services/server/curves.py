"""What the web page draws of a sweep: its curves by setting with their spread over seeds, and the tree of what is shared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow, TrialRow
from sweeps.results.wording import setting
from workers.contracts import Metric

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("train_loss", "weight_norm_sq", "learning_rate_first")
_Walk = tuple[TrialRow, Sequence[str]]  # a trial, and the states on its path

MOST_POINTS = 400  # of a curve; more than a page has pixels for


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One metric of a setting by epoch: its mean over seeds, and the lowest and highest of them. None is a gap."""

    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class SettingCurves:
    """One setting of an arm, and its curves.

    Args:
        best: its trials' lowest error so far, averaged over seeds; None before there is one, and if a seed diverged: what
            that reached before says nothing.
    """

    arm: str
    label: str
    seeds: int
    best: float | None
    metrics: Mapping[str, Spread]


@dataclass(frozen=True, kw_only=True)
class SweepCurves:
    """The curves of a sweep, the best setting first; all have these epochs. ``settings_in_all`` counts those left out too."""

    error: str  # the metric that the settings are ordered by
    label: str
    unit: str
    epochs: tuple[int, ...]
    settings: tuple[SettingCurves, ...]
    settings_in_all: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of epochs that some trials have in common: what precedes it (an index, or None), and the trials.

    Args:
        first, last: its epochs.
        ends: names of the trials whose last epoch it has.
    """

    parent: int | None
    first: int
    last: int
    trials: int
    ends: tuple[str, ...]


def curves_of(ledger: Ledger, sweep: SweepRow, most: int) -> SweepCurves:
    """Return the curves of a sweep's best settings."""
    from sweeps.results.load import load  # pandas

    frames = load(ledger, sweep, METRICS)
    names = [sweep.metric.name, *METRICS]
    tables = {name: frames.curve(name) for name in names}
    length = max((len(table) for table in tables.values()), default=0)
    shown = _thinned(length, sweep.metric)
    groups = _groups(ledger.trials(sweep.id))
    trials = frames.trials.set_index("trial_id")
    errors, diverged = trials["minimum_error"], trials["outcome"] == "diverged"
    best = {key: None if diverged[ids].any() else _number(errors[ids].mean()) for key, ids in groups.items()}
    order = sorted(groups, key=lambda key: (best[key] is None, best[key] or 0.0))
    found = [
        SettingCurves(
            arm=key[0],
            label=key[1],
            seeds=len(groups[key]),
            best=best[key],
            metrics={name: _spread(table, groups[key], shown) for name, table in tables.items()},
        )
        for key in order[:most]
    ]
    return SweepCurves(
        error=sweep.metric.name,
        label=sweep.metric.label,
        unit=sweep.metric.unit,
        epochs=shown,
        settings=tuple(found),
        settings_in_all=len(groups),
    )


def _groups(trials: Iterable[TrialRow]) -> Mapping[tuple[str, str], list[str]]:
    """The ids of trials that differ only in their seeds, by arm and setting."""
    groups: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        groups.setdefault((trial.arm, setting(trial.settings)), []).append(trial.id)
    return groups


def tree_of(ledger: Ledger, sweep: SweepRow) -> tuple[Stretch, ...]:
    """Return what a sweep's trials have in common, each stretch after the one that it follows."""
    trials = [trial for trial in ledger.trials(sweep.id) if trial.head is not None]
    paths = {id: path[1:] for id, path in ledger.paths(sweep.id).items()}  # without the state before the first epoch
    made: list[Stretch] = []
    # A list and not a recursion: a sweep may fork a thousand times in a row.
    left: list[tuple[list[_Walk], int, int | None]] = [([(trial, paths[trial.id]) for trial in trials], 0, None)]
    while left:
        group, start, parent = left.pop()
        for together in _parted(group, start):
            end = _common(path for _, path in together)
            ends = tuple(trial.name for trial, path in together if len(path) == end)
            made.append(Stretch(parent=parent, first=start + 1, last=end, trials=len(together), ends=ends))
            left.append((together, end, len(made) - 1))
    return tuple(made)


def _parted(trials: Sequence[_Walk], start: int) -> Iterable[list[_Walk]]:
    """Group trials by the state that they reach after so many epochs; those that have ended are left out."""
    together: dict[str, list[_Walk]] = {}
    for trial, path in trials:
        if len(path) > start:
            together.setdefault(path[start], []).append((trial, path))
    return together.values()


def _common(paths: Iterator[Sequence[str]]) -> int:
    """How many states paths have in common from their start: equal keys have equal pasts."""
    first, *others = paths
    low, high = 0, min(map(len, (first, *others)))
    while low < high:
        middle = (low + high + 1) // 2
        if all(path[middle - 1] == first[middle - 1] for path in others):
            low = middle
        else:
            high = middle - 1
    return low


def _thinned(length: int, metric: Metric) -> tuple[int, ...]:
    return tuple(sorted({*metric.spaced(length, MOST_POINTS), *([length] if length else ())}))


def _spread(table: "pd.DataFrame", ids: Sequence[str], epochs: Sequence[int]) -> Spread:
    chosen = table[[id for id in ids if id in table.columns]].reindex(list(epochs))
    return Spread(
        mean=tuple(map(_number, chosen.mean(axis=1))),
        low=tuple(map(_number, chosen.min(axis=1))),
        high=tuple(map(_number, chosen.max(axis=1))),
    )


def _number(value: float) -> float | None:
    """A value as JSON can have it, with as many digits as anybody sees."""
    return float(f"{value:.6g}") if value == value and abs(value) != float("inf") else None
