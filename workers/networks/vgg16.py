"""The network of `workers.models.vgg16`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers import ops
from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.vgg16 import Vgg16

_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))  # convolutions before each pool, and channels over the width


class Vgg16Net(nnx.Module):
    """The network of `Vgg16`."""

    def __init__(self, config: Vgg16, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        names, pools = [], []
        for stage, (count, factor) in enumerate(_STAGES, start=1):
            for number in range(1, count + 1):
                convolution = nnx.Conv(
                    channels,
                    config.width * factor,
                    kernel_size=(3, 3),
                    kernel_init=layers.initialiser(config.init),
                    conv_general_dilated=ops.conv_general_dilated,
                    rngs=rngs,
                )
                setattr(self, f"conv{stage}_{number}", convolution)
                names.append(f"conv{stage}_{number}")
                channels = config.width * factor
            if height % 2 == 0 and width % 2 == 0:
                pools.append(names[-1])
                height, width = height // 2, width // 2
        self.names, self.pools = tuple(names), frozenset(pools)
        self.dense = nnx.Linear(height * width * channels, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; uses no randomness."""
        features_BHWC = images_BHWC
        for name in self.names:
            features_BHWC = getattr(self, name)(features_BHWC)
            if name in self.pools:
                features_BHWC = ops.max_pool(features_BHWC)
            # ReLU commutes with the maximum, and after the pool it processes a quarter of the values.
            features_BHWC = nnx.relu(features_BHWC)
        logits_BK: jax.Array = self.dense(features_BHWC.reshape(features_BHWC.shape[0], -1))
        return logits_BK
