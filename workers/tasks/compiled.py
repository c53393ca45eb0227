"""The compiled functions of image classification: initialise, train one epoch, evaluate.

The data and the numbers that a grid varies (L2, clip, momentum) are arguments, so programs that differ only in these
share one compilation. Axes: N examples, B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from abel import norms
from workers import mesh, update
from workers.contracts import Model, Optimizer
from workers.data import augmentation
from workers.data.augment import Augment
from workers.tasks import equation, gradient
from workers.tasks.equation import Equation

Tree = Any  # a pytree of arrays

_EVALUATION_BATCH = 250  # images; the last batch is padded


class TrainState(NamedTuple):
    """Training state: only arrays in plain dictionaries by layer, so any checkpoint library can store it."""

    params: Tree  # f32
    slots: Tree  # state of the optimiser, such as momentum
    collections: Tree  # non-trained state of the model, such as batch statistics


class Resident(NamedTuple):
    """A data set on the device."""

    train_images: jax.Array  # uint8 or f32[N, H, W, C]
    train_labels: jax.Array  # i32[N]
    test_images: jax.Array
    test_labels: jax.Array
    mean: jax.Array  # f32[C]
    std: jax.Array  # f32[C]


class TrainSums(NamedTuple):
    """Per-step values of an epoch, and the norms of the weights after it."""

    loss: jax.Array  # f32[steps]: mean over the batch, penalty excluded
    errors: jax.Array  # i32[steps]: misclassified examples of the batch, before the step
    grad_norm_sq: jax.Array  # f32[steps]: |g|^2, with g before the penalty is added and before clipping
    grad_dot_weight: jax.Array  # f32[steps]: g.w
    examples: jax.Array  # i32[]
    weight_norm_sq: dict[str, jax.Array]  # f32[] by parameter
    equation: Equation | None  # None unless it is recorded


class EvaluationSums(NamedTuple):
    """Per-batch values of the test set."""

    loss: jax.Array  # f32[batches]: sum over the batch
    errors: jax.Array  # i32[batches]
    examples: jax.Array  # i32[]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The static arguments of the compiled functions; equal recipes share a compilation."""

    model: Model
    optimizer: Optimizer
    augment: Augment
    shape: tuple[int, int, int]  # of one image: (height, width, channels)
    classes: int
    l2_on: Literal["all", "kernels"] = "all"
    label_smoothing: float = 0.0
    dynamics: bool = False  # whether the terms of the weight-norm equation are recorded
    precision: Literal["float32", "bfloat16"] = "float32"  # of the network; weights, gradients and losses are float32
    micro_batches: int = 1  # parts of a batch whose gradients are computed one after another


@lru_cache(maxsize=32)
def _graph(model: Model, shape: tuple[int, int, int], classes: int) -> nnx.GraphDef[nnx.Module]:
    """Return the static part of a model; its arrays are in the state."""
    abstract = nnx.eval_shape(lambda: model.build(shape, classes, nnx.Rngs(0)))
    graph, *states = nnx.split(abstract, nnx.RngState, ...)
    if jax.tree.leaves(states[0]):
        raise ValueError(f"model {model.kind!r} must take its randomness from the argument rngs, it keeps its own")
    return graph


@partial(jax.jit, static_argnames="recipe")
def initial_state(recipe: Recipe, hyper: dict[str, jax.Array], key: jax.Array) -> TrainState:
    """Return the state before the first epoch."""
    _graph(recipe.model, recipe.shape, recipe.classes)  # rejects a model with random state, which could not be saved
    model = recipe.model.build(recipe.shape, recipe.classes, nnx.Rngs(key))
    weights, others = nnx.state(model, nnx.Param, ...)
    params = jax.tree.map(lambda leaf: hyper["initial_scale"] * leaf, nnx.to_pure_dict(weights))
    state = TrainState(params, recipe.optimizer.transform(hyper).init(params), nnx.to_pure_dict(others))
    return mesh.everywhere(state)


@partial(jax.jit, static_argnames=("recipe", "steps", "batch_size"), donate_argnames="state")
def train_stretch(
    recipe: Recipe,
    state: TrainState,
    data: Resident,
    hyper: dict[str, jax.Array],
    learning_rates: jax.Array,
    key: jax.Array,
    first: int,
    steps: int,
    batch_size: int,
) -> tuple[TrainState, TrainSums]:
    """Train consecutive steps of an epoch: shuffle, then run them; examples beyond the last whole batch are skipped.

    Args:
        learning_rates: f32[steps to train].
        first: number of the first of them, from 0.
        steps: number of steps of the whole epoch.
    """
    examples, count = data.train_labels.shape[0], learning_rates.shape[0]
    if not 1 <= steps <= examples // batch_size:
        raise ValueError(f"steps must lie in 1..{examples // batch_size} at batch size {batch_size}, got {steps}")
    order_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(order_key, examples)[: steps * batch_size].reshape(steps, batch_size)
    numbers = jnp.arange(steps)
    if count < steps:
        order, numbers = (lax.dynamic_slice_in_dim(whole, first, count) for whole in (order, numbers))

    def step(state: TrainState, inputs: tuple[jax.Array, ...]) -> tuple[TrainState, tuple[Any, ...]]:
        number, chosen_B, learning_rate = inputs
        chosen_B = mesh.split(chosen_B)
        step_key = jax.random.fold_in(steps_key, number)
        pixels_key, noise_key, model_key = jax.random.split(step_key, 3)
        pixels_BHWC = augmentation.select(data.train_images, chosen_B, recipe.augment, pixels_key)
        images_BHWC = standardised(pixels_BHWC, data.mean, data.std)
        if recipe.augment.noise:
            images_BHWC += recipe.augment.noise * jax.random.normal(noise_key, images_BHWC.shape)
        images_BHWC = mesh.split(augmentation.cut_out(images_BHWC, recipe.augment, step_key))
        labels_B = data.train_labels[chosen_B]
        return mesh.everywhere(trained_step(recipe, state, hyper, images_BHWC, labels_B, learning_rate, model_key))

    began = norms.per_leaf(state.params) if recipe.dynamics else {}
    state, columns = lax.scan(step, state, (numbers, order, learning_rates))
    loss, errors, (grad_norm_sq, grad_dot_weight), parts = columns
    trained, ended = jnp.asarray(count * batch_size), norms.per_leaf(state.params)
    recorded = Equation(parts, began) if recipe.dynamics else None
    sums = TrainSums(loss, errors, grad_norm_sq, grad_dot_weight, trained, ended, recorded)
    return mesh.everywhere((state, sums))


def joined_sums(parts: Sequence[TrainSums]) -> TrainSums:
    """Return the sums of an epoch from those of its stretches, in order; all as numpy arrays."""
    if len(parts) == 1:
        return parts[0]
    columns = [(part.loss, part.errors, part.grad_norm_sq, part.grad_dot_weight) for part in parts]
    loss, errors, grad_norm_sq, grad_dot_weight = jax.tree.map(lambda *pieces: np.concatenate(pieces), *columns)
    trained: Any = np.sum([part.examples for part in parts])
    recorded = [part.equation for part in parts if part.equation is not None]
    equation = None
    if recorded:
        steps = jax.tree.map(lambda *pieces: np.concatenate(pieces), *(one.parts for one in recorded))
        equation = Equation(steps, recorded[0].weight_norm_sq)
    return TrainSums(loss, errors, grad_norm_sq, grad_dot_weight, trained, parts[-1].weight_norm_sq, equation)


def trained_step(
    recipe: Recipe,
    state: TrainState,
    hyper: dict[str, jax.Array],
    images_BHWC: jax.Array,
    labels_B: jax.Array,
    learning_rate: jax.Array,
    key: jax.Array,
) -> tuple[TrainState, tuple[Any, ...]]:
    """Train one step; also return loss, errors, what the update measured and, if recorded, the equation's terms."""

    def loss(
        params: Tree, collections: Tree, images_BHWC: jax.Array, labels_B: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
        model = module_of(recipe, params, collections)
        model.train()  # type: ignore[no-untyped-call]
        logits_BK = logits_of(recipe, model, images_BHWC, rngs=nnx.Rngs(key))
        losses_B, wrong_B = losses_of(logits_BK, labels_B, recipe.label_smoothing)
        return losses_B.mean(), (wrong_B.sum(), nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

    (mean_loss, (errors, collections)), slope = gradient.of_batch(
        loss, recipe.micro_batches, state.params, state.collections, images_BHWC, labels_B, key
    )
    params, slots, measured = update.step(
        recipe.optimizer, recipe.l2_on, hyper, learning_rate, slope, state.params, state.slots
    )
    parts = equation.parts(state.params, slope, params, learning_rate, hyper["l2"]) if recipe.dynamics else None
    return TrainState(params, slots, collections), (mean_loss, errors, measured, parts)


@partial(jax.jit, static_argnames="recipe")
def evaluation(recipe: Recipe, state: TrainState, data: Resident) -> EvaluationSums:
    """Return sums over the test set, each image counted once."""
    examples = data.test_labels.shape[0]
    batch_size = mesh.divisible(min(_EVALUATION_BATCH, examples))
    batches = -(-examples // batch_size)
    model = evaluated_module(recipe, state)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        index_B = mesh.split(start + jnp.arange(batch_size))
        counts_B = index_B < examples
        index_B = jnp.minimum(index_B, examples - 1)
        logits_BK = logits_of(recipe, model, standardised(data.test_images[index_B], data.mean, data.std))
        losses_B, wrong_B = losses_of(logits_BK, data.test_labels[index_B])
        return jnp.where(counts_B, losses_B, 0).sum(), jnp.where(counts_B, wrong_B, 0).sum()

    losses, errors = lax.map(batch, jnp.arange(batches) * batch_size)
    return mesh.everywhere(EvaluationSums(losses, errors, jnp.asarray(examples)))


def evaluated_module(recipe: Recipe, state: TrainState) -> nnx.Module:
    """Return the network as it is tested: at the parameters that its optimiser says, without dropout, by running statistics."""
    model = module_of(recipe, update.evaluated(recipe.optimizer, state.params, state.slots), state.collections)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def module_of(recipe: Recipe, params: Tree, collections: Tree) -> nnx.Module:
    """Return the network, its parameters in the precision that it computes in, its batch statistics in float32."""
    cast = jax.tree.map(lambda leaf: leaf.astype(recipe.precision), params)
    return nnx.merge(_graph(recipe.model, recipe.shape, recipe.classes), cast, collections, copy=True)


def logits_of(recipe: Recipe, model: nnx.Module, images_BHWC: jax.Array, **rngs: nnx.Rngs) -> jax.Array:
    """Return logits_BK, f32, of images computed in the program's precision."""
    logits_BK: jax.Array = model(images_BHWC.astype(recipe.precision), **rngs)
    return logits_BK.astype(jnp.float32)


def losses_of(logits_BK: jax.Array, labels_B: jax.Array, smoothing: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Return the cross-entropy and whether the prediction is wrong (0 or 1), per example."""
    if smoothing:
        wanted_BK = optax.smooth_labels(jax.nn.one_hot(labels_B, logits_BK.shape[-1]), smoothing)
        losses_B = optax.softmax_cross_entropy(logits_BK, wanted_BK)
    else:
        losses_B = optax.softmax_cross_entropy_with_integer_labels(logits_BK, labels_B)
    return losses_B, (logits_BK.argmax(axis=-1) != labels_B).astype(jnp.int32)


def standardised(pixels: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return pixels as the model receives them; uint8 is scaled to 0..1 first."""
    scaled = pixels.astype(jnp.float32) / 255 if pixels.dtype == jnp.uint8 else pixels
    return (scaled - mean) / std
