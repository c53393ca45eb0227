"""Parts that several networks share: strided convolutions, shortcuts, and initialisers.

Defaults are those of the training code that the paper builds on (flax_models/cifar).
Axes: B batch, H height, W width, C channels, O channels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from workers import ops
from workers.models.fields import Initialisation, Shortcut

_ONES = nnx.initializers.ones_init()
_INITIALISERS: Mapping[Initialisation, nnx.Initializer] = {
    "he_normal_fan_out": nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
    "he_normal": nnx.initializers.he_normal(),
    "he_uniform": nnx.initializers.he_uniform(),
    "lecun_normal": nnx.initializers.lecun_normal(),
    "lecun_uniform": nnx.initializers.lecun_uniform(),
    "glorot_normal": nnx.initializers.glorot_normal(),
    "glorot_uniform": nnx.initializers.glorot_uniform(),
}


def initialiser(name: Initialisation) -> nnx.Initializer:
    """Return the initial distribution of a kernel, by the value of a model's field `init`."""
    return _INITIALISERS[name]


def dense_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Draw the kernel of the last layer from the uniform distribution on +-1 / sqrt(classes); `shape` is (inputs, classes)."""
    limit = 1.0 / math.sqrt(shape[-1])
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def convolution(
    features_in: int,
    features_out: int,
    side: int,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
    init: Initialisation = "he_normal_fan_out",
) -> nnx.Conv:
    """Return a convolution with a square kernel of odd side, without bias, zero padded to the input's size over the stride."""
    return nnx.Conv(
        features_in,
        features_out,
        kernel_size=(side, side),
        strides=stride,
        use_bias=False,
        kernel_init=initialiser(init),
        conv_general_dilated=strided if stride > 1 else ops.conv_general_dilated,
        rngs=rngs,
    )


class BatchNorm(nnx.BatchNorm):
    """Batch norm that can take its training statistics from groups of images, as devices do that do not share them.

    Each group of `examples` consecutive images is normalised by its own mean and variance. The running averages follow the means
    of these over the groups. The paper has groups of 16: eight cores with 16 images each, which its training code does not join.
    """

    def __init__(self, features: int, rngs: nnx.Rngs, scale_init: nnx.Initializer) -> None:
        super().__init__(features, momentum=0.9, epsilon=1e-5, scale_init=scale_init, rngs=rngs)
        self.examples: int | None = None

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Return normalised images_BHWC, in their own precision; statistics are taken and applied in float32."""
        evaluates = self.use_running_average if use_running_average is None else use_running_average
        if evaluates or self.examples in (None, x.shape[0]):
            whole: jax.Array = super().__call__(x, use_running_average, mask=mask)
            return whole.astype(x.dtype)
        if x.shape[0] % self.examples:
            raise ValueError(f"norm_examples must divide the batch of {x.shape[0]} images, got {self.examples}")
        x_GBHWC = x.reshape(-1, self.examples, *x.shape[1:]).astype(jnp.float32)
        axes = tuple(range(1, x_GBHWC.ndim - 1))
        mean, square = (power.mean(axes, keepdims=True) for power in (x_GBHWC, jnp.square(x_GBHWC)))
        variance = jnp.maximum(square - jnp.square(mean), 0.0)
        for kept, found in ((self.mean, mean), (self.var, variance)):
            kept[...] = self.momentum * kept[...] + (1 - self.momentum) * found.reshape(-1, self.num_features).mean(0)
        assert self.scale is not None
        assert self.bias is not None
        scaled = (x_GBHWC - mean) * (jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]) + self.bias[...]
        return scaled.reshape(x.shape).astype(x.dtype)


def batch_norm(features: int, rngs: nnx.Rngs, *, scale_init: nnx.Initializer = _ONES) -> BatchNorm:
    """Return a batch norm with the paper's constants, over the whole batch."""
    return BatchNorm(features, rngs, scale_init)


def in_groups(network: nnx.Module, examples: int | None) -> nnx.Module:
    """Let the batch norms of a network take their statistics from groups of so many images; None for the whole batch."""
    for _, node in nnx.iter_graph(network):
        if isinstance(node, BatchNorm):
            node.examples = examples
    return network


def recomputed(block: nnx.Module, remat: bool, *inputs: Any) -> jax.Array:
    """Return a block's output; with `remat` its activations are not kept but computed again in the backward pass."""
    called: Callable[..., jax.Array] = type(block).__call__
    return nnx.remat(called)(block, *inputs) if remat else called(block, *inputs)


def strided(
    images_BHWC: jax.Array, kernel_hwCO: jax.Array, window_strides: Sequence[int], padding: Any, **options: Any
) -> jax.Array:
    """Apply a strided convolution with a square kernel; on CPU, matrix products over the windows are faster than XLA's."""
    stride, side = window_strides[0], kernel_hwCO.shape[0]
    # "SAME" pads side - stride pixels, the end first.
    before = max(side - stride, 0) // 2 if padding == "SAME" else side // 2
    plain = set(options.get("rhs_dilation") or (1,)) == {1} and options.get("precision") is None
    fits = padding in ("SAME", [(before, before)] * 2) and side % 2 == 1 and set(window_strides) == {stride} and plain
    fits &= side == 1 or side >= stride  # else windows leave pixels out between them
    if jax.default_backend() != "cpu" or not fits or any(length % stride for length in images_BHWC.shape[1:3]):
        output: jax.Array = ops.conv_general_dilated(images_BHWC, kernel_hwCO, window_strides, padding, **options)
        return output
    if side == 1:
        kept = images_BHWC[:, ::stride, ::stride]
        return ops.conv_general_dilated(kept, kernel_hwCO, (1, 1), "SAME", **options)
    windows: jax.Array = ops.conv_strided(images_BHWC, kernel_hwCO, stride, before)
    return windows


def padded_shortcut(images_BHWC: jax.Array, like_BHWO: jax.Array) -> jax.Array:
    """Return images at the size of `like`, without parameters: average-pooled, and padded with channels of zeros."""
    batch, height, width, channels = images_BHWC.shape
    stride, more = height // like_BHWO.shape[1], like_BHWO.shape[-1] - channels
    if stride > 1:
        windows = images_BHWC.reshape(batch, height // stride, stride, width // stride, stride, channels)
        images_BHWC = windows.mean((2, 4))
    return jnp.pad(images_BHWC, ((0, 0), (0, 0), (0, 0), (0, more))) if more else images_BHWC


def projection(
    kind: Shortcut, features_in: int, features_out: int, rngs: nnx.Rngs, *, stride: int, init: Initialisation
) -> nnx.Conv | None:
    """Return the 1x1 convolution of a shortcut; None where it has no parameters, or the shape stays."""
    if kind == "pool_and_pad" or (features_in == features_out and stride == 1):
        return None
    return convolution(features_in, features_out, 1, rngs, stride=stride, init=init)


class ShakeDrop(nnx.Module):
    """ShakeDrop (Yamada et al., arXiv 1802.02375) for a residual branch: in training it keeps the branch of an example with
    probability `keep`, and else scales it by a number drawn from [-1, 1] forwards and from [0, 1] backwards.

    Evaluation scales by the expectation, `keep`.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self.deterministic = False

    def __call__(self, branch_BHWC: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """Return the scaled branch; training draws from `rngs`."""
        if self.deterministic or rngs is None:
            return self.keep * branch_BHWC
        kept_key, forward_key, backward_key = jax.random.split(rngs(), 3)
        shape = (branch_BHWC.shape[0], 1, 1, 1)
        kept = jax.random.bernoulli(kept_key, self.keep, shape)
        forward = jnp.where(kept, 1.0, jax.random.uniform(forward_key, shape, minval=-1.0, maxval=1.0))
        backward = jnp.where(kept, 1.0, jax.random.uniform(backward_key, shape))
        forward, backward = (factor.astype(branch_BHWC.dtype) for factor in (forward, backward))
        scaled = backward * branch_BHWC
        return scaled + jax.lax.stop_gradient(forward * branch_BHWC - scaled)
