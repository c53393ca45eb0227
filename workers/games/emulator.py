"""Atari's games in their emulator; the only door to ale-py.

As in Flax's PPO example: an action is held for four frames; the screen is the maximum of the last two, in grey, 84x84; the
reward is the sum over the frames of the sign of the points; four screens are stacked, at the beginning of an episode four times
the first. There are no random actions at the beginning, lost lives do not end an episode, and actions are never repeated by
chance. Episodes end after 27,000 actions.

An emulator's saved state does not restore a game exactly, so a position in a game is the actions of its episode (`GamePlace`),
which are played again from its beginning. There the saved state restores the random generator; `reset_game` does the rest. All
episodes of a game begin alike. Axes: N agents, H height, W width.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from workers.games.environment import Environment, ReturnRange, check_game, extra_failure

SIDE = 84  # pixels
STACK = 4  # screens in an observation
HELD = 4  # frames of an action
LONGEST = 27_000  # actions of an episode: half an hour of play


class GamePlace(NamedTuple):
    """Where the agents are in their games: all that a checkpoint needs to go on at the very same place."""

    observations: Any  # u8[N, 84, 84, 4]
    actions: Any  # u8[N, 27000]: of the episodes so far, zeros after them
    lengths: Any  # i32[N]: number of these actions


class StepOutcome(NamedTuple):
    """What a step of all agents gave; an agent whose episode ended has begun another."""

    rewards: np.ndarray  # f32[N]: sum of signs, trained on
    scores: np.ndarray  # f32[N]: as the game counts
    over: np.ndarray  # bool[N]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmulatedGame(Environment):
    """A game that runs in the emulator, outside JAX."""

    rom: Path

    def emulators(self, agents: int) -> Emulators:
        """Return emulators for so many agents, not at any place yet."""
        return Emulators([_Emulator(self.rom) for _ in range(agents)])


class Emulators:
    """An emulator for each agent."""

    def __init__(self, ones: Sequence[_Emulator]) -> None:
        self._ones = ones
        self._observations = np.zeros((len(ones), SIDE, SIDE, STACK), np.uint8)

    def begin(self) -> GamePlace:
        """Begin an episode of every agent."""
        for agent in range(len(self._ones)):
            self._begin(agent)
        return self.place()

    def move_to(self, place: GamePlace) -> None:
        """Go to a place, by playing its episodes again if the emulators are not there."""
        self._observations = np.array(place.observations)
        actions, lengths = np.asarray(place.actions), np.asarray(place.lengths)
        for one, played, length in zip(self._ones, actions, lengths.tolist(), strict=True):
            one.move_to(played[:length].tobytes())

    def place(self) -> GamePlace:
        """Return where the agents are."""
        played = [np.frombuffer(bytes(one.actions), np.uint8) for one in self._ones]
        actions = np.stack([np.pad(one, (0, LONGEST - len(one))) for one in played])
        return GamePlace(self._observations.copy(), actions, np.array([len(one) for one in played], np.int32))

    def observe(self) -> np.ndarray:
        """Return the agents' observations, u8[N, 84, 84, 4], the newest screen last."""
        return self._observations.copy()

    def step(self, actions_N: np.ndarray) -> StepOutcome:
        """Hold an action of each agent, i32[N], for four frames."""
        given = []
        for agent, (one, action) in enumerate(zip(self._ones, actions_N.tolist(), strict=True)):
            given.append(one.act(action))
            if given[-1][2]:
                self._begin(agent)
            else:
                self._observations[agent, :, :, :-1] = self._observations[agent, :, :, 1:]
                self._observations[agent, :, :, -1] = one.screen()
        rewards, scores, over = zip(*given, strict=True)
        return StepOutcome(np.array(rewards, np.float32), np.array(scores, np.float32), np.array(over, bool))

    def _begin(self, agent: int) -> None:
        self._ones[agent].begin()
        self._observations[agent] = self._ones[agent].screen()[:, :, None]


@dataclass(eq=False)
class _Emulator:
    """One emulator: the actions of an episode so far, and its last two frames."""

    rom: Path
    actions: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._ale = _ale_py(self.rom.stem).ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._frames: list[np.ndarray] = []
        self._loaded: Any = None  # the emulator's state with its ROM loaded, which takes as long as hundreds of frames

    def begin(self) -> None:
        """Begin an episode, with nothing left of the one before."""
        if self._loaded is None:
            self._ale.loadROM(self.rom)
            self._legal = self._ale.getMinimalActionSet()
            self._loaded = self._ale.cloneState(include_rng=True)
        # Some games begin at random. A reset goes on with the generator's numbers, so they begin again too.
        self._ale.restoreState(self._loaded)
        self._ale.reset_game()
        self.actions = bytearray()
        self._frames = [self._ale.getScreenGrayscale()]

    def move_to(self, actions: bytes) -> None:
        """Go to the place after these actions of an episode."""
        if self._loaded is not None and actions == bytes(self.actions):
            return
        self.begin()
        for action in actions:
            self.act(action)

    def act(self, action: int) -> tuple[float, float, bool]:
        """Hold an action; return reward, points and whether the episode is over."""
        reward, score = 0.0, 0.0
        self._frames = []
        for frame in range(HELD):
            points = self._ale.act(self._legal[action])
            reward, score = reward + float(np.sign(points)), score + points
            if self._ale.game_over():
                break
            if frame >= HELD - 2:
                self._frames.append(self._ale.getScreenGrayscale())
        self.actions.append(action)
        return reward, score, bool(self._ale.game_over()) or len(self.actions) == LONGEST

    def screen(self) -> np.ndarray:
        """Return the screen as agents see it, u8[84, 84]."""
        brightest = np.max(np.stack(self._frames), axis=0)
        return np.asarray(cv2.resize(brightest, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def atari_game(name: str, returns: ReturnRange | None) -> EmulatedGame:
    """Return a game by name.

    Raises:
        DataError: ale-py is not installed, or does not import.
        ValueError: ale-py cannot play such a game, or its returns are None.
    """
    ale_py = _ale_py(name)
    from ale_py import roms

    folder = Path(roms.__file__).parent
    # Loading one that the emulator does not support ends the process.
    playable = [one for one in roms.get_all_rom_ids() if ale_py.ALEInterface.isSupportedROM(folder / f"{one}.bin")]
    check_game(name, playable)
    if returns is None:
        rule = "returns must be given for a game whose returns are not known here: lowest, highest, of random actions"
        raise ValueError(f"{rule}; got null for {name!r}")
    rom = folder / f"{name}.bin"
    content = hashlib.sha256(rom.read_bytes()).hexdigest()
    version = importlib.metadata.version("ale-py")
    facts = f"atari {name}, ale-py {version}, ROM {content}, OpenCV {cv2.__version__} {cv2.getCPUFeaturesLine()}"
    emulator = ale_py.ALEInterface()
    emulator.loadROM(rom)
    return EmulatedGame(
        name=f"atari: {name}",
        shape=(SIDE, SIDE, STACK),
        actions=len(emulator.getMinimalActionSet()),
        scale=255.0,
        returns=returns,
        digest=hashlib.sha256(facts.encode()).hexdigest(),
        rom=rom,
    )


def _ale_py(name: str) -> Any:
    try:
        import ale_py
    except ImportError as error:
        raise extra_failure(f"data atari: {name}", "ale-py", error) from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else it prints what it loads
    return ale_py
