"""What the verbs of upkeep return: `backup`, `repair` and `gc`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """A copy of the ledger that was read back whole."""

    file: Path
    bytes: int
    sweeps: int


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """How the training of what a sweep had lost ended; ``replayed`` epochs were compared with their records."""

    sweep: str
    outcome: str
    trained: int
    replayed: int
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mended:
    """Something of the ledger that was damaged or missing, and what is done about it.

    ``sweep`` is a name; it and ``sweep_id`` are empty for what belongs to no sweep. ``restored`` is false for what is
    lost, ``trains`` true for what training restores.
    """

    sweep: str
    sweep_id: str = ""
    what: str
    how: str
    restored: bool
    trains: bool = False


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What was damaged and what was done about it; in a dry run, what would be done.

    ``kept`` is a copy of the ledger as it was. ``trained`` are the sweeps of which lost epochs were trained again.
    """

    dry_run: bool
    mended: tuple[Mended, ...]
    kept: Path | None = None
    trained: tuple[Retrained, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Checkpoints of one kind: what they are, whether they stay, how many there are and what they weigh."""

    what: str
    kept: bool
    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What ``abel gc`` found; in a dry run, ``freed`` is what it would free."""

    dry_run: bool
    groups: tuple[Pruned, ...]
    freed: int  # bytes
