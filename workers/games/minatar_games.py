"""MinAtar's games as pure functions of arrays, many agents at a time; the only door to gymnax.

Axes: N agents, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from workers.games.environment import Environment, ReturnRange, extra_failure

_CLASSES = {
    "asterix": "MinAsterix",
    "breakout": "MinBreakout",
    "space_invaders": "MinSpaceInvaders",
}

Arrays = dict[str, jax.Array]


class Played(NamedTuple):
    """What a step of all agents gave."""

    rewards: jax.Array  # f32[N]: trained on
    scores: jax.Array  # f32[N]: as the game counts
    over: jax.Array  # bool[N]: the episode ended, and the next has begun


@dataclass(frozen=True, kw_only=True, eq=False)
class TracedGame(Environment):
    """A game that JAX can trace. The state of its agents is a dictionary of arrays, the agents along the first axis."""

    rules: Any  # gymnax's environment

    def reset(self, key: jax.Array, agents: int) -> tuple[Arrays, jax.Array]:
        """Return the state of agents whose episodes begin, and their observations u8[N, H, W, C]."""
        seen, state = jax.vmap(self.rules.reset, (0, None))(jax.random.split(key, agents), self._settings)
        return _arrays(state), _bytes(seen)

    def step(self, key: jax.Array, state: Arrays, actions_N: jax.Array) -> tuple[Arrays, jax.Array, Played]:
        """Return the state after a step, the observations, and what it gave; an agent whose episode ends begins another."""
        keys, played = jax.random.split(key, actions_N.shape[0]), jax.vmap(self.rules.step, (0, 0, 0, None))
        seen, after, rewards, ended, cut, _ = played(keys, self._like(state), actions_N, self._settings)
        given = Played(rewards.astype(jnp.float32), rewards.astype(jnp.float32), jnp.logical_or(ended, cut))
        return {name: one.astype(state[name].dtype) for name, one in _arrays(after).items()}, _bytes(seen), given

    @property
    def _settings(self) -> Any:
        return self.rules.default_params

    def _like(self, state: Arrays) -> Any:
        """Return the state as gymnax's own class."""
        _, shaped = jax.eval_shape(self.rules.reset, jax.random.key(0), self._settings)
        return type(shaped)(**state)


def minatar_game(name: str, returns: ReturnRange) -> TracedGame:
    """Return a game by name.

    Raises:
        DataError: gymnax is not installed, or does not import.
    """
    try:
        from gymnax.environments import minatar
    except ImportError as error:
        raise extra_failure(f"data minatar: {name}", "gymnax", error) from error
    rules = getattr(minatar, _CLASSES[name])()
    version = importlib.metadata.version("gymnax")
    digest = hashlib.sha256(f"minatar {name}, gymnax {version}".encode()).hexdigest()
    height, width, channels = rules.obs_shape
    return TracedGame(
        name=f"minatar: {name}",
        shape=(height, width, channels),
        actions=rules.num_actions,
        scale=1.0,
        returns=returns,
        digest=digest,
        rules=rules,
    )


def _arrays(state: Any) -> Arrays:
    """Return the fields of a state; without weak types, so that a restored state is compiled for as a fresh one."""
    given = {item.name: jnp.asarray(getattr(state, item.name)) for item in fields(state)}
    return {name: jax.lax.convert_element_type(one, one.dtype) for name, one in given.items()}


def _bytes(observations: jax.Array) -> jax.Array:
    return observations.astype(jnp.uint8)  # cells are 0 or 1
