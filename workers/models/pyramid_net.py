"""PyramidNet with bottlenecks and ShakeDrop (Han, Kim and Kim, arXiv 1610.02915; Yamada et al., arXiv 1802.02375).

The paper says only "Shake-Drop PyramidNet"; depth 272 and alpha 200 are the defaults of the training code that it builds on.
Axes: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax
from flax import nnx

from workers.config import added, require
from workers.models import layers

_FIRST = 16  # channels of the first convolution
_EXPANSION = 4  # channels after a bottleneck over those inside it
_LAST_KEEP = 0.5  # the probability that ShakeDrop keeps the last branch; it falls linearly from 1


@dataclass(frozen=True, kw_only=True)
class PyramidNet:
    """Three groups of (depth - 2) / 9 bottlenecks whose channels grow by `alpha` in equal steps over all of them."""

    kind: Literal["pyramid_net"] = "pyramid_net"
    depth: int = 272
    alpha: float = 200.0
    norm_examples: int | None = added(None)  # images that share batch statistics in training; null for the whole batch
    remat: bool = added(False)  # compute the activations of each block again in the backward pass, to save memory

    def __post_init__(self) -> None:
        require(self.depth >= 11 and self.depth % 9 == 2, "depth", "be 11, 20, 29 or so on, 9 n + 2", self.depth)
        require(math.isfinite(self.alpha) and 0 <= self.alpha <= 1e5, "alpha", "lie in [0, 100000]", self.alpha)
        layers.check_norm_examples(self.norm_examples)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        layers.check_sides(self.kind, shape, 4)
        return layers.in_groups(PyramidNetNet(self, shape, classes, rngs), self.norm_examples)


class PyramidNetNet(nnx.Module):
    """The network of `PyramidNet`."""

    def __init__(self, config: PyramidNet, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.remat = config.remat
        self.first = layers.convolution(shape[-1], _FIRST, 3, rngs)
        self.first_norm = layers.batch_norm(_FIRST, rngs)
        per_group = (config.depth - 2) // 9
        blocks, channels, names = 3 * per_group, _FIRST, []
        for number in range(1, blocks + 1):
            inner = round(_FIRST + number * config.alpha / blocks)
            stride = 2 if number in (per_group + 1, 2 * per_group + 1) else 1
            keep = 1.0 - (1.0 - _LAST_KEEP) * number / blocks
            names.append(f"block{number}")
            setattr(self, names[-1], _Bottleneck(channels, inner, stride, keep, rngs))
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

    def __init__(self, channels: int, inner: int, stride: int, keep: float, rngs: nnx.Rngs) -> None:
        self.norm0 = layers.batch_norm(channels, rngs)
        self.conv1 = layers.convolution(channels, inner, 1, rngs)
        self.norm1 = layers.batch_norm(inner, rngs)
        self.conv2 = layers.convolution(inner, inner, 3, rngs, stride=stride)
        self.norm2 = layers.batch_norm(inner, rngs)
        self.conv3 = layers.convolution(inner, _EXPANSION * inner, 1, rngs)
        self.norm3 = layers.batch_norm(_EXPANSION * inner, rngs)
        self.shake = layers.ShakeDrop(keep)

    def __call__(self, features_BHWC: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        inner_BHWC = nnx.relu(self.norm1(self.conv1(self.norm0(features_BHWC))))
        inner_BHWC = nnx.relu(self.norm2(self.conv2(inner_BHWC)))
        branch_BHWC = self.shake(self.norm3(self.conv3(inner_BHWC)), rngs)
        return branch_BHWC + layers.padded_shortcut(features_BHWC, branch_BHWC)
