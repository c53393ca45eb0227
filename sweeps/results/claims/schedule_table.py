"""A table of final errors by row and schedule, beside the paper's: tables 1, 2 and S2."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """

    row: str
    kind: str
    setting: str
    found: Interval
    reported: float | None


def schedule_table(frames: Frames, guessing: float | None) -> list[TableEntry] | None:
    """Return the entries of every arm with a result, in the spec's order; None if there are none."""
    arms, counted = frames.spec.get("arms", {}), frames.counted(guessing)
    words = counted["settings"].map(lambda settings: setting(settings) if settings else "")
    alike = Counter(
        (arms.get(arm, {}).get("row"), kind) for arm, kind in set(zip(counted["arm"], counted["kind"], strict=True))
    )
    entries = []
    for (arm, kind, told), own in counted.groupby(["arm", "kind", words], sort=False):
        spec = arms.get(arm, {})
        found = level(own.sort_values("seed")["final_error"].tolist()).interval()
        row, reported = spec.get("row"), spec.get("reported")
        named = f"{arm} {told}".strip() if row and alike[row, kind] > 1 else str(told)
        entries.append(TableEntry(row=str(row or arm), kind=str(kind), setting=named, found=found, reported=reported))
    return entries or None


def table_findings(entries: Sequence[TableEntry]) -> Iterator[str]:
    """Yield a sentence for each row."""
    for row in dict.fromkeys(entry.row for entry in entries):
        told = [
            f"{'' if entry.kind == row else entry.kind} {f'({entry.setting})' if entry.setting else ''}".strip()
            + f" {percent(entry.found)}"
            + ("" if entry.reported is None else f", in the paper {entry.reported:g} %")
            for entry in entries
            if entry.row == row
        ]
        yield f"{row}: {'; '.join(told).strip()}."
