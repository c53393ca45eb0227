"""The fault plan: which process dies when, drawn from one seed: a run can be repeated."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from victims import Victim


class Death(StrEnum):
    """How the life of a command ends: by SIGKILL, but when?"""

    EARLY = "in its first 10 s"
    IN_COMMIT = "inside a ledger transaction"
    LATE = "after its processes' deaths"
    NONE = "not at all"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """The loss of one process, some seconds after a sign of life; ``stop`` halts it for longer than a lease instead.

    A worker ``at_work`` trains at that time; others may still be starting.
    """

    victim: Victim
    delay: float
    at_work: bool = False
    stop: bool = False

    def __str__(self) -> str:
        return f"{self.victim}{' stopped' * self.stop}"


@dataclass(frozen=True, kw_only=True)
class Life:
    """One start of ``abel run``: what is killed in it, and how it ends.

    ``after`` is seconds for an early or late death, and the number of commits before the one to die in.
    """

    kills: tuple[Kill, ...]
    death: Death
    after: float
    statement: int


def plan(seed: int, workers: int, commands: int, cluster: int) -> list[Life]:
    """So many deaths of workers, of commands, and of each of driver, raylet and GCS.

    A fifth of the commands dies at the start and a fifth inside a transaction.
    """
    draw = random.Random(seed)
    special = max(1, commands // 5)
    deaths = [Death.EARLY] * special + [Death.IN_COMMIT] * special + [Death.LATE] * (commands - 2 * special)
    draw.shuffle(deaths)
    late = [*(number for number, death in enumerate(deaths) if death is Death.LATE), len(deaths)]
    victims = [Victim.WORKER] * workers + [Victim.DRIVER, Victim.RAYLET, Victim.GCS] * cluster
    draw.shuffle(victims)
    shares: dict[int, list[Victim]] = {}
    for number, victim in enumerate(victims):
        shares.setdefault(late[number % len(late)], []).append(victim)
    return list(_lives([*deaths, Death.NONE], shares, draw))


def mixed(seed: int, kills: int, victims: Sequence[Victim]) -> list[Kill]:
    """So many losses of any process in random order, each kind about as often; one in ten a stop past the lease."""
    draw = random.Random(seed)
    stops = max(2, kills // 10)
    chosen = [victims[number % len(victims)] for number in range(kills - stops)]
    losses = [Kill(victim=victim, delay=draw.uniform(0.0, 2.0), at_work=draw.random() < 0.75) for victim in chosen]
    halted = (Victim.DRIVER, Victim.COMMAND)
    losses += [Kill(victim=halted[number % 2], delay=draw.uniform(0.0, 2.0), stop=True) for number in range(stops)]
    draw.shuffle(losses)
    return losses


def _lives(deaths: list[Death], shares: dict[int, list[Victim]], draw: random.Random) -> Iterator[Life]:
    for number, death in enumerate(deaths):
        yield Life(
            kills=tuple(
                Kill(victim=victim, delay=draw.uniform(0.0, 1.5), at_work=draw.random() < 0.75)
                for victim in shares.get(number, ())
            ),
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
