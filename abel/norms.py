"""Squared L2 norm of a network's weights, per leaf and in total (paper, section 1: the sum over layers of the squares).

`per_leaf` runs on the device, inside the jitted step. `total` sums on the host in double precision, because near
equilibrium the total changes by a tiny fraction of its size:

>>> import numpy as np
>>> params = {"conv1": {"kernel": np.full((2, 2), 3.0, np.float32), "bias": np.zeros(2, np.float32)}}
>>> leaves = per_leaf(params)
>>> {path: float(norm_sq) for path, norm_sq in leaves.items()}
{'conv1/bias': 0.0, 'conv1/kernel': 36.0}
>>> total(leaves)
36.0

The paper does not say which parameters count. By default all do, as in the L2 penalty of the paper's training code. To
sum a subset, pass a filter:

>>> sorted(per_leaf(params, where=matrices(params))), sorted(per_leaf(params, where=matching("conv1/bias$")))
(['conv1/kernel'], ['conv1/bias'])

Schedules receive one number and know no filter: the training loop chooses what to sum. A sweep always sums all
parameters. The filter is not part of a program, since it does not affect training.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from abel import checks

__all__ = ["Where", "all_parameters", "matching", "matrices", "per_leaf", "total"]

Where = Callable[[str], bool]


def all_parameters(path: str) -> bool:
    """Keep every parameter, the default reading of the paper."""
    return True


def matrices(params: Any) -> Where:
    """Return a filter that keeps the leaves of `params` with more than one dimension: no biases, no batch norm.

    Flax's ImageNet example at the time of the paper penalises exactly these. A departure: the paper excludes none.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return frozenset(_path(key_path) for key_path, leaf in leaves if jnp.ndim(leaf) > 1).__contains__


def matching(pattern: str) -> Where:
    """Return a filter that keeps paths in which a regular expression matches (`re.search`); a departure from the paper.

    >>> [matching("^conv[0-9]+/kernel$")(path) for path in ("conv1/kernel", "conv1/bias", "head/kernel")]
    [True, False, False]
    """
    try:
        found = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise ValueError(f"pattern must be a regular expression, got {pattern!r} ({error})") from None
    return lambda path: found(path) is not None


def per_leaf(params: Any, where: Where | None = None) -> dict[str, jax.Array]:
    """Return the sum of squares of every leaf of a pytree of arrays, by path, such as "conv1/kernel"; jittable.

    Args:
        params: nested dicts, lists or other pytree nodes of real arrays.
        where: filter by path: `all_parameters` (the default), `matrices(params)`, `matching(pattern)` or your own.

    Returns:
        f32[] for each path (sums of float64 leaves stay float64).
    """
    keeps = all_parameters if where is None else checks.function("where", where)
    norms: dict[str, jax.Array] = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = _path(key_path)
        if not keeps(path):
            continue
        if path in norms:
            raise ValueError(f"paths of the parameters must differ when joined by '/', got {path!r} twice")
        norms[path] = _sum_of_squares(path, leaf)
    if not norms:
        raise ValueError("the weight norm must have at least one parameter, got none that counts")
    return norms


def _path(key_path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def _sum_of_squares(path: str, leaf: Any) -> jax.Array:
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"parameters must be floating-point arrays, got {dtype} at {path!r}")
    # Sum bfloat16 weights in float32: bfloat16 would hide the small changes that ABEL watches for.
    return jnp.sum(jnp.square(jnp.asarray(leaf, jnp.promote_types(dtype, jnp.float32))))


def total(norms: Mapping[str, Any]) -> float:
    """Return the sum of `per_leaf` over all paths, correctly rounded to float64 and independent of their order.

    >>> import numpy as np
    >>> total({"a": np.float32(1e8), "b": np.float32(0.5)})
    100000000.5
    """
    return math.fsum(map(float, jax.device_get(list(norms.values()))))
