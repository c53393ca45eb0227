"""Emulated games that go on from a checkpoint across the end of an episode."""

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from workers.checkpoints import open_checkpoints
from workers.games.atari import Atari
from workers.games.emulation import Emulation
from workers.models.mlp import Mlp
from workers.optimizers.adam import Adam
from workers.tasks.ppo import Ppo, PpoProgram

# Episodes of Qbert take some 300 actions; a loop of two can end inside one, at its end or across it.
PROGRAM = PpoProgram(
    task=Ppo(loops=1),
    model=Mlp(width=1, layers=1),
    data=Atari(game="qbert"),
    optimizer=Adam(),
    batch_size=2,
    agents=2,
    actor_steps=1,
    passes=1,
)
PAST = 3  # loops that are played after a checkpoint
MOST = 3000  # loops


def advanced(training: Any, state: Any, number: int) -> Any:
    rates = np.full(1, 1e-3, np.float32)
    return training.advance(state, training.hyper, rates, jax.random.key(number), PROGRAM.batch_size, (0, 1))[0]


@pytest.fixture(scope="module")
def training() -> Any:
    return PROGRAM.task.build(PROGRAM, lambda data: data.load(None))


@pytest.fixture(scope="module")
def played(training: Any) -> dict[str, tuple[int, list[Any]]]:
    """States after consecutive loops, the first before or at the end of an episode, and the number of the next loop."""
    state = training.init(jax.random.key(0))
    last, found = deque([jax.device_get(state)], maxlen=PAST + 1), {}
    for number in range(MOST):
        state = advanced(training, state, number)
        last.append(jax.device_get(state))
        first, second = last[0].place.lengths, last[1].place.lengths
        if number >= PAST:
            lost, begun = (second < first).any(), (first == 0).any()
            where = [name for name, holds in (("before an end", lost), ("after a reset", begun)) if holds]
            for name in where:
                found.setdefault(name, (number + 1 - PAST, list(last)))
        if len(found) == 2:
            return found
    raise AssertionError(f"no episode ended at and inside a loop within {MOST} loops")


@pytest.mark.parametrize("moment", ["before an end", "after a reset"])
def test_a_game_goes_on_past_the_end_of_an_episode_with_the_same_bits(
    training: Any, played: dict[str, tuple[int, list[Any]]], tmp_path: Path, moment: str
) -> None:
    number, (first, *following) = played[moment]
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save("left", 1, first)
    fresh = replace(training, emulation=Emulation(training.environment, PROGRAM.agents))
    state = checkpoints.restore("left", like=first)
    for later, expected in enumerate(following):
        state = advanced(fresh, state, number + later)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)
    assert following[-1].episodes.ended > 0
