"""One epoch of a classification on a small data set in memory."""

from typing import Any

import jax
import numpy as np

from workers.data.digits import DigitPairs
from workers.tasks.classify import ClassifyProgram

SMALL = DigitPairs(train=70, test=30)
STEPS = 4
DATASET = SMALL.load(None)


def build(program: ClassifyProgram) -> Any:
    """The program's training on the small set."""
    return program.task.build(program, lambda data: DATASET)


def epoch(program: ClassifyProgram) -> tuple[Any, Any, Any]:
    """The training, the state after an epoch of batches of 16, and the epoch's sums."""
    training = build(program)
    rates = np.full(STEPS, 0.05, np.float32)
    state = training.init(jax.random.key(0))
    return training, *training.advance(state, training.hyper, rates, jax.random.key(7), 16, (0, STEPS))
