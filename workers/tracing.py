"""Traces of JAX: a training that does its work outside JAX tells in one only the shapes of its results."""

from typing import Any

import jax


def is_traced(tree: Any) -> bool:
    """Whether arrays of a pytree are those of a trace, which have shapes and no numbers."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
