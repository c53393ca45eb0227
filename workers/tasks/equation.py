"""The weight-norm equation over an epoch: recorded step by step, summed on the host (`abel.dynamics` says what it is).

Its sums over an epoch, in total and, for the paper's three terms, by parameter:

    dynamics/growth, dynamics/decay, dynamics/alignment    the paper's terms
    dynamics/residual      the exact change less these three
    dynamics/change_sgd    what plain SGD changes exactly, by the same gradients; with momentum or a clip it does otherwise
    dynamics/change_steps  |u|^2 + 2 w.u over the steps u that were made: exact for every optimiser
    dynamics/change        |w|^2 after the epoch less |w|^2 before it
    dynamics/ratio, dynamics/balance    of the sums, where there is L2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abel import dynamics, norms

Tree = Any  # a pytree of arrays

PREFIX = "dynamics/"
COLUMNS = (*dynamics.Terms._fields, "change_steps")


class Equation(NamedTuple):
    """An epoch's part of the record, by parameter."""

    parts: dict[str, jax.Array]  # f32[steps, COLUMNS]
    weight_norm_sq: dict[str, jax.Array]  # f32[]: before the epoch


def parts(params: Tree, gradient: Tree, after: Tree, learning_rate: jax.Array, l2: jax.Array) -> dict[str, jax.Array]:
    """One step, by parameter: f32[COLUMNS]. The gradient is without the penalty, and before any clip or momentum."""
    terms = dynamics.terms(params, gradient, learning_rate, l2)
    moved = dynamics.displacements(params, after)
    return {path: jnp.stack([*terms[path], moved[path].change]) for path in terms}


def metrics(recorded: Equation | None, after: Mapping[str, Any]) -> dict[str, float]:
    """The sums over an epoch in float64; empty where nothing was recorded.

    Args:
        recorded: as numpy arrays.
        after: squared norms of the parameters after the epoch.
    """
    if recorded is None:
        return {}
    with np.errstate(invalid="ignore", over="ignore"):  # what a diverging run sums up to is not an error
        return {f"{PREFIX}{name}": float(value) for name, value in _sums(recorded, after).items()}


def _sums(recorded: Equation, after: Mapping[str, Any]) -> dict[str, Any]:
    sums: dict[str, Any] = {path: np.sum(steps, 0, dtype=np.float64) for path, steps in recorded.parts.items()}
    *columns, change_steps = sum(sums.values())
    terms: Any = dynamics.Terms(*columns)
    found: dict[str, Any] = {
        "growth": terms.growth,
        "decay": terms.decay,
        "alignment": terms.alignment,
        "residual": change_steps - terms.approximation,
        "change_sgd": terms.change,
        "change_steps": change_steps,
        "change": norms.total(after) - norms.total(recorded.weight_norm_sq),
    }
    if terms.decay < 0:
        found |= {"ratio": -terms.growth / terms.decay, "balance": -(terms.growth + terms.alignment) / terms.decay}
    for path, (growth, decay, alignment, *_) in sums.items():
        found |= {f"growth/{path}": growth, f"decay/{path}": decay, f"alignment/{path}": alignment}
    return found
