"""Operations whose lowering depends on the backend.

Inside a scanned epoch on CPU, XLA's convolution is slow, and matrix products over shifted copies are fast. On GPU and
TPU XLA's is fastest. Axes: B batch, H height, W width, C channels in, O channels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_CACHE_BYTES = 5 * 2**18  # of shifted copies at a time: fastest on one thread; 20 MiB can halve the speed
_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """Faster `jax.lax.conv_general_dilated` for `nnx.Conv(conv_general_dilated=...)`; falls back to it otherwise."""
    plain = all(step == 1 for steps in (window_strides, lhs_dilation or (), rhs_dilation or ()) for step in steps)
    same = padding == "SAME" and all(side % 2 == 1 for side in rhs.shape[:-2])
    set_options = [name for name, value in options.items() if value is not None]
    fits = plain and same and feature_group_count == 1 and dimension_numbers == _NHWC and not set_options
    if fits and jax.default_backend() == "cpu":
        same_size: jax.Array = conv_same(lhs, rhs)
        return same_size
    output: jax.Array = lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        **options,
    )
    return output


@jax.custom_vjp
def conv_same(images_BHWC: jax.Array, kernel_hwCO: jax.Array) -> jax.Array:
    """Convolution of stride 1 with an odd kernel, zero padded to the same size, as matrix products."""
    product = _split_product if _splits(kernel_hwCO.shape) else _patch_product
    chunks = _chunks(images_BHWC, kernel_hwCO.shape)
    if len(chunks) == 1:
        return product(images_BHWC, kernel_hwCO)
    outputs: jax.Array = lax.map(lambda chunk: product(chunk, kernel_hwCO), chunks)
    return outputs.reshape(*images_BHWC.shape[:-1], kernel_hwCO.shape[-1])


def _conv_same_forward(images_BHWC: jax.Array, kernel_hwCO: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv_same(images_BHWC, kernel_hwCO), (images_BHWC, kernel_hwCO)


def _conv_same_backward(saved: tuple[jax.Array, jax.Array], gradient_BHWO: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both gradients as matrix products over shifted copies, which are recomputed instead of stored."""
    images_BHWC, kernel_hwCO = saved
    flipped_hwOC = kernel_hwCO[::-1, ::-1].swapaxes(2, 3)
    kernel_gradient = _kernel_gradient(images_BHWC, gradient_BHWO, kernel_hwCO.shape)
    return conv_same(gradient_BHWO, flipped_hwOC), kernel_gradient


conv_same.defvjp(_conv_same_forward, _conv_same_backward)


def _kernel_gradient(images_BHWC: jax.Array, gradient_BHWO: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    product = _split_gradient if _splits(shape) else _patch_gradient
    chunks = _chunks(images_BHWC, shape)
    if len(chunks) == 1:
        return product(images_BHWC, gradient_BHWO, shape)
    gradients = gradient_BHWO.reshape(*chunks.shape[:-1], shape[-1])

    def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + product(*pair, shape), None

    total, _ = lax.scan(add, jnp.zeros(shape, jnp.promote_types(images_BHWC.dtype, jnp.float32)), (chunks, gradients))
    return total.astype(images_BHWC.dtype)


def _patch_product(images_BHWC: jax.Array, kernel_hwCO: jax.Array) -> jax.Array:
    rows, columns, _, channels_out = kernel_hwCO.shape
    patches = _shifts(_shifts(images_BHWC, 2, columns), 1, rows)
    return patches @ kernel_hwCO.reshape(-1, channels_out)


def _patch_gradient(images_BHWC: jax.Array, gradient_BHWO: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    rows, columns, _, channels_out = shape
    patches = _shifts(_shifts(images_BHWC, 2, columns), 1, rows)
    return (patches.reshape(-1, patches.shape[-1]).T @ gradient_BHWO.reshape(-1, channels_out)).reshape(shape)


def _split_product(images_BHWC: jax.Array, kernel_hwCO: jax.Array) -> jax.Array:
    """Apply the kernel's columns to shifted inputs before the product, and its rows to shifted outputs after it."""
    rows, columns, channels_in, channels_out = kernel_hwCO.shape
    kernel = kernel_hwCO.transpose(1, 2, 0, 3).reshape(columns * channels_in, rows * channels_out)
    partial = _shifts(images_BHWC, 2, columns) @ kernel
    padded = jnp.pad(partial, ((0, 0), (rows // 2, rows // 2), (0, 0), (0, 0)))
    height = images_BHWC.shape[1]
    parts = [padded[:, row : row + height, :, row * channels_out : (row + 1) * channels_out] for row in range(rows)]
    return reduce(jnp.add, parts)


def _split_gradient(images_BHWC: jax.Array, gradient_BHWO: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    rows, columns, channels_in, channels_out = shape
    shifted = _shifts(images_BHWC, 2, columns).reshape(-1, columns * channels_in)
    gradients = _shifts(gradient_BHWO, 1, rows).reshape(-1, rows * channels_out)
    product = (shifted.T @ gradients).reshape(columns, channels_in, rows, channels_out)
    return product.transpose(2, 0, 1, 3)[::-1]  # reversed, as the gradient is shifted instead of the image


def _shifts(images_BHWC: jax.Array, axis: int, count: int) -> jax.Array:
    """Concatenate every pixel's `count` neighbours along one axis as channels, with zeros outside."""
    padding = [(0, 0)] * 4
    padding[axis] = (count // 2, count // 2)
    padded, side = jnp.pad(images_BHWC, padding), images_BHWC.shape[axis]
    return jnp.concatenate([lax.slice_in_dim(padded, start, start + side, axis=axis) for start in range(count)], axis=3)


def _splits(shape: tuple[int, ...]) -> bool:
    """Whether the split product moves no more data than whole patches; it moves more for few input channels."""
    rows, columns, channels_in, channels_out = shape
    return columns * channels_in + rows * channels_out <= rows * columns * channels_in


def _chunks(images_BHWC: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Split the batch into equal parts whose shifted copies fit in the cache: [parts, B / parts, H, W, C]."""
    batch, height, width, channels = images_BHWC.shape
    rows, columns, channels_in, channels_out = shape
    wide = columns * channels_in + rows * channels_out if _splits(shape) else rows * columns * channels_in
    return _parts(images_BHWC, height * width * wide)


def _parts(images_BHWC: jax.Array, copied: int) -> jax.Array:
    """Split the batch into equal parts that fit in the cache when every image is copied to so many numbers."""
    batch, *rest = images_BHWC.shape
    limit = max(1, _CACHE_BYTES // (copied * images_BHWC.dtype.itemsize))
    size = next(size for size in range(min(limit, batch), 0, -1) if batch % size == 0)
    return images_BHWC.reshape(batch // size, size, *rest)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_strided(images_BHWC: jax.Array, kernel_hwCO: jax.Array, stride: int, before: int) -> jax.Array:
    """Convolution whose stride divides the sides, as matrix products over copies of the pixels in each window.

    The first window begins `before` pixels outside the image, and pixels outside are 0. A side of the result is the image's over
    the stride.
    """
    channels_out = kernel_hwCO.shape[-1]
    chunks = _window_chunks(images_BHWC, kernel_hwCO.shape, stride)

    def product(chunk: jax.Array) -> jax.Array:
        return _copied(chunk, kernel_hwCO.shape, stride, before) @ kernel_hwCO.reshape(-1, channels_out)

    outputs = product(chunks[0])[None] if len(chunks) == 1 else lax.map(product, chunks)
    return outputs.reshape(images_BHWC.shape[0], *outputs.shape[2:])


def _conv_strided_forward(
    images_BHWC: jax.Array, kernel_hwCO: jax.Array, stride: int, before: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv_strided(images_BHWC, kernel_hwCO, stride, before), (images_BHWC, kernel_hwCO)


def _conv_strided_backward(
    stride: int, before: int, saved: tuple[jax.Array, jax.Array], gradient_BhwO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images_BHWC, kernel_hwCO = saved
    shape = kernel_hwCO.shape
    chunks = _window_chunks(images_BHWC, shape, stride)
    gradients = gradient_BhwO.reshape(*chunks.shape[:2], *gradient_BhwO.shape[1:])

    def both(chunk: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        copies, transposed = jax.vjp(lambda images: _copied(images, shape, stride, before), chunk)
        (of_images,) = transposed(gradient @ kernel_hwCO.reshape(-1, shape[-1]).T)
        return of_images, (copies.reshape(-1, copies.shape[-1]).T @ gradient.reshape(-1, shape[-1])).reshape(shape)

    if len(chunks) == 1:
        return both(chunks[0], gradients[0])

    def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        of_images, of_kernel = both(*pair)
        return total + of_kernel, of_images

    start = jnp.zeros(shape, jnp.promote_types(images_BHWC.dtype, jnp.float32))
    total, of_images = lax.scan(add, start, (chunks, gradients))
    return of_images.reshape(images_BHWC.shape), total.astype(images_BHWC.dtype)


conv_strided.defvjp(_conv_strided_forward, _conv_strided_backward)


def _window_chunks(images_BHWC: jax.Array, shape: tuple[int, ...], stride: int) -> jax.Array:
    _, height, width, _ = images_BHWC.shape
    return _parts(images_BHWC, height // stride * (width // stride) * math.prod(shape[:3]))


def _copied(images_BHWC: jax.Array, shape: tuple[int, ...], stride: int, before: int) -> jax.Array:
    """Concatenate the pixels of every window as channels: [B, H / stride, W / stride, h * w * C]."""
    batch, height, width, channels = images_BHWC.shape
    ends = [
        (side // stride + (taps - 1) // stride) * stride for side, taps in zip((height, width), shape[:2], strict=True)
    ]
    padding = [(before, end - side - before) for end, side in zip(ends, (height, width), strict=True)]
    padded = jnp.pad(images_BHWC, ((0, 0), *padding, (0, 0)))
    # [B, row, row % stride, column, column % stride, C]: a strided slice is then a plain one, and so is its derivative.
    phases = padded.reshape(batch, ends[0] // stride, stride, ends[1] // stride, stride, channels)
    rows, columns = (
        [(slice(tap // stride, tap // stride + side // stride), tap % stride) for tap in range(taps)]
        for side, taps in zip((height, width), shape[:2], strict=True)
    )
    return jnp.concatenate([phases[:, h, i, w, j] for h, i in rows for w, j in columns], axis=3)


@jax.custom_vjp
def max_pool(images_BHWC: jax.Array) -> jax.Array:
    """2x2 max-pooling with stride 2; the sides must be even. On ties the gradient goes to the first pixel."""
    return _windows(images_BHWC).max((2, 4))


def _max_pool_forward(images_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    return max_pool(images_BHWC), images_BHWC


def _max_pool_backward(images_BHWC: jax.Array, gradient_BhwC: jax.Array) -> tuple[jax.Array]:
    """Use selections only: several times faster than the derivative of a maximum over two axes."""
    windows = _windows(images_BHWC)
    pixels = [windows[:, :, row, :, column] for row in range(2) for column in range(2)]
    remaining, parts = gradient_BhwC, []
    for number, pixel in enumerate(pixels[:-1]):
        wins = reduce(jnp.logical_and, [pixel >= later for later in pixels[number + 1 :]])
        parts.append(jnp.where(wins, remaining, 0))
        remaining = jnp.where(wins, 0, remaining)
    parts.append(remaining)
    rows = [jnp.stack(parts[:2], axis=3), jnp.stack(parts[2:], axis=3)]
    return (jnp.stack(rows, axis=2).reshape(images_BHWC.shape),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _windows(images_BHWC: jax.Array) -> jax.Array:
    """[B, H / 2, 2, W / 2, 2, C]."""
    batch, height, width, channels = images_BHWC.shape
    return images_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels)
