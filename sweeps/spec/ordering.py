"""The order in which a sweep's arms and axes were entered.

A sweep's id depends on that order, and ledgers kept specs with sorted keys up to version 0.2. The trials that are left show it:
their numbers count up arm by arm, and their names list the axes, as in "at rate=0.1 decay_epoch=2 seed=0".
"""

from collections.abc import Iterator, Mapping
from itertools import islice, permutations
from typing import Any

MOST_ORDERS = 1000  # of the arms of which no trial is left


def in_order(document: Mapping[str, Any], trials: Mapping[int, tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield a spec as it is, then in every order of its arms and axes that agrees with what is known of its trials.

    Args:
        trials: arm and name of the known trials, by number.
    """
    yield dict(document)
    first: dict[str, str] = {}  # name of the first known trial of each arm, in the order of the arms
    for _, (arm, name) in sorted(trials.items()):
        first.setdefault(arm, name)
    arms = {name: _with_axes(arm, first.get(name, "")) for name, arm in document["arms"].items()}
    known = [name for name in first if name in arms]
    orders = (order for order in permutations(arms) if [name for name in order if name in first] == known)
    for order in islice(orders, MOST_ORDERS):
        yield {**document, "arms": {name: arms[name] for name in order}}


def _with_axes(arm: Any, trial: str) -> Any:
    """Return an arm with the axes of its grid in the order of a trial's name."""
    if not isinstance(arm, Mapping) or not isinstance(grid := arm.get("grid"), Mapping):
        return arm
    settings = trial.rpartition(" seed=")[0]

    def place(axis: str) -> int:
        return max(settings.find(f" {label}=") for label in (axis, axis.rpartition(".")[2]))

    return {**arm, "grid": {axis: grid[axis] for axis in sorted(grid, key=place)}}
