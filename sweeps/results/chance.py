"""Which arms have hardly learned anything: a schedule that fails in all of its settings is steady, and not robust."""

from sweeps.results.measures import Grid, measures, settled
from sweeps.results.values import Interval

NEAR_CHANCE = 0.9  # of the error of guessing
STEADINESS = frozenset({"spread", "area", "near"})  # measures that praise an arm whose settings are equally bad


def near_chance(table: Grid) -> bool:
    """Whether even the best setting's error is above `NEAR_CHANCE` of that of guessing; False where that is not known."""
    return table.guessing is not None and float(settled(table.errors).min()) > NEAR_CHANCE * table.guessing


def telling(table: Grid) -> dict[str, Interval]:
    """An arm's measures by name; of one near chance none that praises it for being steady."""
    left_out = STEADINESS if near_chance(table) else frozenset()
    return {name: found for name, found in measures(table).items() if name not in left_out}
