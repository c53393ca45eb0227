"""The network of `workers.models.pyramid_net`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.pyramid_net import PyramidNet

_FIRST = 16  # channels of the first convolution
_EXPANSION = 4  # channels after a bottleneck over those inside it
_LAST_KEEP = 0.5  # the probability that ShakeDrop keeps the last branch; it falls linearly from 1


class PyramidNetNet(nnx.Module):
    """The network of `PyramidNet`."""

    def __init__(self, config: PyramidNet, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.remat = config.remat
        self.first = layers.convolution(shape[-1], _FIRST, 3, rngs, init=config.init)
        self.first_norm = layers.batch_norm(_FIRST, rngs)
        per_group = (config.depth - 2) // 9
        blocks, channels, names = 3 * per_group, _FIRST, []
        for number in range(1, blocks + 1):
            inner = round(_FIRST + number * config.alpha / blocks)
            stride = 2 if number in (per_group + 1, 2 * per_group + 1) else 1
            keep = 1.0 - (1.0 - _LAST_KEEP) * number / blocks
            names.append(f"block{number}")
            setattr(self, names[-1], _Bottleneck(config, channels, inner, stride, keep, rngs))
            channels = _EXPANSION * inner
        self.names = tuple(names)
        self.norm = layers.batch_norm(channels, rngs)
        self.dense = nnx.Linear(channels, classes, kernel_init=layers.dense_init, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; ShakeDrop draws from `rngs` in training."""
        features_BHWC = self.first_norm(self.first(images_BHWC))
        for name in self.names:
            features_BHWC = layers.recomputed(getattr(self, name), self.remat, features_BHWC, rngs)
        pooled_BC = nnx.relu(self.norm(features_BHWC)).mean((1, 2))
        logits_BK: jax.Array = self.dense(pooled_BC)
        return logits_BK


class _Bottleneck(nnx.Module):
    """Batch norm, then 1x1, 3x3 and 1x1 convolutions, each followed by batch norm, and ReLU between them."""

    def __init__(self, config: PyramidNet, channels: int, inner: int, stride: int, keep: float, rngs: nnx.Rngs) -> None:
        outer = _EXPANSION * inner
        self.norm0 = layers.batch_norm(channels, rngs)
        self.conv1 = layers.convolution(channels, inner, 1, rngs, init=config.init)
        self.norm1 = layers.batch_norm(inner, rngs)
        self.conv2 = layers.convolution(inner, inner, 3, rngs, stride=stride, init=config.init)
        self.norm2 = layers.batch_norm(inner, rngs)
        self.conv3 = layers.convolution(inner, outer, 1, rngs, init=config.init)
        self.norm3 = layers.batch_norm(outer, rngs)
        self.shake = layers.ShakeDrop(keep)
        self.projection = layers.projection(config.shortcut, channels, outer, rngs, stride=stride, init=config.init)

    def __call__(self, features_BHWC: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        inner_BHWC = nnx.relu(self.norm1(self.conv1(self.norm0(features_BHWC))))
        inner_BHWC = nnx.relu(self.norm2(self.conv2(inner_BHWC)))
        branch_BHWC = self.shake(self.norm3(self.conv3(inner_BHWC)), rngs)
        if self.projection is not None:
            return branch_BHWC + self.projection(features_BHWC)
        return branch_BHWC + layers.padded_shortcut(features_BHWC, branch_BHWC)
