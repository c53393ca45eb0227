"""Playing and learning in games that JAX can trace: whole loops in one compiled call.

Axes: L loops, U updates of a loop, T steps, N agents.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from abel import norms
from workers.games import learning
from workers.games.episodes import Episodes, no_episodes, with_steps
from workers.games.learning import Agent, Hyper, Learner, Rollout, UpdateColumn

Tree = Any  # a pytree of arrays


class PpoState(NamedTuple):
    """What a checkpoint holds: only arrays."""

    learner: Learner
    place: Tree  # where the agents are in their games, with their observations
    episodes: Episodes


class PpoSums(NamedTuple):
    """What a stretch of a segment measured."""

    columns: UpdateColumn  # f32[updates] each
    rewards: Any  # f32[loops]: mean reward of a step, as it is trained on
    weight_norm_sq: dict[str, jax.Array]  # f32[] by parameter, after the stretch


@partial(jax.jit, static_argnames="agent")
def first_state(agent: Agent, hyper: Hyper, key: jax.Array) -> PpoState:
    """Return the state before the first loop, of a game that JAX can trace."""
    model_key, game_key = jax.random.split(key)
    game: Any = agent.environment
    place = game.reset(game_key, agent.agents)
    return PpoState(learning.first_learner(agent, hyper, model_key), place, no_episodes(agent.agents))


@partial(jax.jit, static_argnames="agent", donate_argnames="state")
def train_loops(
    agent: Agent, state: PpoState, hyper: Hyper, rates_LU: jax.Array, key: jax.Array, first: int
) -> tuple[PpoState, PpoSums]:
    """Play and learn loop by loop, the number of the first loop being `first`; the old state is donated."""

    def loop(state: PpoState, given: tuple[jax.Array, jax.Array]) -> tuple[PpoState, tuple[UpdateColumn, jax.Array]]:
        number, rates = given
        play_key, learn_key = jax.random.split(jax.random.fold_in(key, number))
        place, rollout = _played(agent, state.learner.params, state.place, play_key)
        learner, columns = learning.learned(agent, state.learner, rollout, hyper, rates, learn_key)
        episodes = with_steps(state.episodes, rollout.scores, rollout.over)
        return PpoState(learner, place, episodes), (columns, rollout.rewards.mean())

    state, (columns, rewards) = lax.scan(loop, state, (first + jnp.arange(rates_LU.shape[0]), rates_LU))
    columns = jax.tree.map(lambda leaf: leaf.reshape(-1), columns)
    return state, PpoSums(columns, rewards, norms.per_leaf(state.learner.params))


def _played(agent: Agent, params: Tree, place: Tree, key: jax.Array) -> tuple[Tree, Rollout]:
    """Return where the agents are after a rollout, and the rollout."""
    game: Any = agent.environment

    def step(place: Tree, number: jax.Array) -> tuple[Tree, Rollout]:
        state, observations = place
        act_key, game_key = jax.random.split(jax.random.fold_in(key, number))
        actions, log_probs, values = learning.chosen(agent, params, observations, act_key)
        state, following, given = game.step(game_key, state, actions)
        return (state, following), Rollout(observations, actions, log_probs, values, *given)

    return lax.scan(step, place, jnp.arange(agent.actor_steps + 1))
