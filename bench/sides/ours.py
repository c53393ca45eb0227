"""A round of our training: a compiled epoch, as it is used, with shuffle, augmentation, statistics and norms."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from sides.workloads import Workload, noise


def training_round(workload: Workload) -> Callable[[], None]:
    """Return a function that trains the steps of a round, and waits for them."""
    program, dataset = workload.program, noise(workload)
    training = program.task.build(program, lambda data: dataset)
    key, rates = jax.random.key(0), np.full(workload.steps, 1e-3, np.float32)
    state = training.init(key)

    def run() -> None:
        nonlocal state
        state, _ = training.advance(state, training.hyper, rates, key, program.batch_size, (0, len(rates)))
        jax.block_until_ready(state)

    return run
