"""The network of `workers.models.small_cnn`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers import ops
from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.small_cnn import SmallCnn


class SmallCnnNet(nnx.Module):
    """The network of `SmallCnn`. A pool is skipped if a side is odd."""

    def __init__(self, config: SmallCnn, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        pools = []
        for number, features in enumerate((config.width, 2 * config.width), start=1):
            convolution = nnx.Conv(
                channels,
                features,
                kernel_size=(3, 3),
                use_bias=False,
                kernel_init=layers.initialiser(config.init),
                conv_general_dilated=ops.conv_general_dilated,
                rngs=rngs,
            )
            setattr(self, f"conv{number}", convolution)
            setattr(self, f"norm{number}", layers.batch_norm(features, rngs))
            pools.append(height % 2 == 0 and width % 2 == 0)
            if pools[-1]:
                height, width = height // 2, width // 2
            channels = features
        self.pools = tuple(pools)
        self.dropout = nnx.Dropout(config.dropout)
        self.dense = nnx.Linear(height * width * channels, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; dropout draws from `rngs` in training."""
        features_BHWC = images_BHWC
        for number, pooled in enumerate(self.pools, start=1):
            features_BHWC = getattr(self, f"conv{number}")(features_BHWC)
            features_BHWC = nnx.relu(getattr(self, f"norm{number}")(features_BHWC))
            if pooled:
                features_BHWC = ops.max_pool(features_BHWC)
        features_BD = self.dropout(features_BHWC.reshape(features_BHWC.shape[0], -1), rngs=rngs)
        logits_BK: jax.Array = self.dense(features_BD)
        return logits_BK
