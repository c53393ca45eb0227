"""Squared L2 norm of a network's weights, per leaf and in total (paper, section 1: the sum over layers of the squares).

On the device, per leaf and inside the jitted step; on the host, the total in double precision, because near equilibrium
its changes are tiny beside its size:

>>> import numpy as np
>>> params = {"conv1": {"kernel": np.full((2, 2), 3.0, np.float32), "bias": np.zeros(2, np.float32)}}
>>> leaves = per_leaf(params)
>>> {path: float(norm_sq) for path, norm_sq in leaves.items()}
{'conv1/bias': 0.0, 'conv1/kernel': 36.0}
>>> total(leaves)
36.0
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["per_leaf", "total"]


def per_leaf(params: Any, where: Callable[[str], bool] | None = None) -> dict[str, jax.Array]:
    """Return the sum of squares of every leaf of a pytree of arrays, by path, such as "conv1/kernel"; jittable.

    Args:
        params: nested dicts, lists or other pytree nodes of real arrays.
        where: keeps a leaf by its path; by default all count.

    Returns:
        f32[] for each path (sums of float64 leaves stay float64).
    """
    norms: dict[str, jax.Array] = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = jax.tree_util.keystr(key_path, simple=True, separator="/")
        if where is not None and not where(path):
            continue
        if path in norms:
            raise ValueError(f"paths of the parameters must differ when joined by '/', got {path!r} twice")
        norms[path] = _sum_of_squares(path, leaf)
    if not norms:
        raise ValueError("the weight norm must have at least one parameter, got none that counts")
    return norms


def _sum_of_squares(path: str, leaf: Any) -> jax.Array:
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"parameters must be floating-point arrays, got {dtype} at {path!r}")
    # bfloat16 weights still sum in float32: their squares would lose what the norm is watched for.
    return jnp.sum(jnp.square(jnp.asarray(leaf, jnp.promote_types(dtype, jnp.float32))))


def total(norms: Mapping[str, Any]) -> float:
    """Return the sum of `per_leaf` over all paths, exactly rounded to float64 whatever their order.

    >>> import numpy as np
    >>> total({"a": np.float32(1e8), "b": np.float32(0.5)})
    100000000.5
    """
    return math.fsum(map(float, jax.device_get(list(norms.values()))))
