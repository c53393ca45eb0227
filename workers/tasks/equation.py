"""The weight-norm equation over an epoch, recorded at every step and summed on the host (defined in `abel.dynamics`).

Sums over an epoch, in total and, for the paper's three terms, also by parameter:

    dynamics/growth, dynamics/decay, dynamics/alignment    the paper's terms
    dynamics/residual      dynamics/change_steps minus these three
    dynamics/change_sgd    exact change that plain SGD would make with the same gradients, without momentum or clipping
    dynamics/change_steps  |u|^2 + 2 w.u over the steps u actually taken: exact for every optimiser
    dynamics/change        |w|^2 after the epoch minus |w|^2 before it
    dynamics/ratio, dynamics/balance    computed from the sums; only with L2
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
    """The recorded terms of an epoch, by parameter."""

    parts: dict[str, jax.Array]  # f32[steps, COLUMNS]
    weight_norm_sq: dict[str, jax.Array]  # f32[]: before the epoch


def parts(params: Tree, gradient: Tree, after: Tree, learning_rate: jax.Array, l2: jax.Array) -> dict[str, jax.Array]:
    """Return the terms of one step by parameter, f32[COLUMNS]; the gradient excludes penalty, clipping and momentum."""
    terms = dynamics.terms(params, gradient, learning_rate, l2)
    moved = dynamics.displacements(params, after)
    return {path: jnp.stack([*terms[path], moved[path].change]) for path in terms}


def metrics(recorded: Equation | None, after: Mapping[str, Any]) -> dict[str, float]:
    """Return the sums over an epoch in float64; empty if nothing was recorded.

    Args:
        recorded: as numpy arrays.
        after: squared norms of the parameters after the epoch.
    """
    if recorded is None:
        return {}
    with np.errstate(invalid="ignore", over="ignore"):  # overflow in a diverging run is not an error
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
