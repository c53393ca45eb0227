"""Provisional records: in the ledger but not covered by a checkpoint yet, and so not mentioned in an event.

They may be trained again after a crash, which never contradicts an event.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Event = tuple[str, Mapping[str, Any]]


class Provisional:
    """The provisional records of a sweep's trials, and the events of their schedules."""

    def __init__(self) -> None:
        self._keys: dict[str, list[str]] = defaultdict(list)
        self._turns: dict[str, list[Mapping[str, Any]]] = defaultdict(list)

    def add(self, trial: str, key: str, turn: Mapping[str, Any] | None) -> None:
        """Add the state ``key`` to a trial's path; ``turn`` is the event of its schedule there, if any."""
        self._keys[trial].append(key)
        if turn is not None:
            self._turns[trial].append(turn)

    def settle(self, trials: Iterable[str]) -> tuple[dict[str, int], list[Event]]:
        """Make the records of these trials final; return their number by trial, and the events that report them.

        Trials with the same states share an event.
        """
        alike: dict[tuple[str, ...], list[str]] = {}
        turns: list[Event] = []
        for trial in trials:
            if keys := self._keys.pop(trial, None):
                alike.setdefault(tuple(keys), []).append(trial)
                turns += [("schedule", turn) for turn in self._turns.pop(trial, [])]
        told: list[Event] = [("progress", {"trials": group, "keys": list(keys)}) for keys, group in alike.items()]
        return {trial: len(keys) for keys, group in alike.items() for trial in group}, told + turns
