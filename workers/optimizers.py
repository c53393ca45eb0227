"""Optimisers: optax update rules whose numbers are arguments of the compiled epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import optax

from workers.config import require


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent: m = momentum * m + g; the step is m, or g + momentum * m with Nesterov."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        holds = math.isfinite(self.momentum) and 0 <= self.momentum < 1
        require(holds, "momentum", "lie in [0, 1)", self.momentum)

    def hyper(self) -> dict[str, float]:
        """Return the numbers that a grid may vary without recompiling."""
        return {"momentum": self.momentum}

    def static(self) -> Sgd:
        """Return the part that the compiled epoch depends on."""
        return replace(self, momentum=0.0)

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        return optax.trace(decay=hyper["momentum"], nesterov=self.nesterov)
