"""The network of `workers.models.vgg`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers import ops
from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.vgg import Vgg5


class Vgg5Net(nnx.Module):
    """The network of `Vgg5`."""

    def __init__(self, config: Vgg5, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        widths = (config.width, 2 * config.width, 2 * config.width, 2 * config.width)
        pools = []
        for number, (features, wanted) in enumerate(zip(widths, config.pools, strict=True), start=1):
            convolution = nnx.Conv(
                channels,
                features,
                kernel_size=(3, 3),
                kernel_init=layers.initialiser(config.init),
                conv_general_dilated=ops.conv_general_dilated,
                rngs=rngs,
            )
            setattr(self, f"conv{number}", convolution)
            pools.append(wanted and height % 2 == 0 and width % 2 == 0)
            if pools[-1]:
                height, width = height // 2, width // 2
            channels = features
        self.pools = tuple(pools)
        self.dense = nnx.Linear(height * width * channels, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; uses no randomness."""
        features_BHWC = images_BHWC
        for number, pooled in enumerate(self.pools, start=1):
            features_BHWC = getattr(self, f"conv{number}")(features_BHWC)
            if pooled:
                features_BHWC = ops.max_pool(features_BHWC)
            # ReLU commutes with the maximum, and after the pool it processes a quarter of the values.
            features_BHWC = nnx.relu(features_BHWC)
        logits_BK: jax.Array = self.dense(features_BHWC.reshape(features_BHWC.shape[0], -1))
        return logits_BK
