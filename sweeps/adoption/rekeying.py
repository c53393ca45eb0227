"""The recorded epochs of a sweep under the keys that they have with other code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        NotAdoptable: something else than the code differs, or the sweep does not share states.
    """
    if not row.sharing:
        raise NotAdoptable("its trials were trained separately (--no-sharing), so no other sweep uses their states")
    pairs = [(old, known[program_key(old.program)]) for old in row.identities]
    differences = {
        why
        for old, new in pairs
        for why in [*old.why_not(new), *_examples(old, new)]
        if not why.startswith(tuple(f"{part}: " for part in OF_CODE))
    }
    if differences:
        raise NotAdoptable(f"more than the code differs from when it was trained: {'; '.join(sorted(differences))}")
    return pairs


def rekeyed(
    row: SweepRow, trial: TrialRow, curve: Sequence[StateRow], pairs: Sequence[tuple[Identity, Identity]]
) -> list[RekeyedEpoch]:
    """Return the recorded epochs of a trial under the keys of other code, in order.

    Raises:
        NotAdoptable: this code's schedule plans other learning rates or batch sizes than were recorded.
    """
    schedule = schedule_from_dict(trial.schedule)
    seen = [observation(state.metrics) for state in curve]
    for old, new in pairs:
        if old.program != trial.program or not curve or old.root(trial.seed) != curve[0].parent:
            continue
        recorded = planned_epochs(schedule, seen, old.root(trial.seed), old)
        if [planned.key for planned in recorded] != [state.key for state in curve]:
            raise NotAdoptable(f"trial {trial.name!r}: its schedule now plans other epochs than were recorded")
        path = planned_epochs(schedule, seen, new.root(trial.seed), new)
        parents = [new.root(trial.seed), *(planned.key for planned in path)]
        return [
            RekeyedEpoch(state=state, identity=new, seed=trial.seed, parent=parent, planned=planned)
            for state, parent, planned in zip(curve, parents, path, strict=False)
        ]
    if curve:
        raise NotAdoptable(f"trial {trial.name!r}: its first epoch does not follow from the sweep's programs")
    return []


def program_key(program: Mapping[str, Any]) -> str:
    """Return a program's dictionary as text, to look it up by."""
    return json.dumps(program, sort_keys=True)


def _examples(old: Identity, new: Identity) -> list[str]:
    return [] if old.examples == new.examples else [f"training examples: {old.examples}, {new.examples}"]
