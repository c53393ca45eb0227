"""The compiled functions of fine-tuning on GLUE: initialise, train a stretch, evaluate.

Training passes over the data again and again, each time in another order. Where it is in them is part of the state, so a segment
may end anywhere in a pass. Axes: N examples, B batch, T positions, K outputs.
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
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from abel import norms
from workers import mesh, update
from workers.contracts import Optimizer
from workers.glue.albert import Albert
from workers.glue.network import AlbertNet

Tree = Any  # a pytree of arrays

_EVALUATION_BATCH = 100  # examples; the last batch is padded


class GlueState(NamedTuple):
    """Training state: only arrays in plain dictionaries by layer."""

    params: Tree  # f32
    slots: Tree  # state of the optimiser
    order: jax.Array  # u32[...]: words of the key that the orders of all passes are drawn from
    passes: jax.Array  # i32[]: passes over the data that are done
    offset: jax.Array  # i32[]: examples of the present pass that are done

    @classmethod
    def first(cls, params: Tree, slots: Tree, order_key: jax.Array) -> GlueState:
        """Return the state before the first pass, whose orders are drawn from a key."""
        start = jnp.zeros((), jnp.int32)
        return cls(params, slots, jax.random.key_data(order_key), start, start)

    def after(self, params: Tree, slots: Tree, trained: int, examples: int) -> GlueState:
        """Return the state with these parameters, so many examples of a set of so many later."""
        offset = self.offset + trained
        return GlueState(params, slots, self.order, self.passes + offset // examples, offset % examples)


class Sentences(NamedTuple):
    """A split on the device, as `workers.glue.pieces.EncodedSentences`."""

    pieces: jax.Array  # uint16 or i32[N, T]
    lengths: jax.Array  # i32[N]
    seconds: jax.Array  # i32[N]
    labels: jax.Array  # i32[N], or f32[N] for scores


class GlueSums(NamedTuple):
    """Per-step values of a stretch, and the norms of the weights after it."""

    loss: jax.Array  # f32[steps]: mean over the batch, penalty excluded
    grad_norm_sq: jax.Array  # f32[steps]: |g|^2, before penalty and clip
    grad_dot_weight: jax.Array  # f32[steps]: g.w
    weight_norm_sq: dict[str, jax.Array]  # f32[] by parameter


class GlueOutputs(NamedTuple):
    """Of a test set."""

    loss: jax.Array  # f32[N]
    outputs: jax.Array  # f32[N, K]


@dataclass(frozen=True, kw_only=True)
class GlueRecipe:
    """The static arguments of the compiled functions; equal recipes share a compilation."""

    model: Albert
    optimizer: Optimizer
    outputs: int  # classes, or 1 for a score
    is_score: bool  # whether labels are numbers, and the loss is the squared error
    l2_on: Literal["all", "kernels"]


@lru_cache(maxsize=32)
def _network(model: Albert, outputs: int) -> tuple[Any, Any]:
    """Return the static part of a network, and its parameters without values."""
    graph, params = nnx.split(nnx.eval_shape(lambda: AlbertNet(model, outputs, nnx.Rngs(0))))
    return graph, nnx.to_pure_dict(params)


def parameter_shapes(recipe: GlueRecipe) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its path, such as "layer/query/kernel"."""
    return {path: leaf.shape for path, leaf in _by_path(_network(recipe.model, recipe.outputs)[1]).items()}


@partial(jax.jit, static_argnames="recipe")
def initial_glue_state(
    recipe: GlueRecipe, hyper: Mapping[str, jax.Array], pretrained: Mapping[str, jax.Array], key: jax.Array
) -> GlueState:
    """Return the state before the first segment; parameters that are not among the pre-trained ones are drawn."""
    weights_key, order_key = jax.random.split(key)
    drawn = nnx.to_pure_dict(nnx.state(AlbertNet(recipe.model, recipe.outputs, nnx.Rngs(weights_key))))
    params = unflatten_dict(_by_path(drawn) | dict(pretrained), sep="/")  # type: ignore[no-untyped-call]
    slots = recipe.optimizer.transform(hyper).init(params)
    return mesh.everywhere(GlueState.first(params, slots, order_key))


@partial(jax.jit, static_argnames=("recipe", "batch_size"), donate_argnames="state")
def train_glue(
    recipe: GlueRecipe,
    state: GlueState,
    data: Sentences,
    hyper: Mapping[str, jax.Array],
    learning_rates: jax.Array,  # f32[steps]
    batch_size: int,
) -> tuple[GlueState, GlueSums]:
    """Train consecutive steps, from where the state is in its pass over the data."""
    steps, examples = learning_rates.shape[0], data.labels.shape[0]
    order = upcoming(state, examples, steps * batch_size).reshape(steps, batch_size)

    def step(carried: tuple[Tree, Tree], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple[Tree, Tree], Any]:
        (params, slots), (chosen_B, learning_rate) = carried, inputs
        chosen_B = mesh.split(chosen_B)
        batch = Sentences(*(mesh.split(array[chosen_B]) for array in data))

        def loss(params: Tree) -> jax.Array:
            return _losses(recipe, _outputs(recipe, params, batch), batch.labels).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        params, slots, measured = update.step(
            recipe.optimizer, recipe.l2_on, hyper, learning_rate, gradient, params, slots
        )
        return mesh.everywhere(((params, slots), (value, measured)))

    (params, slots), (losses, measured) = lax.scan(step, (state.params, state.slots), (order, learning_rates))
    after = state.after(params, slots, steps * batch_size, examples)
    sums = GlueSums(losses, measured.grad_norm_sq, measured.grad_dot_weight, norms.per_leaf(params))
    return mesh.everywhere((after, sums))


def _by_path(params: Tree) -> dict[str, Any]:
    found: dict[str, Any] = flatten_dict(params, sep="/")  # type: ignore[no-untyped-call]
    return found


def upcoming(state: GlueState, examples: int, count: int) -> jax.Array:
    """Return which examples come next, i32[count]: the rest of the present pass, then passes in orders of their own."""
    key = jax.random.wrap_key_data(state.order)
    numbers = state.passes + jnp.arange((count + examples - 1) // examples + 1)
    orders = lax.map(lambda number: jax.random.permutation(jax.random.fold_in(key, number), examples), numbers)
    return lax.dynamic_slice_in_dim(orders.reshape(-1), state.offset, count)


@partial(jax.jit, static_argnames="recipe")
def evaluate_glue(recipe: GlueRecipe, state: GlueState, data: Sentences) -> GlueOutputs:
    """Return loss and outputs of every example of a test set."""
    examples = data.labels.shape[0]
    batch_size = mesh.divisible(min(_EVALUATION_BATCH, examples))
    params = update.evaluated(recipe.optimizer, state.params, state.slots)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen_B = mesh.split(jnp.minimum(start + jnp.arange(batch_size), examples - 1))
        some = Sentences(*(mesh.split(array[chosen_B]) for array in data))
        outputs_BK = _outputs(recipe, params, some)
        return _losses(recipe, outputs_BK, some.labels), outputs_BK

    losses, outputs = lax.map(batch, jnp.arange(0, examples, batch_size))
    return mesh.everywhere(GlueOutputs(losses.reshape(-1)[:examples], outputs.reshape(-1, recipe.outputs)[:examples]))


def _outputs(recipe: GlueRecipe, params: Tree, batch: Sentences) -> jax.Array:
    network = nnx.merge(_network(recipe.model, recipe.outputs)[0], params, copy=True)
    outputs_BK: jax.Array = network(batch.pieces, batch.lengths, batch.seconds)
    return outputs_BK


def _losses(recipe: GlueRecipe, outputs_BK: jax.Array, labels_B: jax.Array) -> jax.Array:
    if recipe.is_score:
        return jnp.square(outputs_BK[:, 0] - labels_B)
    losses_B: jax.Array = optax.softmax_cross_entropy_with_integer_labels(outputs_BK, labels_B)
    return losses_B
