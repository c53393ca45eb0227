"""Image classification: a segment is an epoch, trained over data that stay on the device or are streamed to it.

training = bound(task, program, load)
state = training.init(key)
state, sums = training.advance(state, training.hyper, learning_rates, key, batch_size, (0, len(learning_rates)))
training.metrics([sums], training.evaluate(state))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers import mesh
from workers.contracts import Load, Metric, Segment
from workers.data import Dataset
from workers.data.augment import check_augment
from workers.data.stream import Stream
from workers.tasks import compiled, equation, gradient, streamed
from workers.tasks.compiled import EvaluationSums, Recipe, Resident, TrainState, TrainSums

if TYPE_CHECKING:
    from workers.tasks.classify import Classify, ClassifyProgram


def bound(task: Classify, program: ClassifyProgram, load: Load) -> Classification:
    """Return the training of a program over its data.

    Raises:
        ValueError: the program's parts do not fit its data or each other.
    """
    if task.dynamics and program.l2_on != "all":
        raise ValueError(f"l2_on must be 'all' where task.dynamics is true, got {program.l2_on!r}")
    program.check_batch(program.batch_size, jax.device_count())
    dataset: Dataset | Stream = load(program.data)
    gradient.check_parts(program.model, dataset.shape, dataset.classes, program.micro_batches, program.batch_size)
    if isinstance(dataset, Stream):
        streamed.check_streamed(program.augment)
    else:
        check_augment(program.augment, dataset.shape, dataset.train_images.dtype)
    recipe = Recipe(
        model=program.model,
        optimizer=program.optimizer.static(),
        augment=program.augment,
        shape=dataset.shape,
        classes=dataset.classes,
        l2_on=program.l2_on,
        label_smoothing=program.label_smoothing,
        dynamics=task.dynamics,
        precision=program.precision,
        micro_batches=program.micro_batches,
    )
    own = program.optimizer.hyper()
    hyper = {
        "l2": program.l2,
        "clip": math.inf if program.clip is None else program.clip,
        "initial_scale": program.initial_scale,
    }
    if taken := {*hyper, "learning_rate"} & own.keys():
        raise ValueError(f"optimizer {program.optimizer.kind}: must not have numbers called {', '.join(sorted(taken))}")
    return Classification(
        recipe=recipe,
        dataset=dataset,
        numbers=hyper | own,
        save_every_steps=task.save_every_steps or streamed.save_every_steps(dataset),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """The compiled functions of one program over one data set."""

    recipe: Recipe
    dataset: Dataset | Stream
    numbers: dict[str, float]
    save_every_steps: int | None = None

    @property
    def metric(self) -> Metric:
        """The error on the test set; a diverged trial counts as guessing."""
        guessing = 100 * (1 - 1 / self.dataset.classes)
        return Metric(name="test_error", label="test error", unit="%", bounds=(0.0, 100.0), worst=guessing)

    @property
    def segment(self) -> Segment:
        """One epoch."""
        return Segment(examples=self.dataset.examples)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the decoded arrays; of a stream, what stands for them (`workers.data.stream.digest_of`)."""
        return self.dataset.digest

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none), the initial scale and the optimiser's numbers, f32[] each."""
        with jax.ensure_compile_time_eval():
            return {name: jnp.asarray(value, jnp.float32) for name, value in self.numbers.items()}

    def stretches(self, steps: int) -> list[tuple[int, int]]:
        """Return the parts of an epoch after which it can be left: all of it, or `save_every_steps` at a time."""
        every = self.save_every_steps or steps
        return [(first, min(first + every, steps)) for first in range(0, steps, every)]

    def init(self, key: jax.Array) -> TrainState:
        """Return the state before the first epoch."""
        state: TrainState = compiled.initial_state(self.recipe, self.hyper, key)
        return state

    def advance(
        self,
        state: TrainState,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]: of the whole epoch
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[TrainState, TrainSums]:
        """Train a stretch of an epoch; `state` is consumed. Examples beyond the last whole batch are left out of it."""
        if isinstance(self.dataset, Stream):
            return streamed.train_streamed(
                self.recipe, mesh.placed(state), self.dataset, dict(hyper), learning_rates, key, stretch, batch_size
            )
        first, last = stretch
        steps, data, state = len(learning_rates), _place(self.dataset), mesh.placed(state)
        result: tuple[TrainState, TrainSums] = compiled.train_stretch(
            self.recipe, state, data, dict(hyper), learning_rates[first:last], key, first, steps, batch_size
        )
        return result

    def evaluate(self, state: TrainState, key: jax.Array | None = None) -> EvaluationSums:
        """Return sums over the test set; nothing is drawn at random."""
        if isinstance(self.dataset, Stream):
            return streamed.evaluate_streamed(self.recipe, mesh.placed(state), self.dataset)
        sums: EvaluationSums = compiled.evaluation(self.recipe, mesh.placed(state), _place(self.dataset))
        return sums

    def metrics(self, train_sums: Sequence[TrainSums], test_sums: EvaluationSums) -> dict[str, float]:
        """Return losses (per example), errors (%), norms and gradient terms (means over steps), summed in float64."""
        parts, test = jax.device_get((list(train_sums), test_sums))
        train = compiled.joined_sums(parts)
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
    """Return the data set on the device, placed once and shared by all programs that use it."""
    with jax.ensure_compile_time_eval():  # the first to ask may be a trace that only wants to know shapes
        resident = Resident(
            train_images=jnp.asarray(dataset.train_images),
            train_labels=jnp.asarray(dataset.train_labels),
            test_images=jnp.asarray(dataset.test_images),
            test_labels=jnp.asarray(dataset.test_labels),
            mean=jnp.asarray(dataset.mean, jnp.float32),
            std=jnp.asarray(dataset.std, jnp.float32),
        )
        return mesh.placed(resident)
