"""Image classification: an epoch is one compiled call over data that stays on the device.

training = Classify().build(program, dataset)
state = training.init(key)
state, sums = training.epoch(state, training.data, training.hyper, learning_rates, key, batch_size)
training.metrics(sums, training.evaluate(state, training.data))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers.config import Program
from workers.data import Dataset, augment
from workers.tasks import compiled, equation
from workers.tasks.compiled import EvaluationSums, Recipe, Resident, TrainState, TrainSums


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Cross-entropy over the classes of a labelled image set.

    Args:
        dynamics: record the terms of the weight-norm equation, as metrics named dynamics/...
    """

    kind: Literal["classify"] = "classify"
    dynamics: bool = False

    def build(self, program: Program, dataset: Dataset) -> Classification:
        """Bind the task to a program and its data."""
        augment.check(program.augment, dataset.shape)
        recipe = Recipe(
            model=program.model,
            optimizer=program.optimizer.static(),
            augment=program.augment,
            shape=dataset.shape,
            classes=dataset.classes,
            dynamics=self.dynamics,
        )
        hyper = {"l2": program.l2, "clip": math.inf if program.clip is None else program.clip}
        return Classification(recipe=recipe, dataset=dataset, numbers=hyper | program.optimizer.hyper())


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """The compiled functions of one program over one data set."""

    recipe: Recipe
    dataset: Dataset
    numbers: dict[str, float]

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return self.dataset.examples

    @property
    def data(self) -> Resident:
        """The data set on the device, placed once and shared by all programs that use it."""
        return _place(self.dataset)

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none) and the optimiser's numbers, f32[] each."""
        return {name: jnp.asarray(value, jnp.float32) for name, value in self.numbers.items()}

    def init(self, key: jax.Array) -> TrainState:
        """Return the state before the first epoch."""
        state: TrainState = compiled.init(self.recipe, self.hyper, key)
        return state

    def epoch(
        self,
        state: TrainState,
        data: Resident,
        hyper: dict[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]
        key: jax.Array,
        batch_size: int,
    ) -> tuple[TrainState, TrainSums]:
        """Train one epoch; `state` is consumed. Examples beyond the last whole batch are skipped in this epoch."""
        result: tuple[TrainState, TrainSums]
        result = compiled.epoch(self.recipe, state, data, hyper, learning_rates, key, batch_size)
        return result

    def evaluate(self, state: TrainState, data: Resident) -> EvaluationSums:
        """Return sums over the test set."""
        sums: EvaluationSums = compiled.evaluate(self.recipe, state, data)
        return sums

    def metrics(self, train_sums: TrainSums, test_sums: EvaluationSums) -> dict[str, float]:
        """Return losses (per example), errors (%), norms and gradient terms (means over steps), summed in float64."""
        train, test = jax.device_get((train_sums, test_sums))
        return {
            "train_loss": float(np.mean(train.loss, dtype=np.float64)),
            "train_error": 100 * int(train.errors.sum()) / int(train.examples),
            "test_loss": float(np.sum(test.loss, dtype=np.float64)) / int(test.examples),
            "test_error": 100 * int(test.errors.sum()) / int(test.examples),
            "grad_norm_sq": float(np.mean(train.grad_norm_sq, dtype=np.float64)),
            "grad_dot_weight": float(np.mean(train.grad_dot_weight, dtype=np.float64)),
            "weight_norm_sq": norms.total(train.weight_norm_sq),
            **{f"weight_norm_sq/{name}": float(value) for name, value in train.weight_norm_sq.items()},
            **equation.metrics(train.equation, train.weight_norm_sq),
        }


@lru_cache(maxsize=1)
def _place(dataset: Dataset) -> Resident:
    return Resident(
        train_images=jnp.asarray(dataset.train_images),
        train_labels=jnp.asarray(dataset.train_labels),
        test_images=jnp.asarray(dataset.test_images),
        test_labels=jnp.asarray(dataset.test_labels),
        mean=jnp.asarray(dataset.mean, jnp.float32),
        std=jnp.asarray(dataset.std, jnp.float32),
    )
