"""The network of `workers.models.nature_cnn`.

Axes: B batch, H height, W width, C channels, K classes, F features, O channels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from workers import ops

if TYPE_CHECKING:
    from workers.models.nature_cnn import NatureCnn


class NatureCnnNet(nnx.Module):
    """The network of `NatureCnn`; kernels are LeCun-normal, and convolutions zero padded to the input's size over the stride."""

    def __init__(self, config: NatureCnn, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        layers = ((config.width, 8, 4), (2 * config.width, 4, 2), (2 * config.width, 3, 1))
        for number, (features, side, stride) in enumerate(layers, start=1):
            convolution = nnx.Conv(
                channels,
                features,
                kernel_size=(side, side),
                strides=stride,
                conv_general_dilated=_convolved,
                rngs=rngs,
            )
            setattr(self, f"conv{number}", convolution)
            height, width, channels = -(-height // stride), -(-width // stride), features
        self.dense = nnx.Linear(height * width * channels, 16 * config.width, rngs=rngs)
        self.head = nnx.Linear(16 * config.width, classes, rngs=rngs)

    def __call__(self, images_BHWC: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Return logits_BK; nothing is drawn at random."""
        features_BHWC = images_BHWC
        for number in (1, 2, 3):
            features_BHWC = nnx.relu(getattr(self, f"conv{number}")(features_BHWC))
        features_BF = nnx.relu(self.dense(features_BHWC.reshape(features_BHWC.shape[0], -1)))
        logits_BK: jax.Array = self.head(features_BF)
        return logits_BK


def _convolved(
    images_BHWC: jax.Array, kernel_hwCO: jax.Array, window_strides: Sequence[int], padding: Any, **options: Any
) -> jax.Array:
    """Apply a convolution padded as "SAME"; on CPU, strided ones as matrix products over windows, faster than XLA's."""
    stride, side = window_strides[0], kernel_hwCO.shape[0]
    befores = {_before(length, side, stride) for length in images_BHWC.shape[1:3]}
    if jax.default_backend() != "cpu" or stride == 1 or len(befores) > 1:
        own = ops.conv_general_dilated if stride == 1 else lax.conv_general_dilated
        output: jax.Array = own(images_BHWC, kernel_hwCO, window_strides, padding, **options)
        return output
    more = [(0, -length % stride) for length in images_BHWC.shape[1:3]]
    padded = jnp.pad(images_BHWC, ((0, 0), *more, (0, 0)))
    windows: jax.Array = ops.conv_strided(padded, kernel_hwCO, stride, befores.pop())
    return windows


def _before(length: int, side: int, stride: int) -> int:
    """Return how many pixels "SAME" pads before the first one."""
    return max((-(-length // stride) - 1) * stride + side - length, 0) // 2
