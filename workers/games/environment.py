"""What a game gives to the task that trains in it: its fixed properties, and how often an agent scores by chance."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from workers.config import require
from workers.data import DataError
from workers.data.libraries import import_failure


@dataclass(frozen=True, kw_only=True)
class ReturnRange:
    """Range of an episode's return, in points of the game.

    Args:
        low, high: lowest and highest return; measures of robustness are in percent of this range, and a return outside counts
            as the nearer end.
        random: mean return of uniformly random actions, which a diverged trial counts as.
    """

    low: float
    high: float
    random: float

    def __post_init__(self) -> None:
        holds = math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high
        require(holds, "low and high", "be finite, the first smaller", (self.low, self.high))
        require(self.low <= self.random <= self.high, "random", f"lie in {self.low:g}..{self.high:g}", self.random)


@dataclass(frozen=True, kw_only=True, eq=False)
class Environment:
    """A game, as loaded from its source.

    Args:
        name: of source and game, such as "minatar: breakout".
        shape: height, width and channels of an observation.
        actions: number of actions.
        scale: observations are divided by it before the network sees them.
        returns: range of an episode's return.
        digest: sha256 (hex) of what determines the game: its name, the version of its package, a ROM's bytes.
    """

    name: str
    shape: tuple[int, int, int]
    actions: int
    scale: float
    returns: ReturnRange
    digest: str

    @property
    def classes(self) -> NoReturn:
        """Raise `DataError`: a task that asks for classes trains on labelled data."""
        raise DataError(
            f"data {self.name} is a game, which only the task ppo trains in; image classification needs images"
        )


def check_game(game: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest name, unless a game is one of those known."""
    known = sorted(known)
    near = difflib.get_close_matches(game, known, n=1)
    rule = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    if game not in known:
        raise ValueError(f"game must be the name of a game in lower case, got {game!r}; {rule}")


def extra_failure(name: str, package: str, error: ImportError) -> DataError:
    """Return the error for a source whose package is not installed, or does not import."""
    return import_failure(name, package, error, "'abel-sweeps[games]'")
