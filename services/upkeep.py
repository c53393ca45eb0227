"""Results of the maintenance verbs `backup`, `weights`, `repair`, `adopt` and `gc`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """A verified copy of the ledger."""

    file: Path
    bytes: int
    sweeps: int


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files of what a trial has trained after its last epoch."""

    sweep: str
    trial: str
    epoch: int
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """The result of retraining a sweep's lost epochs; ``replayed`` epochs were compared with their records."""

    sweep: str
    outcome: str
    trained: int
    replayed: int
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A damaged or missing part of the ledger, and what is done about it.

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

    ``kept`` is a copy of the damaged ledger. ``trained`` has the results of retraining, one per sweep.
    """

    dry_run: bool
    mended: tuple[Mended, ...]
    kept: Path | None = None
    trained: tuple[Retrained, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Checkpoints or logs of one kind: what they are, whether they are kept, their number and their size."""

    what: str
    kept: bool
    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The result of ``abel gc``; in a dry run, ``freed`` is what it would free."""

    dry_run: bool
    groups: tuple[Pruned, ...]
    freed: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What became of the epochs that other code recorded of a sweep.

    ``outcome`` is "adopted", "nothing to adopt", "differs", "not adoptable" or "failed"; ``why`` says how or for what reason.
    ``epochs`` and ``checkpoints`` are new under this code's keys; ``replayed`` epochs were trained to compare.
    """

    sweep: str
    sweep_id: str
    outcome: str
    epochs: int = 0
    checkpoints: int = 0
    replayed: int = 0
    why: tuple[str, ...] = ()
