"""The fault plan: which process dies when, drawn from one seed, so that a run can be repeated."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Death(StrEnum):
    """How the life of a driver ends: by SIGKILL, but when?"""

    EARLY = "in its first 10 s"
    IN_COMMIT = "inside a ledger transaction"
    LATE = "after its workers' deaths"
    NONE = "not at all"


@dataclass(frozen=True, kw_only=True)
class Life:
    """One start of ``abel run``: how many workers are killed in it, how long after a sign of life, and how it ends.

    A worker of those that ``at_work`` names trains at that time; the others may still be starting. ``after`` is seconds for an
    early or late death, and the number of commits before the one to die in.
    """

    workers: tuple[float, ...]
    at_work: tuple[bool, ...]
    death: Death
    after: float
    statement: int


def plan(seed: int, workers: int, drivers: int) -> list[Life]:
    """So many deaths of workers and of drivers; a fifth of the drivers' at the start and a fifth inside a transaction."""
    draw = random.Random(seed)
    special = max(1, drivers // 5)
    deaths = [Death.EARLY] * special + [Death.IN_COMMIT] * special + [Death.LATE] * (drivers - 2 * special)
    draw.shuffle(deaths)
    late = [*(number for number, death in enumerate(deaths) if death is Death.LATE), len(deaths)]
    shares = [late[number % len(late)] for number in range(workers)]
    return list(_lives([*deaths, Death.NONE], shares, draw))


def _lives(deaths: list[Death], shares: list[int], draw: random.Random) -> Iterator[Life]:
    for number, death in enumerate(deaths):
        count = shares.count(number)
        yield Life(
            workers=tuple(draw.uniform(0.0, 1.5) for _ in range(count)),
            at_work=tuple(draw.random() < 0.75 for _ in range(count)),
            death=death,
            after=_after(death, draw),
            statement=draw.randint(1, 6),
        )


def _after(death: Death, draw: random.Random) -> float:
    match death:
        case Death.EARLY:
            return draw.uniform(0.5, 10.0)
        case Death.IN_COMMIT:
            return float(draw.randint(2, 12))
        case _:
            return draw.uniform(0.0, 3.0)
