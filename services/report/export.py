"""A report's numbers as files for other tools: trials, curves and measures, as CSV or Parquet."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.results.frames import Frames
from sweeps.results.robustness_tables import Robustness

EPOCHS = ("decay_epochs", "bounce_epochs", "forced_epochs", "minimum_epochs")
WRITERS: Mapping[str, Callable[[pd.DataFrame, Path], Any]] = {
    "csv": lambda table, path: table.to_csv(path, index=False, lineterminator="\n"),
    "parquet": lambda table, path: table.to_parquet(path, index=False),
}


def export(frames: Frames, arms: Sequence[Robustness], folder: Path, kind: str) -> tuple[Path, ...]:
    """Write ``trials``, ``curves`` and ``measures`` into an existing folder; ``kind`` is a key of `WRITERS`."""
    tables = {"trials": trial_rows(frames), "curves": curve_rows(frames), "measures": measure_rows(frames, arms)}
    paths = tuple(folder / f"{name}.{kind}" for name in tables)
    for path, table in zip(paths, tables.values(), strict=True):
        WRITERS[kind](table, path)
    return paths


def trial_rows(frames: Frames) -> pd.DataFrame:
    """One row per trial, with a column per grid coordinate; lists of epochs become text."""
    settings = pd.DataFrame(list(frames.trials["settings"]), index=frames.trials.index, dtype=object).apply(
        _of_one_kind
    )
    plain = frames.trials.drop(columns=["settings", *EPOCHS])
    epochs = {name: frames.trials[name].map(lambda found: " ".join(map(str, found))) for name in EPOCHS}
    return _by_sweep(plain.join(settings).assign(**epochs), frames, "trial_id", "name", "arm")


def curve_rows(frames: Frames) -> pd.DataFrame:
    """One row per trial and epoch, one column per metric."""
    keys = ["trial_id", "arm", "seed", "epoch"]
    wide = frames.curves.assign(
        trial_id=frames.curves["trial_id"].astype(str), metric=frames.curves["metric"].astype(str)
    )
    table = wide.pivot(index=keys, columns="metric", values="value").reset_index().rename_axis(columns=None)
    return _by_sweep(table, frames, "trial_id", "arm")


def measure_rows(frames: Frames, arms: Sequence[Robustness]) -> pd.DataFrame:
    """One row per arm and measure, with the bounds of its 95 % interval."""
    rows = [(arm.arm, arm.kind, arm.error, name, *found) for arm in arms for name, found in arm.measures.items()]
    columns = ["arm", "kind", "error", "measure", "value", "low", "high"]
    return _by_sweep(pd.DataFrame(rows, columns=columns), frames, "arm")


def _of_one_kind(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Give a column one type, as Parquet requires: nullable integers if all are whole numbers, text if some are text."""
    known = values.dropna()
    if len(known) and known.map(lambda value: isinstance(value, int) and not isinstance(value, bool)).all():
        return values.astype("Int64")
    is_text = known.map(lambda value: isinstance(value, str))
    return values.where(values.isna(), values.astype(str)) if is_text.any() and not is_text.all() else values


def _by_sweep(table: pd.DataFrame, frames: Frames, *named: str) -> pd.DataFrame:
    """The table with a column for the sweep; in joined sweeps, its name is a prefix of the names in the table."""
    if table.empty:  # no text to split
        return pd.DataFrame(columns=["sweep", *table.columns])
    parts = {column: table[column].astype(str).str.rpartition(": ") for column in named}
    sweep = parts[named[0]][0].where(parts[named[0]][0] != "", frames.spec.get("name", ""))
    bare = table.assign(**{column: part[2] for column, part in parts.items()})
    bare.insert(0, "sweep", sweep)
    return bare
