"""Branches, which are trials at the same state with the states of their schedules, and the backlog of waiting branches."""

import bisect
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from workers.fold import Pair
from workers.reports import Cohort


@dataclass
class Branch:
    """Trials at the state ``key``; ``states`` are the states of their schedules there.

    ``tries`` counts the attempts since it last made progress; it is not retried before ``ready_at``. A branch that is
    ``alone`` is trained while nothing else runs.
    """

    cohort: Cohort
    states: list[Any]
    key: str
    tries: int = 0
    ready_at: float = 0.0
    alone: bool = False

    @property
    def trials(self) -> tuple[str, ...]:
        """The ids of its trials."""
        return tuple(member.trial for member in self.cohort.members)

    @property
    def pairs(self) -> list[Pair]:
        """Its members with the states of their schedules."""
        return list(zip(self.cohort.members, self.states, strict=True))

    def parted(self, members: Sequence[Pair]) -> "Branch":
        """Return the branch of some of the members, at the same state."""
        cohort = replace(self.cohort, members=tuple(member for member, _ in members))
        return Branch(cohort, [state for _, state in members], self.key, self.tries, alone=self.alone)

    def split(self, groups: Sequence[Sequence[str]]) -> tuple["Branch", list["Branch"]]:
        """Split off groups of trials; return the remaining branch and a branch for each group."""
        pairs = {member.trial: (member, state) for member, state in self.pairs}
        away = [replace(self.parted([pairs.pop(trial) for trial in group]), alone=False) for group in groups]
        return self.parted(list(pairs.values())), away


class Backlog:
    """Waiting branches: the most members first, then the least trained. ``wanted`` says which trials still count.

    A branch to be trained alone starts as soon as nothing runs. No other branch starts from when it is ready until it is done.
    """

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._numbers = itertools.count()
        self._entries: list[tuple[tuple[int, int, int], Branch]] = []

    def push(self, branch: Branch) -> None:
        """Add a branch."""
        order = (-len(branch.trials), branch.cohort.epoch, next(self._numbers))
        bisect.insort(self._entries, (order, branch), key=itemgetter(0))

    def take(self, now: float, running: Collection[Branch]) -> tuple[int, Branch] | None:
        """Return the next branch, without unwanted trials, and its number; None if all rest or wait for ``running`` ones."""
        ready = [entry for entry in self._entries if entry[1].ready_at <= now and self._counts(entry[1])]
        lone = [entry for entry in ready if entry[1].alone]
        if not ready or any(branch.alone for branch in running) or (lone and running):
            return None
        taken = (lone or ready)[0]
        self._entries.remove(taken)
        (*_, number), branch = taken
        return number, branch.parted([pair for pair in branch.pairs if self._wanted(pair[0].trial)])

    def take_fresh(self, key: str) -> list[Branch]:
        """Take the branches that wait at a state and have not been tried since they reached it."""
        fresh = [entry for entry in self._entries if entry[1].key == key and entry[1].tries == 0]
        self._entries = [entry for entry in self._entries if entry not in fresh]
        return [branch for _, branch in fresh]

    @property
    def has_lone(self) -> bool:
        """Whether a branch waits that must be trained alone."""
        return any(branch.alone for _, branch in self._entries)

    def __len__(self) -> int:
        """Number of branches with wanted trials, including resting ones."""
        return sum(self._counts(branch) for _, branch in self._entries)

    def _counts(self, branch: Branch) -> bool:
        return any(map(self._wanted, branch.trials))
