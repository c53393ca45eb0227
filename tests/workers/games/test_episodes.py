"""The returns of the last hundred episodes, against lists."""

import jax
import jax.numpy as jnp
import numpy as np

from workers.games.episodes import LAST, mean_return, no_episodes, with_steps


def test_returns_are_those_of_the_last_hundred_episodes() -> None:
    random = np.random.default_rng(0)
    episodes, running, ended = no_episodes(3), np.zeros(3), []
    for _ in range(3):
        scores, over = random.integers(0, 5, (40, 3)).astype(np.float32), random.uniform(size=(40, 3)) < 0.5
        for points, ends in zip(scores, over, strict=True):
            running += points
            ended += running[ends].tolist()
            running[ends] = 0
        episodes = with_steps(episodes, jnp.asarray(scores), jnp.asarray(over))
        found = jax.device_get(episodes)
        assert int(found.ended) == len(ended)
        np.testing.assert_array_equal(found.running, running)
        np.testing.assert_allclose(mean_return(found, -1.0), np.mean(ended[-LAST:]), rtol=1e-6)
    assert len(ended) > LAST


def test_before_an_episode_ends_the_mean_is_what_one_asks_for() -> None:
    assert mean_return(jax.device_get(no_episodes(2)), 7.5) == 7.5
