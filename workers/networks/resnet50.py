"""The network of `workers.models.resnet50`.

Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flax import nnx

from workers import ops
from workers.networks import layers

if TYPE_CHECKING:
    from workers.models.fields import Initialisation
    from workers.models.resnet50 import Resnet50

_EXPANSION = 4  # channels after a bottleneck over those inside it


class Resnet50Net(nnx.Module):
    """The network of `Resnet50`."""

    def __init__(self, config: Resnet50, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        side = 7 if config.stem else 3
        self.remat = config.remat
        self.stem = config.stem
        self.first = nnx.Conv(
            shape[-1],
            config.width,
            kernel_size=(side, side),
            strides=2 if config.stem else 1,
            padding=3 if config.stem else "SAME",
            use_bias=False,
            kernel_init=layers.initialiser(config.init),
            conv_general_dilated=layers.strided if config.stem else ops.conv_general_dilated,
            rngs=rngs,
        )
        self.first_norm = layers.batch_norm(config.width, rngs)
        channels, names = config.width, []
        for stage, count in enumerate(config.blocks, start=1):
            for number in range(1, count + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                inner = config.width * 2 ** (stage - 1)
                names.append(f"block{stage}_{number}")
                setattr(self, names[-1], _Bottleneck(channels, inner, stride, config.init, rngs))
                channels = _EXPANSION * inner
        self.names = tuple(names)
        self.dense = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK of standardised images; uses no randomness."""
        features_BHWC = nnx.relu(self.first_norm(self.first(images_BHWC)))
        if self.stem:
            features_BHWC = nnx.max_pool(features_BHWC, (3, 3), strides=(2, 2), padding="SAME")  # type: ignore[no-untyped-call]
        for name in self.names:
            features_BHWC = layers.recomputed(getattr(self, name), self.remat, features_BHWC)
        logits_BK: jax.Array = self.dense(features_BHWC.mean((1, 2)))
        return logits_BK


class _Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions, each followed by batch norm; the shortcut is projected where its shape differs."""

    def __init__(self, channels: int, inner: int, stride: int, init: Initialisation, rngs: nnx.Rngs) -> None:
        outer = _EXPANSION * inner
        self.conv1 = layers.convolution(channels, inner, 1, rngs, init=init)
        self.norm1 = layers.batch_norm(inner, rngs)
        self.conv2 = layers.convolution(inner, inner, 3, rngs, stride=stride, init=init)
        self.norm2 = layers.batch_norm(inner, rngs)
        self.conv3 = layers.convolution(inner, outer, 1, rngs, init=init)
        self.norm3 = layers.batch_norm(outer, rngs, scale_init=nnx.initializers.zeros_init())
        self.projects = stride > 1 or channels != outer
        if self.projects:
            self.projection = layers.convolution(channels, outer, 1, rngs, stride=stride, init=init)
            self.projection_norm = layers.batch_norm(outer, rngs)

    def __call__(self, features_BHWC: jax.Array) -> jax.Array:
        inner_BHWC = nnx.relu(self.norm1(self.conv1(features_BHWC)))
        inner_BHWC = nnx.relu(self.norm2(self.conv2(inner_BHWC)))
        branch_BHWC = self.norm3(self.conv3(inner_BHWC))
        shortcut_BHWC = self.projection_norm(self.projection(features_BHWC)) if self.projects else features_BHWC
        return nnx.relu(shortcut_BHWC + branch_BHWC)
