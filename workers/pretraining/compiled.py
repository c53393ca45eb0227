"""The compiled functions of pre-training: initialise, train a stretch, evaluate.

Training passes over the lines as fine-tuning does over its examples, with the same state; the masks come from the segment's key.
Axes: N lines, B batch, T positions, M masked pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from abel import norms
from workers import mesh, update
from workers.contracts import Optimizer
from workers.glue.albert import Albert
from workers.glue.compiled import GlueState, upcoming
from workers.pretraining.masking import MaskedPieces, mask_pieces
from workers.pretraining.network import MaskedAlbert

Tree = Any  # a pytree of arrays

_EVALUATION_BATCH = 100  # lines; the last batch is padded
_TEST_MASKS = 0  # seed of the masks of the test, which are the same for all trials


class PlacedLines(NamedTuple):
    """A split on the device."""

    pieces: jax.Array  # uint16 or i32[N, T]
    lengths: jax.Array  # i32[N]
    to_mask: jax.Array  # i32[N]: how many pieces of a line are masked


class MaskedSums(NamedTuple):
    """Per-step values of a stretch, and the norms of the weights after it."""

    loss: jax.Array  # f32[steps]: sum over the masked pieces, penalty excluded
    right: jax.Array  # i32[steps]: masked pieces that are guessed
    masked: jax.Array  # i32[steps]: masked pieces
    grad_norm_sq: jax.Array  # f32[steps]: |g|^2 of the mean loss, before penalty and clip
    grad_dot_weight: jax.Array  # f32[steps]: g.w
    weight_norm_sq: dict[str, jax.Array]  # f32[] by parameter


class MaskedTests(NamedTuple):
    """What a state guesses of each held-out line."""

    loss: jax.Array  # f32[N]: sum over the masked pieces of a line
    right: jax.Array  # i32[N]


@dataclass(frozen=True, kw_only=True)
class MaskedRecipe:
    """The static arguments of the compiled functions; equal recipes share a compilation."""

    model: Albert
    optimizer: Optimizer
    l2_on: Literal["all", "kernels"]
    vocabulary: int  # pieces, of which the model may have more
    mask: int  # number of the piece [MASK]
    most: int  # masked pieces of the longest line


@lru_cache(maxsize=32)
def _graph(model: Albert) -> Any:
    """Return the static part of a network."""
    return nnx.split(nnx.eval_shape(lambda: MaskedAlbert(model, nnx.Rngs(0))))[0]


@partial(jax.jit, static_argnames="recipe")
def initial_masked_state(recipe: MaskedRecipe, hyper: Mapping[str, jax.Array], key: jax.Array) -> GlueState:
    """Return the state before the first segment."""
    weights_key, order_key = jax.random.split(key)
    params = nnx.to_pure_dict(nnx.state(MaskedAlbert(recipe.model, nnx.Rngs(weights_key))))
    slots = recipe.optimizer.transform(hyper).init(params)
    return mesh.everywhere(GlueState.first(params, slots, order_key))


@partial(jax.jit, static_argnames=("recipe", "batch_size"), donate_argnames="state")
def train_masked(
    recipe: MaskedRecipe,
    state: GlueState,
    lines: PlacedLines,
    hyper: Mapping[str, jax.Array],
    learning_rates: jax.Array,  # f32[steps]
    key: jax.Array,
    first: jax.Array,  # i32[]: steps of the segment that are done
    batch_size: int,
) -> tuple[GlueState, MaskedSums]:
    """Train consecutive steps, from where the state is in its pass over the lines."""
    steps, count = learning_rates.shape[0], lines.lengths.shape[0]
    order = upcoming(state, count, steps * batch_size).reshape(steps, batch_size)
    numbers = first + jnp.arange(steps)

    def step(carried: tuple[Tree, Tree], inputs: tuple[jax.Array, ...]) -> tuple[tuple[Tree, Tree], Any]:
        (params, slots), (rows_B, number, learning_rate) = carried, inputs
        rows_B = mesh.split(rows_B)
        some = PlacedLines(*(mesh.split(array[rows_B]) for array in lines))
        batch = _masked(recipe, jax.random.fold_in(key, number), some)
        masked = batch.is_masked.sum()

        def loss(params: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            losses_B, right_B = _guessed(recipe, params, some.lengths, batch)
            return losses_B.sum() / masked, (losses_B.sum(), right_B.sum())

        (_, (summed, right)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        params, slots, measured = update.step(
            recipe.optimizer, recipe.l2_on, hyper, learning_rate, gradient, params, slots
        )
        return mesh.everywhere(((params, slots), (summed, right, masked, measured)))

    (params, slots), found = lax.scan(step, (state.params, state.slots), (order, numbers, learning_rates))
    summed, right, masked, measured = found
    after = state.after(params, slots, steps * batch_size, count)
    gradients = measured.grad_norm_sq, measured.grad_dot_weight
    return mesh.everywhere((after, MaskedSums(summed, right, masked, *gradients, norms.per_leaf(params))))


@partial(jax.jit, static_argnames="recipe")
def evaluate_masked(recipe: MaskedRecipe, state: GlueState, lines: PlacedLines) -> MaskedTests:
    """Return loss and right guesses of every held-out line."""
    count = lines.lengths.shape[0]
    batch_size = mesh.divisible(min(_EVALUATION_BATCH, count))
    params = update.evaluated(recipe.optimizer, state.params, state.slots)
    whole = _masked(recipe, jax.random.key(_TEST_MASKS), lines)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows_B = mesh.split(jnp.minimum(start + jnp.arange(batch_size), count - 1))
        some = MaskedPieces(*(mesh.split(array[rows_B]) for array in whole))
        return _guessed(recipe, params, mesh.split(lines.lengths[rows_B]), some)

    columns = lax.map(batch, jnp.arange(0, count, batch_size))
    return mesh.everywhere(MaskedTests(*(column.reshape(-1)[:count] for column in columns)))


def _masked(recipe: MaskedRecipe, key: jax.Array, lines: PlacedLines) -> MaskedPieces:
    return mask_pieces(key, *lines, most=recipe.most, mask=recipe.mask, vocabulary=recipe.vocabulary)


def _guessed(
    recipe: MaskedRecipe, params: Tree, lengths_B: jax.Array, masked: MaskedPieces
) -> tuple[jax.Array, jax.Array]:
    """Return the loss of each line, summed over its masked pieces, and how many of these are guessed."""
    network = nnx.merge(_graph(recipe.model), params, copy=True)
    logits_BMV = network.logits_at(masked.pieces, lengths_B, masked.positions)
    losses_BM = optax.softmax_cross_entropy_with_integer_labels(logits_BMV, masked.targets)
    right_BM = (logits_BMV.argmax(-1) == masked.targets) & masked.is_masked
    return jnp.where(masked.is_masked, losses_BM, 0.0).sum(1), right_BM.sum(1)
