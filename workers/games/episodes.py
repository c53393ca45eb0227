"""Returns of the episodes that agents play: those on their way, and the last hundred that ended.

Axes: T steps, N agents.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAST = 100  # episodes whose mean return is reported


class Episodes(NamedTuple):
    """The returns, as the game counts."""

    running: jax.Array  # f32[N]: of the episodes on their way
    last: jax.Array  # f32[100]: of those that ended last, in any order; 0 where none has ended yet
    ended: jax.Array  # i32[]: how many have ended


def no_episodes(agents: int) -> Episodes:
    """Return the returns before the first step."""
    return Episodes(jnp.zeros(agents, jnp.float32), jnp.zeros(LAST, jnp.float32), jnp.int32(0))


def with_steps(episodes: Episodes, scores: jax.Array, over: jax.Array) -> Episodes:
    """Return the returns after steps with these scores f32[T, N] and ends of episodes bool[T, N]; agents count in order."""

    def step(now: Episodes, given: tuple[jax.Array, jax.Array]) -> tuple[Episodes, None]:
        scores_N, over_N = given
        running = now.running + scores_N
        places = (now.ended + jnp.cumsum(over_N) - 1) % LAST
        last = now.last.at[jnp.where(over_N, places, LAST)].set(running, mode="drop")
        return Episodes(jnp.where(over_N, 0.0, running), last, now.ended + over_N.sum()), None

    after, _ = lax.scan(step, episodes, (scores, over))
    return after


def mean_return(episodes: Episodes, nothing: float) -> float:
    """Return the mean of the last returns, arrays of numpy; `nothing` where no episode has ended."""
    count = min(int(episodes.ended), LAST)
    return float(np.mean(episodes.last[:count], dtype=np.float64)) if count else nothing
