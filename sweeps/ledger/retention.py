"""Which checkpoints are still worth their room.

A trial goes on from the last checkpoint of its path, to be resumed or to be extended by a longer sweep; so that one is kept of
every trial of every sweep. A trial without a result keeps those at which others part from its path as well, and a sweep that
is running keeps all it has. What is left was only ever a waypoint: without it, a new branch that leaves a path there trains
the epochs since the checkpoint before, with the same records.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sweeps.ledger.records import TrialStatus

# What failed or was cancelled may be taken up again.
DONE = frozenset((TrialStatus.FINISHED, TrialStatus.DIVERGED, TrialStatus.STOPPED))


class Fate(StrEnum):
    """What becomes of a checkpoint, and why."""

    RUNNING = "of a sweep that is running"
    LAST = "last of a trial"
    FORK = "fork of a trial without a result"
    WAYPOINT = "behind a later one of each trial"
    DAMAGED = "damaged"
    STRANGE = "of no sweep"

    @property
    def kept(self) -> bool:
        """Whether the checkpoint stays."""
        return self in (Fate.RUNNING, Fate.LAST, Fate.FORK)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The states that a trial went through, first epoch first; ``running`` is whether a process runs its sweep."""

    keys: Sequence[str]
    status: TrialStatus
    running: bool = False


def fates(found: Iterable[str], paths: Sequence[Path], is_intact: Callable[[str], bool]) -> dict[str, Fate]:
    """The fate of each checkpoint that was found, given every path of every sweep.

    Of the last checkpoint of a trial it must be known that it verifies before those behind it go, hence ``is_intact``,
    which is asked of few.
    """
    there, is_intact = set(found), cache(is_intact)
    forks = _forks(paths)
    decided: dict[str, set[str]] = {fate: set() for fate in Fate}
    for path in paths:
        # A loss that is not finite is where a trial ended: there is nothing to go on from.
        keys = path.keys[:-1] if path.status is TrialStatus.DIVERGED else path.keys
        here = [key for key in keys if key in there]
        decided[Fate.WAYPOINT].update(key for key in path.keys if key in there)
        if path.running:
            decided[Fate.RUNNING].update(here)
            continue
        while here[1:] and not is_intact(here[-1]):  # the only one stays whatever it is, and restoring tells
            decided[Fate.DAMAGED].add(here.pop())
        decided[Fate.LAST].update(here[-1:])
        if path.status not in DONE:
            decided[Fate.FORK].update(forks.intersection(here))
    # A worker saves before the ledger hears of it: while a sweep runs, what no path knows may be its newest.
    rest = Fate.RUNNING if any(path.running for path in paths) else Fate.STRANGE
    chosen = dict.fromkeys(there, rest)
    for fate in (Fate.WAYPOINT, Fate.FORK, Fate.LAST, Fate.DAMAGED, Fate.RUNNING):
        chosen.update(dict.fromkeys(decided[fate], fate))
    return chosen


def _forks(paths: Iterable[Path]) -> set[str]:
    """The states that are followed by different ones."""
    following: dict[str, str] = {}
    forks = set()
    for path in paths:
        for key, after in zip(path.keys, path.keys[1:], strict=False):
            if following.setdefault(key, after) != after:
                forks.add(key)
    return forks
