"""Which checkpoints to keep.

A trial that is resumed, or extended by a longer sweep, starts from the last checkpoint of its path, so that checkpoint is kept
for every trial of every sweep. A trial without a result also keeps those at which other paths fork off, and a running sweep
keeps all of its checkpoints. Adopted ones are kept until a sweep has their states. The others are waypoints: without one, a new
branch that forks there retrains the epochs since the checkpoint before, with the same records. Part of a long epoch belongs to no
path: it is kept while a sweep runs.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sweeps.ledger.records import TrialStatus

# Failed and cancelled trials may be resumed.
DONE = frozenset((TrialStatus.FINISHED, TrialStatus.DIVERGED, TrialStatus.STOPPED))


class Fate(StrEnum):
    """Whether a checkpoint is kept, and why."""

    RUNNING = "of a sweep that is running"
    LAST = "last of a trial"
    FORK = "fork of a trial without a result"
    ADOPTED = "adopted, for a sweep that was not run since"
    WAYPOINT = "behind a later one of each trial"
    DAMAGED = "damaged"
    STRANGE = "of no sweep"
    FOREIGN = "of no sweep of this ledger, in a store that others may use"

    @property
    def kept(self) -> bool:
        """Whether the checkpoint is kept."""
        return self in (Fate.RUNNING, Fate.LAST, Fate.FORK, Fate.ADOPTED, Fate.FOREIGN)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The state keys along the path of a trial, in order; ``running`` is whether a process runs its sweep."""

    keys: Sequence[str]
    status: TrialStatus
    running: bool = False


def fates(
    found: Iterable[str],
    paths: Sequence[Path],
    is_intact: Callable[[str], bool],
    adopted: Container[str] = frozenset(),
) -> dict[str, Fate]:
    """Return the fate of each checkpoint found, given every path of every sweep, and the adopted states.

    The last checkpoint of a trial must be verified before the earlier ones may go; ``is_intact`` does that, for few
    checkpoints.
    """
    there, is_intact = set(found), cache(is_intact)
    forks = _forks(paths)
    decided: dict[str, set[str]] = {fate: set() for fate in Fate}
    for path in paths:
        # A diverged trial ended at a state with a non-finite loss, which is no use as a starting point.
        keys = path.keys[:-1] if path.status is TrialStatus.DIVERGED else path.keys
        here = [key for key in keys if key in there]
        decided[Fate.WAYPOINT].update(key for key in path.keys if key in there)
        if path.running:
            decided[Fate.RUNNING].update(here)
            continue
        while here[1:] and not is_intact(here[-1]):  # a restore verifies the only one left
            decided[Fate.DAMAGED].add(here.pop())
        decided[Fate.LAST].update(here[-1:])
        if path.status not in DONE:
            decided[Fate.FORK].update(forks.intersection(here))
    # Workers save before the ledger is updated: while a sweep runs, a checkpoint on no path may be its newest.
    rest = Fate.RUNNING if any(path.running for path in paths) else Fate.STRANGE
    chosen = {key: Fate.ADOPTED if key in adopted else rest for key in there}
    for fate in (Fate.WAYPOINT, Fate.FORK, Fate.LAST, Fate.DAMAGED, Fate.RUNNING):
        chosen.update(dict.fromkeys(decided[fate], fate))
    return chosen


def _forks(paths: Iterable[Path]) -> set[str]:
    """Return the states with several successors."""
    following: dict[str, str] = {}
    forks = set()
    for path in paths:
        for key, after in zip(path.keys, path.keys[1:], strict=False):
            if following.setdefault(key, after) != after:
                forks.add(key)
    return forks
