"""The weight-norm equation: what makes the squared norm of the weights fall, turn and rise (paper, section 4.1).

A step of SGD with L2 is w' = w - eta g - eta lambda w, where g is the gradient without the penalty. For each parameter,
and so in total, it changes |w|^2 by

    eta^2 |g|^2 - 2 eta lambda |w|^2 - 2 eta g.w  +  eta lambda (eta lambda |w|^2 + 2 eta g.w)
      growth          decay           alignment                    residual

The first three terms are the paper's equation 1, its approximation for eta lambda << 1; all four are exact:

>>> import jax.numpy as jnp
>>> params, gradient = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}
>>> step = terms(params, gradient, learning_rate=0.5, l2=0.1)["w"]
>>> [round(float(term), 4) for term in (*step, step.approximation, step.change)]
[0.25, -2.5, -3.0, 0.2125, -5.25, -5.0375]

With momentum, clipping or Adam a step does not have this form. The change in terms of the step u = w' - w always holds:

>>> step = displacements(params, {"w": jnp.array([2.35, 3.8])})["w"]
>>> round(float(step.change), 4)
-5.0375

Two errors of the paper are corrected: its exact line (S2) lacks a factor eta in the last term, and without L2 the norm
rises where eta > 2 g.w / |g|^2, of which the paper prints the reciprocal. All functions are pure and work under `jit`
and `vmap`, except `bounces`, which reads a recorded curve on the host (`abel.curves`).
"""

import math
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from abel import checks, norms
from abel.curves import Bounce, Bounces, bounces

__all__ = [
    "Bounce",
    "Bounces",
    "Displacement",
    "Rotation",
    "Terms",
    "bounces",
    "displacements",
    "relaxation_steps",
    "rotation",
    "rotations",
    "terms",
    "total",
]

Real = float | jax.Array
_Sum = TypeVar("_Sum", "Terms", "Displacement")


class Terms(NamedTuple):
    """The terms of the weight-norm equation for one step of plain SGD; they add up over parameters."""

    growth: jax.Array  # f32[]: eta^2 |g|^2
    decay: jax.Array  # f32[]: -2 eta lambda |w|^2
    alignment: jax.Array  # f32[]: -2 eta g.w; zero where scaling the weights does not change the loss (S3)
    residual: jax.Array  # f32[]: the exact change minus the other three, eta lambda (eta lambda |w|^2 + 2 eta g.w)

    @property
    def approximation(self) -> jax.Array:
        """The paper's d|w|^2 (equation 1), f32[]."""
        return self.growth + self.decay + self.alignment

    @property
    def change(self) -> jax.Array:
        """The exact d|w|^2 of plain SGD, f32[]."""
        return self.approximation + self.residual

    @property
    def ratio(self) -> jax.Array:
        """r = eta |g|^2 / (2 lambda |w|^2), f32[]; infinite without L2.

        Where g.w = 0, the norm falls for r < 1, turns at r = 1, and stays near it in equilibrium (paper, section 4.1).

        >>> float(Terms(growth=0.5, decay=-2.0, alignment=0.0, residual=0.0).ratio)
        0.25
        """
        return jnp.divide(self.growth, jnp.abs(self.decay))

    @property
    def balance(self) -> jax.Array:
        """(growth + alignment) / -decay, f32[]: the ratio that is 1 at a minimum for any g.w; +-infinite without L2.

        >>> float(Terms(growth=0.5, decay=-2.0, alignment=1.5, residual=0.0).balance)
        1.0
        """
        return jnp.divide(self.growth + self.alignment, jnp.abs(self.decay))


class Displacement(NamedTuple):
    """How a step u = w' - w of any optimiser changes the norm; displacements add up over parameters."""

    norm_sq: jax.Array  # f32[]: |u|^2
    dot_weight: jax.Array  # f32[]: w.u

    @property
    def change(self) -> jax.Array:
        """d|w|^2 = |u|^2 + 2 w.u, f32[]: exact, without the cancellation of two large norms."""
        return self.norm_sq + 2 * self.dot_weight


class Rotation(NamedTuple):
    """The angle by which a step turns the weights, in radians."""

    angle: jax.Array  # f32[]: between w and w'; NaN where either is zero, as a bias may be initially
    from_norms: jax.Array  # f32[]: computed from the norms alone (equation S4); NaN where the norm fell


def terms(params: Any, gradient: Any, learning_rate: Real, l2: Real) -> dict[str, Terms]:
    """Return the terms of the weight-norm equation for every leaf, by path (paper, equation 1, exact form derived here).

    Args:
        params: the weights before the step, a pytree of real arrays.
        gradient: gradient of the loss without the penalty, a pytree like `params`.
        learning_rate: eta, >= 0.
        l2: lambda, >= 0: the loss contains 0.5 * l2 * |w|^2.
    """
    _refuse("learning_rate", learning_rate)
    _refuse("l2", l2)
    return {
        path: _terms(norm_sq, _dot(slope, slope), _dot(slope, weight), learning_rate, l2)
        for path, norm_sq, weight, slope in _pairs(params, gradient, "gradient")
    }


def _terms(norm_sq: jax.Array, grad_norm_sq: jax.Array, grad_dot_weight: jax.Array, rate: Real, l2: Real) -> Terms:
    shrinks = rate * l2
    return Terms(
        growth=rate * rate * grad_norm_sq,
        decay=-2 * shrinks * norm_sq,
        alignment=-2 * rate * grad_dot_weight,
        residual=shrinks * (shrinks * norm_sq + 2 * rate * grad_dot_weight),
    )


def displacements(before: Any, after: Any) -> dict[str, Displacement]:
    """Return |u|^2 and w.u of a step u = w' - w for every leaf, by path; `after` is a pytree like `before`."""
    found = {}
    for path, _, weight, later in _pairs(before, after, "after"):
        step = later - weight
        found[path] = Displacement(_dot(step, step), _dot(weight, step))
    return found


def total(parts: Mapping[str, _Sum]) -> _Sum:
    """Return the sum over all paths of the result of `terms` or `displacements`.

    Select paths to sum over a layer:

    >>> import jax.numpy as jnp
    >>> params = {"conv": {"bias": jnp.ones(2), "kernel": jnp.ones(3)}, "dense": jnp.ones(4)}
    >>> by_leaf = terms(params, params, learning_rate=0.5, l2=0.0)
    >>> float(total(by_leaf).growth)
    2.25
    >>> float(total({path: leaf for path, leaf in by_leaf.items() if path.startswith("conv/")}).growth)
    1.25
    """
    if not parts:
        raise ValueError("a total must have at least one part, got none")
    kind = type(next(iter(parts.values())))
    return kind(*(reduce(add, column) for column in zip(*parts.values(), strict=True)))


def rotations(before: Any, after: Any) -> dict[str, Rotation]:
    """Return how a step turns every leaf, by path; `after` is a pytree like `before`.

    Without L2, in a scale-invariant layer, cos(angle) = |w| / |w'| and so sin(angle)^2 = d|w|^2 / |w'|^2 (paper,
    equation S4): the weights stop turning when the norm stops growing.

    >>> import jax.numpy as jnp
    >>> turned = rotations({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([3.0, 4.0])})["w"]
    >>> [round(float(angle), 4) for angle in turned]
    [0.9273, 0.9273]
    """
    return {path: _rotation([weight], [later]) for path, _, weight, later in _pairs(before, after, "after")}


def rotation(before: Any, after: Any) -> Rotation:
    """Return how a step turns all weights as one vector; see `rotations`."""
    _, _, weights, later = zip(*_pairs(before, after, "after"), strict=True)
    return _rotation(list(weights), list(later))


def _rotation(before: list[jax.Array], after: list[jax.Array]) -> Rotation:
    norm_sq, later_norm_sq = _norm_sq(before), _norm_sq(after)
    scale, later_scale = jax.lax.rsqrt(norm_sq), jax.lax.rsqrt(later_norm_sq)
    apart = _norm_sq([w * scale - v * later_scale for w, v in zip(before, after, strict=True)])
    along = _norm_sq([w * scale + v * later_scale for w, v in zip(before, after, strict=True)])
    change = reduce(add, (_dot(v - w, v + w) for w, v in zip(before, after, strict=True)))
    # An arc cosine would lose small angles: in float32 it resolves none below 3e-4.
    angle = 2 * jnp.arctan2(jnp.sqrt(apart), jnp.sqrt(along))
    return Rotation(angle, jnp.arcsin(jnp.sqrt(change / later_norm_sq)))


def relaxation_steps(learning_rate: float, l2: float, momentum: float = 0.0) -> float:
    """Return tau = (1 - momentum) / (2 eta lambda), the number of steps in which L2 alone shrinks |w|^2 by a factor e.

    A run should last many relaxation times: the paper's runs last 39 to 350. Infinite without L2.

    >>> round(relaxation_steps(0.1, 0.005)), round(relaxation_steps(0.1, 0.005, momentum=0.9))
    (1000, 100)
    """
    _refuse("learning_rate", learning_rate)
    _refuse("l2", l2)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum!r}")
    rate = 2 * learning_rate * l2
    return (1 - momentum) / rate if rate else math.inf


def _pairs(params: Any, other: Any, name: str) -> list[tuple[str, jax.Array, jax.Array, jax.Array]]:
    """Return path, squared norm, parameter and matching leaf of `other`, for every leaf."""
    norms_sq = norms.per_leaf(params)
    leaves, others = jax.tree.leaves(params), jax.tree.leaves(other)
    ours: Any = jax.tree.structure(params)
    theirs: Any = jax.tree.structure(other)
    if ours != theirs:
        raise ValueError(f"{name} must be a pytree like the parameters, got {theirs}")
    pairs = []
    for (path, norm_sq), leaf, beside in zip(norms_sq.items(), leaves, others, strict=True):
        if jnp.shape(leaf) != jnp.shape(beside):
            raise ValueError(f"{name} must have the shape {jnp.shape(leaf)} at {path!r}, got {jnp.shape(beside)}")
        pairs.append((path, norm_sq, _at_least_single(leaf), _at_least_single(beside)))
    return pairs


def _at_least_single(leaf: Any) -> jax.Array:
    return jnp.asarray(leaf, jnp.promote_types(jnp.result_type(leaf), jnp.float32))


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.sum(left * right)


def _norm_sq(leaves: list[jax.Array]) -> jax.Array:
    return reduce(add, (_dot(leaf, leaf) for leaf in leaves))


def _refuse(name: str, value: Real) -> None:
    if isinstance(value, jax.core.Tracer):
        return  # a traced value is not known yet; the caller must check it
    number: Any = value
    checks.not_negative(name, number.item() if getattr(number, "ndim", None) == 0 else number)
