"""Playing in an emulator, outside JAX, and learning from what was played: the counterpart of `rollouts`.

Axes: L loops, U updates of a loop, T steps, N agents.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers.games import learning
from workers.games.emulator import LONGEST, EmulatedGame, Emulators, GamePlace
from workers.games.episodes import Episodes, no_episodes, with_steps
from workers.games.learning import Agent, Hyper, Learner, Rollout, UpdateColumn
from workers.games.rollouts import PpoState, PpoSums
from workers.tracing import is_traced

Tree = Any  # a pytree of arrays


class Emulation:
    """The live emulators of one training. They follow the state that is trained, whichever that is."""

    def __init__(self, game: EmulatedGame, agents: int) -> None:
        self._emulators: Emulators = game.emulators(agents)
        self._agents = agents

    def first_state(self, agent: Agent, hyper: Hyper, key: jax.Array) -> PpoState:
        """Return the state before the first loop; in a trace, which asks for shapes alone, no game begins."""
        learner = _first_learner(agent, hyper, key)
        place = _blank(agent) if is_traced(key) else _on_device(self._emulators.begin())
        return PpoState(learner, place, no_episodes(self._agents))

    def train(
        self, agent: Agent, state: PpoState, hyper: Hyper, rates_LU: np.ndarray, key: jax.Array, first: int
    ) -> tuple[PpoState, PpoSums]:
        """Play and learn loop by loop, as `rollouts.train_loops` does; in a trace nothing is played."""
        if is_traced(state):
            return _traced(agent, state, hyper, rates_LU, key)
        self._emulators.move_to(GamePlace(*jax.device_get(tuple(state.place))))
        learner, episodes, found, rewards = state.learner, state.episodes, [], []
        for number, rates in enumerate(rates_LU, start=first):
            play_key, learn_key = jax.random.split(jax.random.fold_in(key, number))
            rollout = self._played(agent, learner.params, play_key)
            learner, episodes, columns, reward = _learned(agent, learner, episodes, rollout, hyper, rates, learn_key)
            found.append(jax.device_get(columns))
            rewards.append(float(reward))
        columns = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
        sums = PpoSums(columns, np.array(rewards, np.float32), _norms(learner.params))
        return PpoState(learner, _on_device(self._emulators.place()), episodes), sums

    def _played(self, agent: Agent, params: Tree, key: jax.Array) -> Rollout:
        steps = []
        for number in range(agent.actor_steps + 1):
            observations = self._emulators.observe()
            actions, log_probs, values = jax.device_get(_chosen(agent, params, observations, key, number))
            steps.append((observations, actions, log_probs, values, *self._emulators.step(actions)))
        whole: list[Any] = [np.stack(parts) for parts in zip(*steps, strict=True)]
        return Rollout(*whole)


def _traced(
    agent: Agent, state: PpoState, hyper: Hyper, rates_LU: np.ndarray, key: jax.Array
) -> tuple[PpoState, PpoSums]:
    """Return the shapes of all loops, from one that learns from blank screens."""
    learner, _, columns, _ = _learned(
        agent, state.learner, state.episodes, _blank_rollout(agent), hyper, rates_LU[0], key
    )
    whole = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], rates_LU.size), columns)
    return state._replace(learner=learner), PpoSums(whole, jnp.zeros(len(rates_LU)), norms.per_leaf(learner.params))


@partial(jax.jit, static_argnames="agent")
def _first_learner(agent: Agent, hyper: Hyper, key: jax.Array) -> Learner:
    return learning.first_learner(agent, hyper, key)


@partial(jax.jit, static_argnames="agent")
def _chosen(agent: Agent, params: Tree, observations: jax.Array, key: jax.Array, number: int) -> tuple[jax.Array, ...]:
    return learning.chosen(agent, params, observations, jax.random.fold_in(key, number))


@partial(jax.jit, static_argnames="agent", donate_argnames=("learner", "episodes"))
def _learned(
    agent: Agent,
    learner: Learner,
    episodes: Episodes,
    rollout: Rollout,
    hyper: Hyper,
    rates: jax.Array,
    key: jax.Array,
) -> tuple[Learner, Episodes, UpdateColumn, jax.Array]:
    learner, columns = learning.learned(agent, learner, rollout, hyper, rates, key)
    return learner, with_steps(episodes, rollout.scores, rollout.over), columns, rollout.rewards.mean()


@jax.jit
def _norms(params: Tree) -> dict[str, jax.Array]:
    return norms.per_leaf(params)


def _on_device(place: GamePlace) -> GamePlace:
    return GamePlace(*map(jnp.asarray, place))


def _blank(agent: Agent) -> GamePlace:
    screens = jnp.zeros((agent.agents, *agent.environment.shape), jnp.uint8)
    lengths = jnp.zeros(agent.agents, jnp.int32)
    return GamePlace(screens, jnp.zeros((agent.agents, LONGEST), jnp.uint8), lengths)


def _blank_rollout(agent: Agent) -> Rollout:
    shape = (agent.actor_steps + 1, agent.agents)
    numbers = jnp.zeros(shape, jnp.float32)
    screens = jnp.zeros((*shape, *agent.environment.shape), jnp.uint8)
    return Rollout(screens, numbers.astype(jnp.int32), numbers, numbers, numbers, numbers, numbers > 0)
