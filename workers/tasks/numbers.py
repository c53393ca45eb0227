"""The numbers of a program that are arguments of its task's compiled functions, so that a grid over them compiles once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from workers.config import Program


def hyper_numbers(program: Program, **others: float) -> dict[str, float]:
    """Return l2, clip (infinite for none), the task's own numbers and those of the optimiser.

    Raises:
        ValueError: the optimiser has a number of the same name.
    """
    ours = {"l2": program.l2, "clip": math.inf if program.clip is None else program.clip, **others}
    own = program.optimizer.hyper()
    if taken := {*ours, "learning_rate"} & own.keys():
        raise ValueError(f"optimizer {program.optimizer.kind}: must not have numbers called {', '.join(sorted(taken))}")
    return ours | own


def as_arrays(numbers: Mapping[str, float]) -> dict[str, jax.Array]:
    """Return the numbers as f32[] each; whoever asks first may be a trace that only wants to know shapes."""
    with jax.ensure_compile_time_eval():
        return {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()}
