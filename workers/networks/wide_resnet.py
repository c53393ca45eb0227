"""The network of `workers.models.wide_resnet`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.wide_resnet import WideResnet

_FIRST = 16  # channels of the first convolution
_STRIDES = (1, 2, 2)  # of the three groups


class WideResnetNet(nnx.Module):
    """The network of `WideResnet`."""

    def __init__(self, config: WideResnet, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.remat = config.remat
        self.first = layers.convolution(shape[-1], _FIRST, 3, rngs, init=config.init)
        channels, names = _FIRST, []
        for group, group_stride in enumerate(_STRIDES, start=1):
            for number in range(1, (config.depth - 4) // 6 + 1):
                stride = group_stride if number == 1 else 1
                features = _FIRST * 2 ** (group - 1) * config.width
                block = _Block(config, channels, features, stride, is_first=group == number == 1, rngs=rngs)
                setattr(self, f"block{group}_{number}", block)
                names.append(f"block{group}_{number}")
                channels = features
        self.names = tuple(names)
        self.norm = layers.batch_norm(channels, rngs)
        self.dense = nnx.Linear(channels, classes, kernel_init=layers.dense_init, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; uses no randomness."""
        features_BHWC = self.first(images_BHWC)
        for name in self.names:
            features_BHWC = layers.recomputed(getattr(self, name), self.remat, features_BHWC)
        pooled_BC = nnx.relu(self.norm(features_BHWC)).mean((1, 2))
        logits_BK: jax.Array = self.dense(pooled_BC)
        return logits_BK


class _Block(nnx.Module):
    """Batch norm, ReLU, convolution, twice.

    The shortcut branches off after the first ReLU where it is a convolution, and in the first block of a network whose shortcuts
    have no parameters; elsewhere before the batch norm.
    """

    def __init__(
        self, config: WideResnet, channels: int, features: int, stride: int, *, is_first: bool, rngs: nnx.Rngs
    ) -> None:
        self.norm1 = layers.batch_norm(channels, rngs)
        self.conv1 = layers.convolution(channels, features, 3, rngs, stride=stride, init=config.init)
        self.norm2 = layers.batch_norm(features, rngs)
        self.conv2 = layers.convolution(features, features, 3, rngs, init=config.init)
        self.projection = layers.projection(config.shortcut, channels, features, rngs, stride=stride, init=config.init)
        self.branches_late = self.projection is not None or (is_first and config.shortcut == "pool_and_pad")

    def __call__(self, features_BHWC: jax.Array) -> jax.Array:
        activated_BHWC = nnx.relu(self.norm1(features_BHWC))
        shortcut_BHWC = activated_BHWC if self.branches_late else features_BHWC
        inner_BHWC = nnx.relu(self.norm2(self.conv1(activated_BHWC)))
        output_BHWC = self.conv2(inner_BHWC)
        if self.projection is not None:
            return output_BHWC + self.projection(shortcut_BHWC)
        return output_BHWC + layers.padded_shortcut(shortcut_BHWC, output_BHWC)
