"""Schedule-Free training (Defazio et al., arXiv 2405.15682), by optax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workers.config import require
from workers.optimizers.rules import OptimizerRule

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class ScheduleFree(OptimizerRule):
    """Averages of the weights instead of a decaying rate; meant for a constant rate, with or without warm-up.

    The network is trained at weights between the average and the last iterate, and evaluated at the average. The recorded norm,
    which ABEL observes, is that of the former. Batch statistics are those of training: the authors advise to compute them anew
    at the average, which is not done here.
    """

    takes_rate: ClassVar[bool] = True
    kind: Literal["schedule_free"] = "schedule_free"
    base: Literal["sgd", "adamw"] = "sgd"  # the rule of the iterates, without momentum
    b1: float = 0.9  # weight of the average where the network is trained
    b2: float = 0.999  # of adamw: decay of the mean of squared gradients
    eps: float = 1e-8  # of adamw: added to the root of the mean of squared gradients
    weight_decay: float = 0.0  # outside the loss

    def __post_init__(self) -> None:
        require(self.base in ("sgd", "adamw"), "base", "be 'sgd' or 'adamw'", self.base)
        require(0 < self.b1 < 1, "b1", "lie in (0, 1)", self.b1)
        require(0 <= self.b2 < 1, "b2", "lie in [0, 1)", self.b2)
        require(0 < self.eps < math.inf, "eps", "be finite and above 0", self.eps)
        holds = 0 <= self.weight_decay < math.inf
        require(holds, "weight_decay", "be finite and at least 0", self.weight_decay)

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule; the learning rate is one of its numbers, as the average is weighted by its square."""
        import optax.contrib

        rate, decay = hyper.get("learning_rate", 0.0), hyper["weight_decay"]
        if self.base == "sgd":
            iterate = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate))
        else:
            iterate = optax.adamw(rate, b1=0.0, b2=hyper["b2"], eps=hyper["eps"], weight_decay=decay)
        return optax.contrib.schedule_free(iterate, rate, b1=hyper["b1"])

    def evaluated(self, params: Any, slots: Any) -> Any:
        """Return the average of the iterates."""
        import optax.contrib

        return optax.contrib.schedule_free_eval_params(slots, params)
