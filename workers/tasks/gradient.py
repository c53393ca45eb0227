"""The gradient of a batch, whole or as the mean over equal parts of it, which needs the memory of one part.

Axes: B batch, P examples of a part, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from workers import mesh
from workers.contracts import Model

Tree = Any  # a pytree of arrays
# (params, collections, images, labels, key) -> mean loss, (misclassified examples, collections after them)
Loss = Callable[[Tree, Tree, jax.Array, jax.Array, jax.Array], tuple[jax.Array, tuple[jax.Array, Tree]]]


def check_parts(model: Model, shape: tuple[int, int, int], classes: int, parts: int, batch_size: int) -> None:
    """Raise ValueError if parts of a batch would have batch statistics of their own, unless the model's groups are in each."""
    if parts == 1 or getattr(model, "norm_examples", None) is not None:
        return
    network = nnx.eval_shape(lambda: model.build(shape, classes, nnx.Rngs(0)))
    if not jax.tree.leaves(nnx.state(network, nnx.BatchStat)):
        return
    if not hasattr(model, "norm_examples"):
        raise ValueError(
            f"micro_batches must be 1 where model {model.kind!r} has statistics of whole batches, got {parts}"
        )
    rule = f"model.norm_examples must be set where micro_batches is above 1, and divide {batch_size // parts}"
    raise ValueError(f"{rule} images, got null; for example, write norm_examples: {batch_size // parts}")


def of_batch(
    loss: Loss,
    parts: int,
    params: Tree,
    collections: Tree,
    images_BHWC: jax.Array,
    labels_B: jax.Array,
    key: jax.Array,
) -> tuple[tuple[jax.Array, tuple[jax.Array, Tree]], Tree]:
    """Return what `loss` returns of a batch, and the gradient of the mean loss, f32 as the parameters.

    Each part starts from the batch's collections and draws from a key of its own. Running statistics follow the mean over a
    batch's groups of images, so their mean over the parts is that of the whole batch.
    """
    value_and_gradient = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        whole: tuple[tuple[jax.Array, tuple[jax.Array, Tree]], Tree] = value_and_gradient(
            params, collections, images_BHWC, labels_B, key
        )
        return whole
    whole_arrays = (images_BHWC, labels_B)
    images_PHWC, labels_P = (mesh.split(array.reshape(parts, -1, *array.shape[1:]), axis=1) for array in whole_arrays)

    def part(total: Tree, inputs: tuple[jax.Array, ...]) -> tuple[Tree, tuple[jax.Array, tuple[jax.Array, Tree]]]:
        images, labels, part_key = inputs
        found, gradient = value_and_gradient(params, collections, images, labels, part_key)
        return jax.tree.map(jnp.add, total, gradient), found

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, found = lax.scan(part, zeros, (images_PHWC, labels_P, jax.random.split(key, parts)))
    mean_loss, (errors, after) = found
    joined = mean_loss.mean(), (errors.sum(), jax.tree.map(_joined, after))
    return joined, jax.tree.map(lambda leaf: leaf / parts, total)


def _joined(values: jax.Array) -> jax.Array:
    """Return the mean over the parts of a statistic; of a counter, which every part advances from the same value, the last."""
    return values.mean(0) if jnp.issubdtype(values.dtype, jnp.floating) else values[-1]
