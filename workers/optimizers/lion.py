"""Lion (Chen et al., arXiv 2302.06675)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workers.config import require
from workers.optimizers import rules

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class Lion(rules.Decayed):
    """The sign of a mean of gradients, with weight decay outside it."""

    kind: Literal["lion"] = "lion"
    b1: float = 0.9  # weight of the momentum in the step
    b2: float = 0.99  # decay of the momentum

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.b1 < 1, "b1", "lie in [0, 1)", self.b1)
        require(0 <= self.b2 < 1, "b2", "lie in [0, 1)", self.b2)

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        import optax

        return optax.chain(optax.scale_by_lion(b1=hyper["b1"], b2=hyper["b2"]), rules.decay(hyper, self.decay_on))
