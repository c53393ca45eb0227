"""Atari's games, in the emulator of ale-py, prepared as Flax's PPO example prepares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workers.config import require
from workers.games.environment import ReturnRange

if TYPE_CHECKING:
    from workers.games.emulator import EmulatedGame

# Pong ends at 21 points. The other upper ends are ours, above the returns in the paper. Random: means over twelve
# episodes (`python bench/games.py --returns 12`; standard errors 0.2, 29 and 19).
RETURNS: Mapping[str, ReturnRange] = {
    "pong": ReturnRange(low=-21.0, high=21.0, random=-20.4),
    "qbert": ReturnRange(low=0.0, high=50_000.0, random=108.0),
    "seaquest": ReturnRange(low=0.0, high=10_000.0, random=53.0),
}


@dataclass(frozen=True, kw_only=True)
class Atari:
    """A game of the Atari 2600: grey 84x84 screens, four at a time, an action held for four frames of the emulator."""

    kind: Literal["atari"] = "atari"
    game: str = "pong"  # the name of its ROM in ale-py, such as seaquest, qbert, space_invaders
    returns: tuple[float, ...] | None = None  # lowest, highest, of random actions; null where they are known here

    def __post_init__(self) -> None:
        holds = bool(self.game) and all(one.islower() or one.isdigit() or one == "_" for one in self.game)
        require(holds, "game", "be a name in lower case", self.game)
        if self.returns is not None:
            require(len(self.returns) == 3, "returns", "be three numbers: lowest, highest, random", self.returns)
            self._range()

    def load(self, data_dir: Path | None = None) -> EmulatedGame:
        """Return the game; nothing is read from `data_dir`.

        Raises:
            DataError: ale-py is not installed, or does not import.
            ValueError: ale-py cannot play such a game, or its returns are neither known nor given.
        """
        from workers.games import emulator  # ale-py, an optional extra

        return emulator.atari_game(self.game, self._range())

    def _range(self) -> ReturnRange | None:
        if self.returns is None:
            return RETURNS.get(self.game)
        low, high, random = self.returns
        return ReturnRange(low=low, high=high, random=random)
