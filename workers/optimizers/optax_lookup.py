"""Optimisers of optax by name: their rules and arguments, and whether they can be used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from workers.optimizers.optax_rules import Option


def rule_named(name: str, options: Mapping[str, Any], learning_rate: float = 1.0) -> optax.GradientTransformation:
    """Return the rule, whose steps are subtracted, unlike those of optax."""
    rule = _function(name)(learning_rate=learning_rate, **options)
    return optax.chain(rule, optax.scale(-1.0))


def _function(name: str) -> Callable[..., optax.GradientTransformation]:
    room = optax.contrib if name.startswith("contrib.") else optax
    found: Callable[..., optax.GradientTransformation] = getattr(room, name.removeprefix("contrib."))
    return found


@lru_cache(maxsize=64)
def parameters(name: str) -> frozenset[str] | None:
    """Return the arguments of an optimiser except its learning rate, or None if there is no such optimiser."""
    try:
        found = frozenset(inspect.signature(_function(name)).parameters)
    except (AttributeError, TypeError, ValueError):
        return None
    return found - {"learning_rate"} if "learning_rate" in found else None


@lru_cache(maxsize=64)
def fault(name: str, options: tuple[tuple[str, Option], ...]) -> str | None:
    """Return why an optimiser cannot be used with some options, or None; found by two steps on two small parameters."""
    try:
        if _draws(rule_named(name, dict(options))):
            return "it draws random numbers from a state that no checkpoint can hold"
        whole, half = (_moved(name, dict(options), rate) for rate in (1.0, 0.5))
    except Exception as error:  # of any kind: it is optax that finds the fault
        return f"a trial step failed: {' '.join(str(error).split())}"
    proportional = all(jnp.allclose(one, 2 * other, rtol=1e-3) for one, other in zip(whole, half, strict=True))
    return None if proportional else "its step is not proportional to the learning rate"


def _moved(name: str, options: Mapping[str, Any], learning_rate: float) -> list[jax.Array]:
    """Return the second step on a small matrix and a small vector, after a first one at the learning rate 1."""
    params = {"kernel": jnp.arange(1.0, 5.0).reshape(2, 2), "bias": jnp.ones(2)}
    gradient = jax.tree.map(lambda leaf: 0.1 * leaf + 0.3, params)
    first = rule_named(name, options)
    _, slots = first.update(gradient, first.init(params), params)
    return jax.tree.leaves(rule_named(name, options, learning_rate).update(gradient, slots, params)[0])


def _draws(rule: optax.GradientTransformation) -> bool:
    """Whether a rule keeps a PRNG key, which no checkpoint can hold."""
    leaves = jax.tree.leaves(rule.init({"kernel": jnp.ones((2, 2))}))
    return any(jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key) for leaf in leaves)


@lru_cache(maxsize=64)
def takes_arrays(name: str, options: tuple[tuple[str, Option], ...], floats: tuple[str, ...]) -> bool:
    """Whether these options may be arguments of a compiled function."""
    given = dict(options)

    def step(numbers: dict[str, jax.Array]) -> list[jax.Array]:
        return _moved(name, {**given, **numbers}, 1.0)

    try:
        jax.eval_shape(step, {option: jnp.float32(given[option]) for option in floats})
    except Exception:  # such as the error of a Python condition on an array
        return False
    return True
