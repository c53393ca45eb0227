"""Training of the task ppo: a segment is so many loops of playing and learning.

training = ppo_training(task, program, load)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax
import numpy as np

from abel import norms
from workers.contracts import Load, Metric, Segment
from workers.games import rollouts
from workers.games.emulation import Emulation
from workers.games.emulator import EmulatedGame
from workers.games.environment import Environment, ReturnRange
from workers.games.episodes import LAST, Episodes, mean_return
from workers.games.learning import Agent
from workers.games.rollouts import PpoState, PpoSums
from workers.tasks.numbers import as_arrays, hyper_numbers

if TYPE_CHECKING:
    from workers.tasks.ppo import Ppo, PpoProgram

_SAVE_EVERY_LOOPS = 20  # in an emulator: minutes on one machine


def ppo_training(task: Ppo, program: PpoProgram, load: Load) -> PpoTraining:
    """Return the training of a program in its game.

    Raises:
        ValueError: the program's parts do not fit each other, or its data are not a game.
    """
    program.check_batch(program.batch_size, jax.device_count())
    game = load(program.data)
    if not isinstance(game, Environment):
        raise ValueError(f"data must be a game, such as minatar or atari, for the task ppo, got {program.data.kind!r}")
    agent = Agent(
        environment=game,
        model=program.model,
        optimizer=program.optimizer.static(),
        agents=program.agents,
        actor_steps=program.actor_steps,
        passes=program.passes,
        clip_schedule=program.clip_schedule,
        clip_loops=(program.clip_epochs or 0) * task.loops,
        l2_on=program.l2_on,
    )
    numbers = hyper_numbers(
        program,
        discount=program.discount,
        gae_lambda=program.gae_lambda,
        surrogate_clip=program.surrogate_clip,
        value_weight=program.value_weight,
        entropy_weight=program.entropy_weight,
    )
    emulation = Emulation(game, program.agents) if isinstance(game, EmulatedGame) else None
    return PpoTraining(
        agent=agent,
        loops=task.loops,
        numbers=numbers,
        save_every_loops=task.save_every_loops or (_SAVE_EVERY_LOOPS if emulation else None),
        emulation=emulation,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PpoTraining:
    """The compiled functions of one program in one game."""

    agent: Agent
    loops: int
    numbers: dict[str, float]
    save_every_loops: int | None
    emulation: Emulation | None  # None for a game that JAX can trace

    @property
    def environment(self) -> Environment:
        """The game."""
        return self.agent.environment

    @property
    def metric(self) -> Metric:
        """The mean return of the last episodes; a diverged trial counts as one that acts at random."""
        own: ReturnRange = self.environment.returns
        label = f"mean return of {LAST} episodes"
        return Metric(
            name="mean_return",
            label=label,
            higher_is_better=True,
            bounds=(own.low, own.high),
            worst=own.random,
            bounds_of=self.environment.name,
        )

    @property
    def segment(self) -> Segment:
        """So many loops; each step of each agent is an example once in every pass."""
        return Segment(examples=self.loops * self.agent.agents * self.agent.actor_steps * self.agent.passes)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the game: its name, the version of its package, a ROM's bytes."""
        return self.environment.digest

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none), the numbers of PPO and the optimiser's, f32[] each."""
        return as_arrays(self.numbers)

    def stretches(self, steps: int) -> list[tuple[int, int]]:
        """Return the parts of a segment after which it can be left: all of it, or `save_every_loops` at a time."""
        every = (self.save_every_loops or self.loops) * (steps // self.loops)
        return [(first, min(first + every, steps)) for first in range(0, steps, every)]

    def init(self, key: jax.Array) -> PpoState:
        """Return the state before the first segment."""
        if self.emulation is not None:
            return self.emulation.first_state(self.agent, self.hyper, key)
        state: PpoState = rollouts.first_state(self.agent, self.hyper, key)
        return state

    def advance(
        self,
        state: PpoState,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[updates]: of the whole segment
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[PpoState, PpoSums]:
        """Play and learn for a stretch of a segment; `state` is consumed."""
        updates = self.agent.agents * self.agent.actor_steps // batch_size * self.agent.passes
        if len(learning_rates) != updates * self.loops:
            rule = f"a segment of {self.loops} loops must have {updates} updates a loop at batch size {batch_size}"
            raise ValueError(f"{rule}, got {len(learning_rates)} rates")
        first, last = (end // updates for end in stretch)
        rates_LU = np.asarray(learning_rates, np.float32).reshape(self.loops, updates)[first:last]
        if self.emulation is not None:
            return self.emulation.train(self.agent, state, dict(hyper), rates_LU, key, first)
        trained: tuple[PpoState, PpoSums] = rollouts.train_loops(self.agent, state, dict(hyper), rates_LU, key, first)
        return trained

    def evaluate(self, state: PpoState, key: jax.Array | None = None) -> Episodes:
        """Return the returns of the episodes played in training; nothing more is played."""
        return state.episodes

    def metrics(self, train_sums: Sequence[PpoSums], test_sums: Episodes) -> dict[str, float]:
        """Return losses and gradient terms (means over updates, in float64), norms, and the mean return.

        Until an episode has ended the mean return is that of random actions. `mean_return` lies within the metric's bounds;
        `mean_return_unbounded` is as the game counts.
        """
        parts, episodes = jax.device_get((list(train_sums), test_sums))
        columns = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.columns for part in parts))
        own, last = self.environment.returns, parts[-1].weight_norm_sq
        seen = mean_return(episodes, own.random)
        return {
            "train_loss": _mean(columns.loss),
            **{name: _mean(values) for name, values in columns.terms._asdict().items()},
            "mean_return": min(max(seen, own.low), own.high),
            "mean_return_unbounded": seen,
            "episodes": float(episodes.ended),
            "reward": _mean(np.concatenate([part.rewards for part in parts])),
            "surrogate_clip": float(columns.surrogate_clip[-1]),
            "grad_norm_sq": _mean(columns.grad_norm_sq),
            "grad_dot_weight": _mean(columns.grad_dot_weight),
            "weight_norm_sq": norms.total(last),
            **{f"weight_norm_sq/{name}": float(value) for name, value in last.items()},
        }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
