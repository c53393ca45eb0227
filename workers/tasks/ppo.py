"""Proximal policy optimisation in games: its programs, and the task; `workers.games` has the algorithm.

training = Ppo().build(program, load)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workers import plugins
from workers.config import Program, added, require
from workers.contracts import Data, Load, Model

if TYPE_CHECKING:
    from workers.games.training import PpoTraining


@dataclass(frozen=True, kw_only=True)
class PpoProgram(Program):
    """An agent trained to play a game. `batch_size` is that of an update, a minibatch of the steps of a loop."""

    model: Model = field(metadata={"group": plugins.MODELS})  # its outputs are the policy's logits and the value
    data: Data = field(metadata={"group": plugins.DATA})  # the game: minatar or atari
    agents: int = 8  # that play at the same time
    actor_steps: int = 128  # of each agent in a loop, and one more for its value alone
    passes: int = 3  # over the steps of a loop, each in an order of its own
    discount: float = 0.99  # of the rewards that follow, by step
    gae_lambda: float = 0.95  # decay of the advantages' terms
    surrogate_clip: float = 0.1  # bound of a ratio's distance from 1 in the loss; `clip` is the gradient's
    clip_schedule: Literal["rate", "linear", "constant"] = "rate"  # that bound decays as the rate, linearly or not
    clip_epochs: int | None = None  # after which a linear bound is 0; null: at the end of training, or not linear
    value_weight: float = 0.5  # of the value's squared error in the loss
    entropy_weight: float = 0.01  # of the policy's entropy in the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("agents", "actor_steps", "passes"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        for name in ("discount", "gae_lambda"):
            require(0 <= getattr(self, name) <= 1, name, "lie in 0..1", getattr(self, name))
        holds = math.isfinite(self.surrogate_clip) and self.surrogate_clip > 0
        require(holds, "surrogate_clip", "be finite and above 0", self.surrogate_clip)
        for name in ("value_weight", "entropy_weight"):
            weight = getattr(self, name)
            require(math.isfinite(weight) and weight >= 0, name, "be finite and at least 0", weight)
        self._check_clip_schedule()
        self.check_batch(self.batch_size, 1)

    @classmethod
    def with_length(cls, given: Mapping[str, Any], epochs: int) -> Mapping[str, Any]:
        """Return a program's dictionary in which a linear clip ends with training, unless it says otherwise."""
        needed = given.get("clip_schedule") == "linear" and given.get("clip_epochs") is None
        return {**given, "clip_epochs": epochs} if needed else given

    def _check_clip_schedule(self) -> None:
        known, epochs = ("rate", "linear", "constant"), self.clip_epochs
        require(self.clip_schedule in known, "clip_schedule", "be 'rate', 'linear' or 'constant'", self.clip_schedule)
        if self.clip_schedule == "linear":
            holds = epochs is not None and epochs >= 1
            require(holds, "clip_epochs", "be at least 1 where clip_schedule is 'linear'", epochs)
        else:
            require(epochs is None, "clip_epochs", "be null unless clip_schedule is 'linear'", epochs)

    def check_batch(self, batch_size: int, devices: int) -> None:
        """Raise ValueError unless a batch divides the steps of a loop; and if a worker has several devices."""
        if self.agents * self.actor_steps % batch_size:
            whole = f"agents * actor_steps = {self.agents * self.actor_steps}"
            raise ValueError(f"batch_size must divide {whole}, the steps of a loop, got {batch_size}")
        if devices > 1:
            raise ValueError(f"a worker of the task ppo must have one device, got {devices}")


@dataclass(frozen=True, kw_only=True)
class Ppo:
    """Proximal policy optimisation; trials are compared by the mean return of the last 100 episodes."""

    program: ClassVar = PpoProgram
    kind: Literal["ppo"] = "ppo"
    loops: int = 16  # of playing and learning in a segment, which specs and reports call an epoch
    save_every_loops: int | None = added(None)  # a segment can be left after so many; null: never, emulated games 20

    def __post_init__(self) -> None:
        require(self.loops >= 1, "loops", "be at least 1", self.loops)
        holds = self.save_every_loops is None or self.save_every_loops >= 1
        require(holds, "save_every_loops", "be at least 1, or null", self.save_every_loops)

    def build(self, program: PpoProgram, load: Load) -> PpoTraining:
        """Bind the task to a program and its game."""
        from workers.games.training import ppo_training  # JAX, which reading a spec does not need

        return ppo_training(self, program, load)
