"""AdamW (Loshchilov and Hutter, arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workers.optimizers import rules

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class Adamw(rules.DecayedMoments):
    """Adam with weight decay outside the loss and the moments."""

    kind: Literal["adamw"] = "adamw"

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        import optax

        return optax.chain(rules.adam(hyper), rules.decay(hyper, self.decay_on))
