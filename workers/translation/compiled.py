"""The compiled functions of translation: initialise, train one batch, test one, translate one.

Each shape of a batch is compiled once. The numbers that a grid varies are arguments.
Axes: B rows, S source tokens, T target tokens, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from abel import norms
from workers import mesh, update
from workers.contracts import Optimizer
from workers.translation import PAD
from workers.translation.beams import beam_search
from workers.translation.encoder_decoder import EncoderDecoder
from workers.translation.network import Cache, TranslationNetwork

Tree = Any  # a pytree of arrays


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe:
    """The static arguments of the compiled functions; equal recipes share a compilation."""

    model: EncoderDecoder
    vocabulary: int  # tokens
    optimizer: Optimizer
    l2_on: Literal["all", "kernels"] = "all"
    label_smoothing: float = 0.0


class TokenSums(NamedTuple):
    """Sums over the target tokens of a batch."""

    loss: jax.Array  # f32[]
    wrong: jax.Array  # i32[]: tokens that are not more probable than every other
    tokens: jax.Array  # i32[]


class TrainedBatch(NamedTuple):
    """What is recorded of a step."""

    sums: TokenSums
    grad_norm_sq: jax.Array  # f32[]
    grad_dot_weight: jax.Array  # f32[]


@partial(jax.jit, static_argnames="recipe")
def initial_weights(recipe: TranslationRecipe, hyper: dict[str, jax.Array], key: jax.Array) -> tuple[Tree, Tree]:
    """Return the parameters and the optimiser's state before the first step."""
    network = TranslationNetwork(recipe.model, recipe.vocabulary, nnx.Rngs(key))
    params = nnx.to_pure_dict(nnx.state(network, nnx.Param))
    return mesh.everywhere((params, recipe.optimizer.transform(hyper).init(params)))


@partial(jax.jit, static_argnames="recipe", donate_argnames=("params", "slots"))
def trained_batch(
    recipe: TranslationRecipe,
    params: Tree,
    slots: Tree,
    hyper: dict[str, jax.Array],
    sources_BS: jax.Array,
    targets_BT: jax.Array,
    learning_rate: jax.Array,
) -> tuple[Tree, Tree, TrainedBatch]:
    """Train one step on the mean loss over a batch's target tokens."""

    def loss(params: Tree) -> tuple[jax.Array, TokenSums]:
        logits_BTV = network_of(recipe, params)(mesh.split(sources_BS), mesh.split(targets_BT))
        sums = token_sums(logits_BTV, targets_BT, recipe.label_smoothing)
        return sums.loss / sums.tokens, sums

    (_, sums), slope = jax.value_and_grad(loss, has_aux=True)(params)
    params, slots, measured = update.step(recipe.optimizer, recipe.l2_on, hyper, learning_rate, slope, params, slots)
    return mesh.everywhere((params, slots, TrainedBatch(sums, *measured)))


@partial(jax.jit, static_argnames="recipe")
def tested_batch(
    recipe: TranslationRecipe, params: Tree, slots: Tree, sources_BS: jax.Array, targets_BT: jax.Array
) -> TokenSums:
    """Return the sums over a batch, without label smoothing."""
    network = network_of(recipe, update.evaluated(recipe.optimizer, params, slots))
    sums = token_sums(network(mesh.split(sources_BS), mesh.split(targets_BT)), targets_BT)
    return mesh.everywhere(sums)


@partial(jax.jit, static_argnames=("recipe", "beams", "length", "end", "alpha"))
def translated_batch(
    recipe: TranslationRecipe,
    params: Tree,
    slots: Tree,
    sources_BS: jax.Array,
    *,
    beams: int,
    length: int,
    end: int,
    alpha: float,
) -> jax.Array:
    """Return the translations that a beam search finds, i32[B, length]."""
    network = network_of(recipe, update.evaluated(recipe.optimizer, params, slots))
    sources_BS = mesh.split(sources_BS)
    source = network.source(network.encode(sources_BS), sources_BS)

    def following(cache: Cache, sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, Cache]:
        return network.next_logits(cache, source, sequences[:, place], place)

    cache = network.cache(len(sources_BS) * beams, length)
    found = beam_search(following, cache, len(sources_BS), beams=beams, length=length, end=end, alpha=alpha)
    return mesh.everywhere(found)


@jax.jit
def weight_norms(params: Tree) -> dict[str, jax.Array]:
    """Return the squared norm of each parameter, f32[]."""
    return norms.per_leaf(params)


def network_of(recipe: TranslationRecipe, params: Tree) -> TranslationNetwork:
    """Return the network with these parameters."""
    return nnx.merge(_network(recipe.model, recipe.vocabulary), params, copy=True)


@lru_cache(maxsize=32)
def _network(model: EncoderDecoder, vocabulary: int) -> nnx.GraphDef[TranslationNetwork]:
    """Return the static part of a network."""
    return nnx.graphdef(nnx.eval_shape(lambda: TranslationNetwork(model, vocabulary, nnx.Rngs(0))))


def token_sums(logits_BTV: jax.Array, targets_BT: jax.Array, smoothing: float = 0.0) -> TokenSums:
    """Return loss and errors, summed over the tokens that do not fill up.

    With smoothing, the target of a token is 1 - smoothing, and every other has an equal share of the rest. The loss is the
    cross-entropy less its smallest possible value, as in Flax's WMT example.
    """
    counts_BT = targets_BT != PAD
    logits_BTV = logits_BTV.astype(jnp.float32)
    vocabulary = logits_BTV.shape[-1]
    share = smoothing / (vocabulary - 1)
    least = -((1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(share)) if smoothing else 0.0
    # Not a gather of the targets' logits: its gradient is a scatter into an array of zeros as large as the logits.
    aimed_BTV = jnp.where(targets_BT[..., None] == jnp.arange(vocabulary), 1 - smoothing, share)
    losses_BT = jax.nn.logsumexp(logits_BTV, axis=-1) - (aimed_BTV * logits_BTV).sum(axis=-1) - least
    # Not argmax, which takes as long as the product that gives the logits. NaN is wrong, and so is a tie.
    fixed_BTV = jax.lax.stop_gradient(logits_BTV)
    right_BT = jnp.take_along_axis(fixed_BTV, targets_BT[..., None], axis=-1)[..., 0]
    wrong_BT = (fixed_BTV < right_BT[..., None]).sum(axis=-1) != vocabulary - 1
    loss = jnp.where(counts_BT, losses_BT, 0).sum()
    return TokenSums(loss, (wrong_BT & counts_BT).sum(dtype=jnp.int32), counts_BT.sum(dtype=jnp.int32))
