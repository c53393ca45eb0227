"""The fast lowerings against XLA's own convolution and pooling."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from workers import ops

NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def normal(seed: int, *shape: Any) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def with_gradients(function: Callable[..., Any], cotangent: Any, *inputs: Any) -> tuple[Any, ...]:
    """The function's value and its gradients; compiled, because operation by operation it takes seconds."""
    value, vjp = jax.vjp(function, *inputs)
    return value, *vjp(cotangent)


def reference(images: np.ndarray, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


# Both lowerings, whole and in chunks, and kernels that are not square.
@pytest.mark.parametrize(
    ("images", "kernel", "splits", "chunked"),
    [
        ((4, 8, 16, 1), (3, 3, 1, 16), False, False),
        ((256, 16, 16, 3), (3, 3, 3, 8), False, True),
        ((3, 5, 7, 6), (5, 1, 6, 3), True, False),
        ((3, 5, 7, 4), (3, 5, 4, 5), True, False),
        ((64, 16, 16, 32), (3, 3, 32, 8), True, True),
    ],
)
def test_convolution_and_its_gradients_are_xlas(
    images: tuple[int, int, int, int], kernel: tuple[int, int, int, int], splits: bool, chunked: bool
) -> None:
    assert ops._splits(kernel) == splits
    assert (len(ops._chunks(jnp.zeros(images), kernel)) > 1) == chunked
    x, w, cotangent = normal(0, *images), normal(1, *kernel), normal(2, *images[:3], kernel[-1])
    for ours, theirs in zip(
        with_gradients(ops.conv_same, cotangent, x, w), with_gradients(reference, cotangent, x, w), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_a_bfloat16_convolution_is_the_float32_one_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ops, "_CACHE_BYTES", 1)  # chunks of one image, whose gradients must not be added in bfloat16
    shapes = (256, 4, 4, 4), (256, 4, 4, 8), (3, 3, 8, 4)
    given = [abs(normal(seed, *shape)).astype(jnp.bfloat16) for seed, shape in enumerate(shapes)]
    found = with_gradients(ops.conv_same, *given)
    exact = with_gradients(reference, *(value.astype(np.float32) for value in given))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(np.float32), theirs, rtol=0.015)


# The pads of XLA's "SAME", of a stem, and of a stride that is not 2; whole and in chunks.
@pytest.mark.parametrize(
    ("images", "side", "stride", "pads", "chunked"),
    [
        ((3, 8, 12, 5), 3, 2, (0, 1), False),
        ((3, 8, 12, 5), 7, 2, (3, 2), False),
        ((3, 9, 6, 5), 5, 3, (1, 1), False),
        ((3, 8, 12, 5), 1, 2, (0, -1), False),
        ((256, 16, 16, 8), 3, 2, (0, 1), True),
    ],
)
def test_strided_convolution_and_its_gradients_are_xlas(
    images: tuple[int, int, int, int], side: int, stride: int, pads: tuple[int, int], chunked: bool
) -> None:
    def ours(x: jax.Array, w: Any) -> jax.Array:
        return ops.conv_strided(x, w, stride, pads[0])

    def theirs(x: jax.Array, w: Any) -> jax.Array:
        return lax.conv_general_dilated(
            x, w, (stride, stride), (pads, pads), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    batch, height, width, channels = images
    kernel = (side, side, channels, 4)
    assert (len(ops._window_chunks(jnp.zeros(images), kernel, stride)) > 1) == chunked
    given = normal(2, batch, height // stride, width // stride, 4), normal(0, *images), normal(1, *kernel)
    for found, expected in zip(with_gradients(ours, *given), with_gradients(theirs, *given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_chunks_keep_their_copies_in_the_cache() -> None:
    shape = (3, 3, 32, 8)
    chunks = ops._chunks(jnp.zeros((64, 16, 16, 32)), shape)
    assert len(chunks) > 1
    assert chunks[0].size // 32 * (3 * 32 + 3 * 8) * 4 <= ops._CACHE_BYTES
    assert ops._chunks(jnp.zeros((7, 512, 512, 4)), (3, 3, 4, 4)).shape[:2] == (7, 1)  # one image is more than fits


@pytest.mark.parametrize(
    "changed",
    [
        {"window_strides": (2, 2)},
        {"padding": "VALID"},
        {"padding": ((1, 0), (2, 1))},
        {"rhs_dilation": (2, 2)},
        {"lhs_dilation": (2, 1), "padding": ((1, 1), (1, 1))},
        {"feature_group_count": 2, "rhs": (3, 3, 2, 6)},
        {"rhs": (2, 2, 4, 6)},
        {"precision": lax.Precision.HIGHEST},
        {"preferred_element_type": jnp.float32},
        {"out_sharding": None},
        {},
    ],
)
def test_every_other_convolution_is_left_to_xla(changed: dict[str, Any]) -> None:
    arguments = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC} | changed
    x, w = normal(0, 2, 8, 6, 4), normal(1, *arguments.pop("rhs", (3, 3, 4, 6)))
    ours = ops.conv_general_dilated(x, w, **arguments)
    np.testing.assert_allclose(ours, lax.conv_general_dilated(x, w, **arguments), rtol=1e-4, atol=1e-5)


def test_other_layouts_are_left_to_xla() -> None:
    x, w = normal(0, 2, 4, 8, 6), normal(1, 6, 4, 3, 3)
    ours = ops.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
    assert ours.shape == (2, 6, 8, 6)


def windowed(images: np.ndarray) -> jax.Array:
    return lax.reduce_window(images, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@pytest.mark.parametrize(
    "images", [normal(0, 3, 4, 6, 5), np.zeros((2, 4, 4, 1), np.float32), normal(1, 2, 4, 4, 2).round()]
)
def test_pool_and_its_gradient_are_xlas_also_among_equals(images: np.ndarray) -> None:
    batch, height, width, channels = images.shape
    cotangent = normal(2, batch, height // 2, width // 2, channels)
    ours, theirs = (with_gradients(pool, cotangent, images) for pool in (ops.max_pool, windowed))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
