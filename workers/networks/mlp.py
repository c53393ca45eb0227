"""The network of `workers.models.mlp`.

Axes: B batch, H height, W width, C channels, K classes, F features.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
from flax import nnx

if TYPE_CHECKING:
    from workers.models.mlp import Mlp


class MlpNet(nnx.Module):
    """The network of `Mlp`; kernels are LeCun-normal."""

    def __init__(self, config: Mlp, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        features = math.prod(shape)
        self.names = tuple(f"dense{number}" for number in range(1, config.layers + 1))
        for name in self.names:
            setattr(self, name, nnx.Linear(features, config.width, rngs=rngs))
            features = config.width
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK; nothing is drawn at random."""
        features_BF = images_BHWC.reshape(images_BHWC.shape[0], -1)
        for name in self.names:
            features_BF = nnx.relu(getattr(self, name)(features_BF))
        logits_BK: jax.Array = self.head(features_BF)
        return logits_BK
