"""One step of an optimiser: penalty, clip, update rule, learning rate. Every task calls it, and none has its own.

gradient of the loss -> + l2 * w -> clip by global norm -> update rule -> w - learning_rate * step

An optimiser with `takes_rate` gets the learning rate among its numbers, and its step is added as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from workers.contracts import Optimizer

Tree = Any  # a pytree of arrays


class Measured(NamedTuple):
    """Of the gradient of the loss alone, before penalty and clip, at the weights before the step."""

    grad_norm_sq: jax.Array  # f32[]: |g|^2
    grad_dot_weight: jax.Array  # f32[]: g.w


def step(
    optimizer: Optimizer,
    l2_on: Literal["all", "kernels"],
    hyper: Mapping[str, jax.Array],
    learning_rate: jax.Array,
    gradient: Tree,
    params: Tree,
    slots: Tree,
) -> tuple[Tree, Tree, Measured]:
    """Return parameters and the optimiser's state after a step, and what was measured.

    Args:
        optimizer: the rule; what it depends on besides `hyper`.
        l2_on: whether the penalty spares parameters of fewer than two dimensions (biases and scales of norms).
        hyper: ``l2``, ``clip`` (infinite for none) and the optimiser's numbers, f32[] each.
        gradient: of the loss without the penalty.
    """
    # The penalty 0.5 * l2 * sum(w**2) adds l2 * w before clipping (paper's training code).
    penalised = jax.tree.map(
        lambda g, w: g + hyper["l2"] * w if l2_on == "all" or is_kernel(w) else g, gradient, params
    )
    norm = jnp.sqrt(_dot(penalised, penalised))
    scale = jnp.where(norm >= hyper["clip"], hyper["clip"] / norm, 1.0)
    clipped = jax.tree.map(lambda g: scale * g, penalised)
    if getattr(optimizer, "takes_rate", False):
        rule = optimizer.transform({**hyper, "learning_rate": learning_rate})
        updates, slots = rule.update(clipped, slots, params)
        moved = jax.tree.map(jnp.add, params, updates)
    else:
        updates, slots = optimizer.transform(hyper).update(clipped, slots, params)
        moved = jax.tree.map(lambda w, update: w - learning_rate * update, params, updates)
    return moved, slots, Measured(_dot(gradient, gradient), _dot(gradient, params))


def evaluated(optimizer: Optimizer, params: Tree, slots: Tree) -> Tree:
    """Return the parameters that a network is evaluated at: those it is trained at, unless its optimiser says otherwise."""
    at = getattr(optimizer, "evaluated", None)
    return params if at is None else at(params, slots)


def is_kernel(weight: jax.Array) -> bool:
    """Whether a parameter has two or more dimensions, unlike biases and the scales of norms."""
    return weight.ndim > 1


def _dot(left: Tree, right: Tree) -> jax.Array:
    """Inner product over all leaves of two pytrees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, left, right))
