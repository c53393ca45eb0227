"""The recorded epochs of a sweep under the keys that they have with other code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.ledger.records import StateRow, SweepRow, TrialRow
from sweeps.spec.schedules import schedule_from_dict
from workers.fold import PlannedEpoch, observation, planned_epochs
from workers.trajectory import Identity

OF_CODE = (
    "code",
    "program",
)  # parts of an identity that differ between versions of code; a newer program may have more fields


class NotAdoptable(Exception):
    """The recorded epochs of a sweep cannot be those of this code."""


@dataclass(frozen=True, kw_only=True)
class RekeyedEpoch:
    """A recorded epoch, and its parent's key and its own, with its plan, under the identity of other code."""

    state: StateRow
    identity: Identity
    seed: int
    parent: str
    planned: PlannedEpoch

    @property
    def pair(self) -> tuple[str, str]:
        """The key as recorded, and the key with the other code."""
        return self.state.key, self.planned.key


def pairs_of_identities(row: SweepRow, known: Mapping[str, Identity]) -> list[tuple[Identity, Identity]]:
    """Return each of a sweep's identities with that of the same program, data and numerics with other code.

    Args:
        known: identities with other code, by :func:`program_key` of the programs as recorded.

    Raises:
        NotAdoptable: something else than the code differs.
    """
    pairs = [(old, known[program_key(old.program)]) for old in row.identities]
    if differences := sorted({why for pair in pairs for why in _more_than_code(*pair)}):
        raise NotAdoptable(f"more than the code differs from when it was trained: {'; '.join(differences)}")
    return pairs


def _more_than_code(old: Identity, new: Identity) -> list[str]:
    """Return how two identities differ apart from their code, and their programs, as new code may add fields to one."""
    same = replace(old, code=new.code, program=new.program)
    found = same.why_not(new) or [f"{name} is new" for name in new.numerics.keys() - old.numerics.keys()]
    return [*found, *([f"examples: {old.examples}, {new.examples}"] if old.examples != new.examples else [])]


def rekeyed(
    row: SweepRow, trial: TrialRow, curve: Sequence[StateRow], pairs: Sequence[tuple[Identity, Identity]]
) -> list[RekeyedEpoch]:
    """Return those recorded epochs of a trial that have another key with other code, in order.

    Raises:
        NotAdoptable: this code's schedule plans other learning rates or batch sizes than were recorded.
    """
    if not curve:
        return []
    schedule = schedule_from_dict(trial.schedule)
    seen = [observation(state.metrics) for state in curve]
    old, new = next(pair for pair in pairs if pair[0].program == trial.program and _starts(pair[0], trial, curve))
    recorded = planned_epochs(schedule, seen, old.root(trial.seed), old)
    if [planned.key for planned in recorded] != [state.key for state in curve]:
        raise NotAdoptable(f"trial {trial.name!r}: its schedule now plans other epochs than were recorded")
    path = planned_epochs(schedule, seen, new.root(trial.seed), new)
    parents = [new.root(trial.seed), *(planned.key for planned in path)]
    return [
        RekeyedEpoch(state=state, identity=new, seed=trial.seed, parent=parent, planned=planned)
        for state, parent, planned in zip(curve, parents, path, strict=False)
        if planned.key != state.key
    ]


def _starts(identity: Identity, trial: TrialRow, curve: Sequence[StateRow]) -> bool:
    return identity.root(trial.seed) == curve[0].parent


def program_key(program: Mapping[str, Any]) -> str:
    """Return a program's dictionary as text, to look it up by."""
    return json.dumps(program, sort_keys=True)
