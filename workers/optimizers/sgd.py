"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workers.config import require
from workers.optimizers.rules import OptimizerRule

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class Sgd(OptimizerRule):
    """Stochastic gradient descent: m = momentum * m + g; the step is m, or g + momentum * m with Nesterov."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.0  # share of the last step that the next one keeps
    nesterov: bool = False  # look ahead by the momentum, as the paper does

    def __post_init__(self) -> None:
        require(0 <= self.momentum < 1, "momentum", "lie in [0, 1)", self.momentum)

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        import optax

        return optax.trace(decay=hyper["momentum"], nesterov=self.nesterov)
