"""A table of errors by row and schedule, beside the paper's: tables 1, 2 and S2.

The errors are those that the paper compares (`reported.py`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.reported import as_reported
from sweeps.results.confidence import level
from sweeps.results.frames import Frames
from sweeps.results.values import Interval
from sweeps.results.wording import percent, setting


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """One arm at one setting of its grid.

    Args:
        row: the row that the arm belongs to; the arm's name if its spec names no rows.
        kind: the kind of its schedule.
        setting: its point in the grid, in words, and the arm's name where others of its row have its kind; may be empty.
        found: the mean final error over the seeds, in percent, with its 95 % interval.
        reported: the paper's, in percent; None if unknown.
        selected: whether the error at the lowest training loss is meant, as it rises after the decay.
    """

    row: str
    kind: str
    setting: str
    found: Interval
    reported: float | None
    selected: bool = False


def schedule_table(frames: Frames, guessing: float | None) -> list[TableEntry] | None:
    """Return the entries of every arm with a result, in the spec's order; None if there are none."""
    reported = as_reported(Evidence(frames=frames, guessing=guessing)).frames
    arms, counted = frames.spec.get("arms", {}), reported.counted(guessing)
    words = counted["settings"].map(lambda settings: setting(settings) if settings else "")
    alike = Counter(
        (arms.get(arm, {}).get("row"), kind) for arm, kind in set(zip(counted["arm"], counted["kind"], strict=True))
    )
    entries = []
    for (arm, kind, told), own in counted.groupby(["arm", "kind", words], sort=False):
        row = arms.get(arm, {}).get("row")
        named = f"{arm} {told}".strip() if row and alike[row, kind] > 1 else str(told)
        entries.append(_entry(str(row or arm), str(kind), named, own, arms.get(arm, {}).get("reported")))
    return entries or None


def _entry(row: str, kind: str, setting: str, trials: pd.DataFrame, reported: float | None) -> TableEntry:
    return TableEntry(
        row=row,
        kind=kind,
        setting=setting,
        found=level(trials.sort_values("seed")["final_error"].tolist()).interval(),
        reported=reported,
        selected=bool(trials["selected"].any()),
    )


def table_findings(entries: Sequence[TableEntry]) -> Iterator[str]:
    """Yield a sentence for each row."""
    for row in dict.fromkeys(entry.row for entry in entries):
        told = [
            f"{'' if entry.kind == row else entry.kind} {f'({entry.setting})' if entry.setting else ''}".strip()
            + f" {percent(entry.found)}{' at the lowest training loss' if entry.selected else ''}"
            + ("" if entry.reported is None else f", in the paper {entry.reported:g} %")
            for entry in entries
            if entry.row == row
        ]
        yield f"{row}: {'; '.join(told).strip()}."
