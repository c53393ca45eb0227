"""`Branch`: trials that stand at one state, with what their schedules remember there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.reports import Cohort, Pair


@dataclass
class Branch:
    """Trials that stand at the state ``key``; ``states`` are their schedules' states there.

    ``tries`` counts how often it was taken up since it last came further; before ``ready_at`` it is not taken up again.
    One that is ``alone`` is trained while nothing else is.
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
        """Its members, each with the state of its schedule."""
        return list(zip(self.cohort.members, self.states, strict=True))

    def parted(self, members: Sequence[Pair]) -> "Branch":
        """The branch of some of the members, at the same state."""
        cohort = replace(self.cohort, members=tuple(member for member, _ in members))
        return Branch(cohort, [state for _, state in members], self.key, self.tries, alone=self.alone)

    def split(self, groups: Sequence[Sequence[str]]) -> tuple["Branch", list["Branch"]]:
        """What is left when groups of trials go their own way, and theirs."""
        pairs = {member.trial: (member, state) for member, state in self.pairs}
        away = [replace(self.parted([pairs.pop(trial) for trial in group]), alone=False) for group in groups]
        return self.parted(list(pairs.values())), away
