"""Any optimiser of optax, by its name: `{kind: optax, name: adagrad, options: {eps: 1.0e-7}}`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from workers.config import require
from workers.optimizers.rules import BLANK

Option = bool | int | float | str | None
_PREFIX = "options."  # of the numbers among the arguments of the compiled epoch


@dataclass(frozen=True, kw_only=True)
class Optax:
    """An optimiser of optax whose step is proportional to its learning rate, which the schedule supplies."""

    kind: Literal["optax"] = "optax"
    name: str  # a function of optax or optax.contrib, such as adagrad or contrib.muon
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)  # its arguments, without the learning rate

    def __post_init__(self) -> None:
        parameters = _parameters(self.name)
        require(parameters is not None, "name", "be an optimiser of optax", self.name)
        strange = [name for name in self.options if name not in (parameters or ())]
        known = f"be arguments of optax.{self.name} ({', '.join(sorted(parameters or ()))})"
        require(not strange, "options", f"{known}, not {', '.join(strange)}", dict(self.options))

    def hyper(self) -> dict[str, float]:
        """Return the numbers that a grid may vary without recompiling: the floats, if optax takes them as arrays.

        Raises:
            ValueError: optax cannot take a step with these options, or the step is not proportional to the learning rate. It is
                tried here and not earlier, as it starts JAX on a device, which only workers may do.
        """
        options = tuple(sorted(self.options.items()))
        fault = _fault(self.name, options)
        if fault is not None:
            raise ValueError(f"optimizer: optax.{self.name} cannot be used with the options {dict(options)}: {fault}")
        floats = {name: value for name, value in self.options.items() if isinstance(value, float)}
        traced = floats and _takes_arrays(self.name, options, tuple(floats))
        return {_PREFIX + name: value for name, value in floats.items()} if traced else {}

    def static(self) -> Optax:
        """Return the part that the compiled epoch depends on."""
        blank = {name.removeprefix(_PREFIX): BLANK for name in self.hyper()}
        return replace(self, options={**self.options, **blank})

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        given = {name.removeprefix(_PREFIX): value for name, value in hyper.items() if name.startswith(_PREFIX)}
        return _rule(self.name, {**self.options, **given})


def _rule(name: str, options: Mapping[str, Any], learning_rate: float = 1.0) -> optax.GradientTransformation:
    """Return the rule, whose steps are subtracted, unlike those of optax."""
    rule = _function(name)(learning_rate=learning_rate, **options)
    return optax.chain(rule, optax.scale(-1.0))


def _function(name: str) -> Callable[..., optax.GradientTransformation]:
    room = optax.contrib if name.startswith("contrib.") else optax
    found: Callable[..., optax.GradientTransformation] = getattr(room, name.removeprefix("contrib."))
    return found


@lru_cache(maxsize=64)
def _parameters(name: str) -> frozenset[str] | None:
    """Return the arguments of an optimiser except its learning rate, or None if there is no such optimiser."""
    try:
        found = frozenset(inspect.signature(_function(name)).parameters)
    except (AttributeError, TypeError, ValueError):
        return None
    return found - {"learning_rate"} if "learning_rate" in found else None


@lru_cache(maxsize=64)
def _fault(name: str, options: tuple[tuple[str, Option], ...]) -> str | None:
    """Return why an optimiser cannot be used with some options, or None; found by two steps on two small parameters."""
    try:
        if _draws(_rule(name, dict(options))):
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
    first = _rule(name, options)
    _, slots = first.update(gradient, first.init(params), params)
    return jax.tree.leaves(_rule(name, options, learning_rate).update(gradient, slots, params)[0])


def _draws(rule: optax.GradientTransformation) -> bool:
    """Whether a rule keeps a PRNG key, which no checkpoint can hold."""
    leaves = jax.tree.leaves(rule.init({"kernel": jnp.ones((2, 2))}))
    return any(jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key) for leaf in leaves)


@lru_cache(maxsize=64)
def _takes_arrays(name: str, options: tuple[tuple[str, Option], ...], floats: tuple[str, ...]) -> bool:
    """Whether these options may be arguments of a compiled function."""
    given = dict(options)

    def step(numbers: dict[str, jax.Array]) -> list[jax.Array]:
        return _moved(name, {**given, **numbers}, 1.0)

    try:
        jax.eval_shape(step, {option: jnp.float32(given[option]) for option in floats})
    except Exception:  # such as the error of a Python condition on an array
        return False
    return True
