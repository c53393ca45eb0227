"""Double-float arithmetic: numbers as the sum of two float32, since JAX disables float64 by default.

Near equilibrium a weight norm changes by less than the resolution of float32, and a float32 rate drifts when it is
multiplied repeatedly. Two float32 together have 48 bits (Dekker, "A floating-point technique for extending the available
precision", 1971; Knuth's sum).

>>> float(of(1e8 + 3) - of(1e8 + 2)), float(jnp.float32(1e8 + 3) - jnp.float32(1e8 + 2))
(1.0, 0.0)
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["DoubleFloat", "of", "product", "quotient", "total_of"]


class DoubleFloat(NamedTuple):
    """The number `high + low`, where `high` is that number rounded to float32."""

    high: jax.Array  # f32[]
    low: jax.Array  # f32[]

    def __sub__(self, other: "DoubleFloat") -> jax.Array:
        """Return the difference, rounded to float32 but never to the wrong sign, f32[]."""
        return (self.high - other.high) + (self.low - other.low)


def of(value: Any) -> DoubleFloat:
    """Convert a number or a scalar array; Python floats and float64 arrays keep 48 bits."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        high = value.astype(np.float32)
        low = (value - high.astype(value.dtype)).astype(np.float32)
    return DoubleFloat(jnp.asarray(high), _if_finite(high, low))


def total_of(values: Iterable[jax.Array]) -> DoubleFloat:
    """Return the sum of scalar arrays without rounding to float32 in between."""
    sum_ = of(0.0)
    for value in map(of, values):
        high, error = _sum(sum_.high, value.high)
        sum_ = _normal(high, error + (sum_.low + value.low))
    return sum_


def product(a: DoubleFloat, b: DoubleFloat) -> DoubleFloat:
    """Return `a * b`."""
    high, error = _product(a.high, b.high)
    return _normal(high, error + (a.high * b.low + a.low * b.high))


def quotient(a: jax.Array, b: jax.Array) -> DoubleFloat:
    """Return `a / b` of two float32."""
    high = a / b
    back, error = _product(high, b)
    return _normal(high, ((a - back) - error) / b)


def _sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded sum and its rounding error (Knuth)."""
    rounded = a + b
    b_seen = rounded - a
    return rounded, _if_finite(rounded, (a - (rounded - b_seen)) + (b - b_seen))


def _product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded product and its rounding error (Dekker); products of halves are exact."""
    rounded = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return rounded, ((a_high * b_high - rounded) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Dekker splits by a multiplication and two sums; a compiler that fuses the first two would break that.
    high = jax.lax.reduce_precision(a, exponent_bits=8, mantissa_bits=11)
    return high, a - high


def _normal(high: jax.Array, low: jax.Array) -> DoubleFloat:
    return DoubleFloat(*_sum(high, low))


def _if_finite(rounded: Any, rest: Any) -> jax.Array:
    """Return the rounding error, 0 for an infinity, where the subtraction gives NaN."""
    return jnp.where(jnp.isfinite(rounded), rest, 0)
