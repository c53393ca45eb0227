"""LAMB (You et al., arXiv 1904.00962)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workers.optimizers import rules

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class Lamb(rules.DecayedMoments):
    """The step of AdamW, scaled per parameter to the norm of the weights."""

    kind: Literal["lamb"] = "lamb"
    eps: float = 1e-6  # added to the root of the mean of squared gradients

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        import optax

        decayed = optax.chain(rules.adam(hyper), rules.decay(hyper, self.decay_on))
        return optax.chain(decayed, optax.scale_by_trust_ratio())
