"""The rates of a schedule step by step, and what optax says of the same steps."""

import math

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from abel.plans import Event, Observation, Schedule

STEPS, EPOCHS = 7, 30


def train(
    schedule: Schedule, epochs: int, examples: int = STEPS * 4, batch_size: int = 4
) -> tuple[NDArray[np.float32], dict[int, Event]]:
    """Rates of every step and events of every epoch."""
    state, rates, events = schedule.init(), [], {}
    for epoch in range(1, epochs + 1):
        rates.append(schedule.plan(state, epoch, examples, batch_size).learning_rates)
        state = schedule.update(state, Observation(weight_norm_sq=math.nan, train_loss=math.nan))
        if state.event:
            events[epoch] = state.event
    return np.stack(rates), events


def warmup(position: float, warmup_epochs: int) -> float:
    return min(1.0, position / warmup_epochs) if warmup_epochs else 1.0


def optax_rates(schedule: optax.Schedule) -> np.ndarray:
    """What optax says of every step, computed in double and rounded once, f32[epochs, steps]."""
    with jax.enable_x64():
        rates = np.asarray(jax.vmap(schedule)(np.arange(STEPS * EPOCHS)), np.float64)
    return rates.astype(np.float32).reshape(EPOCHS, STEPS)
