"""Image classification of a set that is streamed: each step is a call of its own, whose batch was decoded meanwhile.

Order and keys are those of a set that stays on the device; only the images differ. A batch depends on the epoch's key and its
number alone, so an epoch that is taken up at a step reads exactly the batches from there on.
Axes: N examples, B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers import mesh
from workers.data import Dataset
from workers.data.augment import Augment
from workers.data.batches import Batches
from workers.data.stream import Stream
from workers.tasks import compiled
from workers.tasks.compiled import EvaluationSums, Recipe, TrainState, TrainSums
from workers.tasks.equation import Equation

Tree = Any  # a pytree of arrays

_SAVE_EVERY_STEPS = 1000  # the default: minutes on one accelerator
_EVALUATION_BATCH = 250  # images; the last batch is padded
_AHEAD = 2  # steps that may wait for the device; each holds its batch there
_CROPS = 2**32 - 1  # sets the key of the crops apart from those of the steps


class PixelMoments(NamedTuple):
    """Mean and standard deviation of the training pixels, f32[C] each, of pixels scaled to 0..1."""

    mean: Any
    std: Any


def check_streamed(augment: Augment) -> None:
    """Raise if a program augments images that are streamed."""
    plain = asdict(Augment())
    if given := [f"{name}: {value}" for name, value in asdict(augment).items() if value != plain[name]]:
        rule = "augment must be left out for images that are streamed: they are cropped and flipped at random as they are read"
        raise ValueError(f"{rule}, got {', '.join(given)}")


def save_every_steps(dataset: Dataset | Stream) -> int | None:
    """Return after how many steps an epoch can be left unless the task says otherwise; None for never."""
    return _SAVE_EVERY_STEPS if isinstance(dataset, Stream) else None


def train_streamed(
    recipe: Recipe,
    state: TrainState,
    stream: Stream,
    hyper: dict[str, jax.Array],
    learning_rates: np.ndarray,
    key: jax.Array,
    stretch: tuple[int, int],
    batch_size: int,
) -> tuple[TrainState, TrainSums]:
    """Train consecutive steps of an epoch; `state` is consumed. Examples beyond the last whole batch are skipped.

    In a trace nothing is read: one step with blank images tells the shapes of all.

    Args:
        learning_rates: f32[steps of the whole epoch].
        stretch: number of the first step to train, from 0, and of the step after the last.
    """
    (first, last), steps = stretch, len(learning_rates)
    if not 1 <= steps <= stream.examples // batch_size:
        most = stream.examples // batch_size
        raise ValueError(f"steps must lie in 1..{most} at batch size {batch_size}, got {steps}")
    _, steps_key = jax.random.split(key)
    step = partial(_step, recipe, hyper=hyper, moments=_moments(stream), key=steps_key)
    began = _norms(state.params) if recipe.dynamics else {}
    if _is_traced(state):
        blank = jnp.zeros((batch_size, *stream.shape), jnp.uint8), jnp.zeros(batch_size, jnp.int32)
        state, column = step(state, *blank, learning_rates[first], number=first)
        columns = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (last - first, *leaf.shape)), column)
    else:
        batches = _epoch(stream, key, range(first * batch_size, last * batch_size), batch_size)
        state, columns = _run(step, state, learning_rates[first:last], batches, first)
    loss, errors, (grad_norm_sq, grad_dot_weight), parts = columns
    examples, ended = jnp.asarray((last - first) * batch_size), _norms(state.params)
    recorded = Equation(parts, began) if recipe.dynamics else None
    return state, TrainSums(loss, errors, grad_norm_sq, grad_dot_weight, examples, ended, recorded)


def _epoch(stream: Stream, key: jax.Array, positions: range, batch_size: int) -> Batches:
    """Yield the batches at these positions of the epoch with this key."""
    order_key, steps_key = jax.random.split(key)
    order_N = np.asarray(jax.random.permutation(order_key, stream.examples))
    words = np.asarray(jax.random.key_data(jax.random.fold_in(steps_key, _CROPS))).tolist()
    return stream.train_batches(order_N, positions, words, batch_size)


def _run(
    step: Callable[..., Any], state: TrainState, learning_rates: np.ndarray, batches: Batches, first: int
) -> tuple[TrainState, tuple[Any, ...]]:
    """Train a step with each batch; the device computes while the next is decoded, and never falls far behind."""
    taken: list[Any] = []
    for number, rate, batch in zip(count(first), learning_rates, batches, strict=False):
        state, column = step(state, *batch, rate, number=number)
        taken.append(column)
        _wait(taken)
    return state, jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(taken))


def _wait(taken: Sequence[Any]) -> None:
    """Wait for the results of all calls but the last few, whose batches are on the device."""
    if len(taken) > _AHEAD:
        jax.block_until_ready(taken[-1 - _AHEAD])  # type: ignore[no-untyped-call]


def evaluate_streamed(recipe: Recipe, state: TrainState, stream: Stream) -> EvaluationSums:
    """Return sums over the test set, each image counted once."""
    batch_size, moments = mesh.divisible(min(_EVALUATION_BATCH, stream.test_examples)), _moments(stream)
    taken: list[Any] = []
    for pixels_BHWC, labels_B in stream.test_batches(batch_size):
        images, padding = len(labels_B), (0, batch_size - len(labels_B))
        pixels_BHWC = np.pad(pixels_BHWC, (padding, (0, 0), (0, 0), (0, 0)))
        taken.append(_evaluation(recipe, state, pixels_BHWC, np.pad(labels_B, padding), images, moments))
        _wait(taken)
    losses, errors = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(taken))
    return EvaluationSums(losses, errors, jnp.asarray(stream.test_examples))


@partial(jax.jit, static_argnames="recipe", donate_argnames="state")
def _step(
    recipe: Recipe,
    state: TrainState,
    pixels_BHWC: jax.Array,
    labels_B: jax.Array,
    learning_rate: jax.Array,
    *,
    hyper: dict[str, jax.Array],
    moments: PixelMoments,
    key: jax.Array,
    number: int,
) -> tuple[TrainState, tuple[Any, ...]]:
    """Train the step of this number; also return what `compiled.trained_step` does. `key` is that of the epoch's steps."""
    _, _, model_key = jax.random.split(jax.random.fold_in(key, number), 3)
    images_BHWC = mesh.split(compiled.standardised(pixels_BHWC, moments.mean, moments.std))
    return mesh.everywhere(compiled.trained_step(recipe, state, hyper, images_BHWC, labels_B, learning_rate, model_key))


@partial(jax.jit, static_argnames="recipe")
def _evaluation(
    recipe: Recipe, state: TrainState, pixels_BHWC: jax.Array, labels_B: jax.Array, images: int, moments: PixelMoments
) -> tuple[jax.Array, jax.Array]:
    """Return the sums of loss and errors over the first `images` of a batch."""
    images_BHWC = mesh.split(compiled.standardised(pixels_BHWC, moments.mean, moments.std))
    logits_BK = compiled.logits_of(recipe, compiled.evaluated_module(recipe, state), images_BHWC)
    losses_B, wrong_B = compiled.losses_of(logits_BK, labels_B)
    counts_B = jnp.arange(labels_B.shape[0]) < images
    return mesh.everywhere((jnp.where(counts_B, losses_B, 0).sum(), jnp.where(counts_B, wrong_B, 0).sum()))


@jax.jit
def _norms(params: Tree) -> dict[str, jax.Array]:
    return norms.per_leaf(params)


def _moments(stream: Stream) -> PixelMoments:
    return PixelMoments(np.asarray(stream.mean, np.float32), np.asarray(stream.std, np.float32))


def _is_traced(tree: Tree) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
