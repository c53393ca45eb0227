"""Architectures: shapes, initialisation, and what training mode changes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lightly_optimised")]

SHAPE = (8, 16, 3)


def build(config: Vgg5 | SmallCnn) -> nnx.Module:
    """A model with weights; compiled, because running it operation by operation takes seconds."""
    return nnx.jit(lambda: config.build(SHAPE, 10, nnx.Rngs(0)))()


@nnx.jit
def call(model: Any, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
    return model(images, rngs=None if key is None else nnx.Rngs(key))


def outline(config: Vgg5, shape: tuple[int, int, int], classes: int) -> tuple[Any, Any]:
    """Shapes of the weights and of the logits of two images."""
    model = nnx.eval_shape(lambda: config.build(shape, classes, nnx.Rngs(0)))
    weights = jax.tree.map(lambda leaf: leaf.shape, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return weights, nnx.eval_shape(lambda model: model(jnp.ones((2, *shape))), model).shape


def test_vgg5_has_the_stated_layers() -> None:
    found, logits = outline(Vgg5(width=64), (32, 32, 3), 100)
    assert logits == (2, 100)
    kernels = {layer: parts["kernel"] for layer, parts in found.items()}
    assert kernels == {
        "conv1": (3, 3, 3, 64),
        "conv2": (3, 3, 64, 128),
        "conv3": (3, 3, 128, 128),
        "conv4": (3, 3, 128, 128),
        "dense": (2 * 2 * 128, 100),
    }


@pytest.mark.parametrize(
    ("shape", "pools", "dense_inputs"),
    [
        ((8, 8, 1), (True,) * 4, 1 * 1 * 8),  # 8, 4, 2, 1: the fourth is left out
        ((8, 16, 1), (False, True, True, True), 1 * 2 * 8),
        ((7, 8, 1), (True,) * 4, 7 * 8 * 8),
    ],
)
def test_vgg5_leaves_pools_out_where_asked_or_where_a_side_is_odd(
    shape: tuple[int, int, int], pools: int | None, dense_inputs: int
) -> None:
    weights, logits = outline(Vgg5(width=4, pools=pools), shape, 10)
    assert weights["dense"]["kernel"] == (dense_inputs, 10)
    assert logits == (2, 10)


def plain_vgg5(params: Any, images: jax.Array) -> jax.Array:
    """Convolution, ReLU, then pool, as the paper's order has it."""
    for name in ("conv1", "conv2", "conv3"):
        images = lax.conv_general_dilated(
            images, params[name]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images + params[name]["bias"])
        images = lax.reduce_window(images, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    images = lax.conv_general_dilated(
        images, params["conv4"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    images = jax.nn.relu(images + params["conv4"]["bias"])
    return images.reshape(len(images), -1) @ params["dense"]["kernel"] + params["dense"]["bias"]


def test_vgg5_and_its_gradient_equal_a_plain_reference() -> None:
    model = build(Vgg5(width=4))
    graph, weights = nnx.split(model)
    params = nnx.to_pure_dict(weights)
    images, direction = jax.random.normal(jax.random.key(1), (5, 8, 16, 3)), jnp.arange(10.0)

    def ours(params: Any) -> jax.Array:
        return (nnx.merge(graph, params)(images) @ direction).mean()

    def theirs(params: Any) -> jax.Array:
        return (plain_vgg5(params, images) @ direction).mean()

    value, gradient = jax.jit(jax.value_and_grad(ours))(params)
    expected_value, expected_gradient = jax.jit(jax.value_and_grad(theirs))(params)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max()),
        gradient,
        expected_gradient,
    )


@pytest.mark.parametrize(("init", "gain"), [("lecun_normal", 1), ("he_normal", 2)])
def test_vgg5_initialisation_has_the_named_variance(init: str, gain: int) -> None:
    model = build(Vgg5(width=64, init=init))
    np.testing.assert_allclose(np.var(model.conv2.kernel[...]), gain / (9 * 64), rtol=0.03)
    np.testing.assert_allclose(np.var(model.dense.kernel[...]), 1 / 256, rtol=0.2)


def test_dropout_acts_in_training_only_and_from_the_given_key() -> None:
    model = build(SmallCnn(width=4, dropout=0.5))
    images = jax.random.normal(jax.random.key(0), (4, *SHAPE))
    model.train()
    one, same, other = (call(model, images, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    model.eval()
    np.testing.assert_array_equal(call(model, images), call(model, images))


def test_batch_norm_learns_in_training_and_applies_in_evaluation() -> None:
    model = build(SmallCnn(width=4, dropout=0.0))
    images = 3 + jax.random.normal(jax.random.key(0), (16, *SHAPE))
    model.eval()
    before = call(model, images)
    np.testing.assert_array_equal(model.norm1.mean[...], np.zeros(4))
    model.train()
    call(model, images)
    first = np.asarray(model.conv1(images))
    np.testing.assert_allclose(model.norm1.mean[...], 0.1 * first.mean((0, 1, 2)), rtol=1e-4)
    for _ in range(100):
        trained = call(model, images)
    model.eval()
    np.testing.assert_allclose(call(model, images), trained, rtol=1e-2, atol=1e-2)
    assert not np.allclose(before, trained, atol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vgg5(width=0), "width must be at least 1, got 0"),
        (lambda: Vgg5(pools=(True,)), "pools must have four entries"),
        (lambda: Vgg5(init="ones"), "init must be one of .*lecun_normal.*, got 'ones'"),
        (lambda: SmallCnn(width=-1), "width must be at least 1, got -1"),
        (lambda: SmallCnn(dropout=1.0), r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_architectures_are_refused(make: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
