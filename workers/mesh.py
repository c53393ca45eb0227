"""Data parallelism over all devices of a worker: each has a part of every batch, and the whole of everything else.

A worker with one device has no mesh; all functions here then return what they are given, and nothing enters the compiled program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")  # a pytree of arrays

_AXIS = "data"


@cache
def mesh() -> Mesh | None:
    """Return the mesh of this process's devices, along the one axis `data`; None for a single device."""
    devices = jax.devices()
    return Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,)) if len(devices) > 1 else None


def divisible(batch_size: int) -> int:
    """Return the smallest batch that can be split over the devices and has at least so many examples."""
    devices = jax.device_count()
    return -(-batch_size // devices) * devices


def split(array: jax.Array, axis: int = 0) -> jax.Array:
    """Return a traced array, split over the devices along an axis, whose size they must divide."""
    return array if mesh() is None else _constrained(array, *(None,) * axis, _AXIS)


def everywhere(tree: Tree) -> Tree:
    """Return traced arrays, whole on every device."""
    return tree if mesh() is None else _constrained(tree)


def placed(tree: Tree) -> Tree:
    """Return arrays, copied to every device that does not have them yet.

    An epoch is compiled for arrays that are placed in one way, so those of a fresh or restored state are placed first.
    """
    copied: Tree = tree if mesh() is None else jax.device_put(tree, _sharding())
    return copied


def _constrained(tree: Tree, *axes: str | None) -> Tree:
    constrained: Tree = jax.lax.with_sharding_constraint(tree, _sharding(*axes))  # type: ignore[no-untyped-call]
    return constrained


def _sharding(*axes: str | None) -> NamedSharding:
    """Return how an array is placed of which these axes are split; without any, it is whole on every device."""
    found = mesh()
    assert found is not None
    return NamedSharding(found, PartitionSpec(*axes))  # type: ignore[no-untyped-call]


def state_bytes(init: Callable[[jax.Array], Any]) -> int:
    """Return the bytes of the state that `init` creates from a key, without computing it; 0 if it cannot be traced."""
    try:
        leaves = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0)))
    except jax.errors.JAXTypeError:  # a task may create its state outside JAX
        return 0
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves if not _is_key(leaf))


def device_memory() -> int | None:
    """Return the memory of one device in bytes; None for processors, which have the machine's, or if it is unknown."""
    device = jax.devices()[0]
    limit: int | None = None if device.platform == "cpu" else (device.memory_stats() or {}).get("bytes_limit")
    return limit


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
