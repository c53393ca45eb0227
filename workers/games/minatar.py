"""MinAtar: small games in the manner of Atari's, 10x10 cells, which run on the device (by gymnax)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workers.games.environment import ReturnRange, check_game

if TYPE_CHECKING:
    from workers.games.minatar_games import TracedGame

# Highest: of SpaceInvaders one alien for each shot, of which 1,000 steps allow 200; of the others above what agents reach.
# Random: means over 256 first episodes (`python bench/games.py --returns 12`).
RETURNS: Mapping[str, ReturnRange] = {
    "asterix": ReturnRange(low=0.0, high=100.0, random=0.55),
    "breakout": ReturnRange(low=0.0, high=100.0, random=0.45),
    "space_invaders": ReturnRange(low=0.0, high=200.0, random=4.4),
}


@dataclass(frozen=True, kw_only=True)
class MinAtar:
    """A game of MinAtar (Young and Tian, arXiv 1903.03176), whose episodes end after at most 1,000 steps."""

    kind: Literal["minatar"] = "minatar"
    game: str = "breakout"  # or asterix, space_invaders

    def __post_init__(self) -> None:
        check_game(self.game, RETURNS)

    def load(self, data_dir: Path | None = None) -> TracedGame:
        """Return the game; nothing is read from `data_dir`.

        Raises:
            DataError: gymnax is not installed, or does not import.
        """
        from workers.games import minatar_games  # JAX, which reading a spec does not need

        return minatar_games.minatar_game(self.game, RETURNS[self.game])
