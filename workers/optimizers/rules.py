"""What the optimisers share: numbers as arguments of the compiled epoch, Adam's moments, and weight decay outside the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from workers.config import require

if TYPE_CHECKING:
    import optax

BLANK = 0.5  # instead of a number that is an argument of the compiled epoch


@dataclass(frozen=True, kw_only=True)
class OptimizerRule:
    """An optimiser whose fields of type float are arguments of the compiled epoch."""

    def hyper(self) -> dict[str, float]:
        """Return the numbers that a grid may vary without recompiling."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.type in (float, "float")}

    def static(self) -> Self:
        """Return the part that the compiled epoch depends on."""
        return replace(self, **dict.fromkeys(self.hyper(), BLANK))


@dataclass(frozen=True, kw_only=True)
class Moments(OptimizerRule):
    """An optimiser that keeps running means of the gradient and of its square."""

    b1: float = 0.9  # decay of the mean of gradients
    b2: float = 0.999  # decay of the mean of squared gradients
    eps: float = 1e-8  # added to the root of the mean of squared gradients

    def __post_init__(self) -> None:
        require(0 <= self.b1 < 1, "b1", "lie in [0, 1)", self.b1)
        require(0 <= self.b2 < 1, "b2", "lie in [0, 1)", self.b2)
        require(0 < self.eps < math.inf, "eps", "be finite and above 0", self.eps)


@dataclass(frozen=True, kw_only=True)
class Decayed(OptimizerRule):
    """An optimiser with weight decay outside the loss: it adds weight_decay * w to the step, before the learning rate."""

    weight_decay: float = 0.01  # share of a parameter that a step takes away, times the rate
    decay_on: Literal["all", "kernels"] = "all"  # parameters that decay; kernels are those of two or more dimensions

    def __post_init__(self) -> None:
        holds = 0 <= self.weight_decay < math.inf
        require(holds, "weight_decay", "be finite and at least 0", self.weight_decay)
        require(self.decay_on in ("all", "kernels"), "decay_on", "be 'all' or 'kernels'", self.decay_on)


@dataclass(frozen=True, kw_only=True)
class DecayedMoments(Decayed, Moments):
    """An optimiser with Adam's moments and weight decay outside the loss."""

    def __post_init__(self) -> None:
        Moments.__post_init__(self)
        Decayed.__post_init__(self)


def adam(hyper: Mapping[str, Any]) -> optax.GradientTransformation:
    """Return Adam's rule without the learning rate."""
    import optax

    return optax.scale_by_adam(b1=hyper["b1"], b2=hyper["b2"], eps=hyper["eps"])


def decay(hyper: Mapping[str, Any], decay_on: Literal["all", "kernels"]) -> optax.GradientTransformation:
    """Return the rule that adds the weight decay to a step."""
    import optax

    return optax.add_decayed_weights(hyper["weight_decay"], _kernels if decay_on == "kernels" else None)


def _kernels(params: Any) -> Any:
    import jax

    from workers import update

    return jax.tree.map(update.is_kernel, params)
