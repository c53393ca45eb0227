"""The paper's vision networks: their sizes as published, their parts against plain references, and that they train."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from jax import lax

from abel import norms
from workers.config import to_dict
from workers.data.digits import DigitPairs
from workers.models.pyramid_net import PyramidNet
from workers.models.resnet50 import Resnet50
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.models.vgg16 import Vgg16
from workers.models.wide_resnet import WideResnet
from workers.networks import layers
from workers.optimizers.sgd import Sgd
from workers.randomness import epoch_key
from workers.tasks.classify import Classify, ClassifyProgram

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lightly_optimised")]

NHWC = ("NHWC", "HWIO", "NHWC")
SMALL = {
    "vgg16": Vgg16(width=2),
    "wide_resnet": WideResnet(depth=10, width=1),
    "pyramid_net": PyramidNet(depth=11, alpha=12),
    "resnet50": Resnet50(width=2, blocks=(1, 1, 1, 1), stem=False),
}


def parameters(config: Any, shape: tuple[int, int, int], classes: int) -> int:
    model = nnx.eval_shape(lambda: config.build(shape, classes, nnx.Rngs(0)))
    return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("config", "shape", "classes", "count"),
    [
        (WideResnet(depth=28, width=10), (32, 32, 3), 10, 36_220_634),
        (WideResnet(depth=28, width=10), (32, 32, 3), 100, 36_278_324),
        (WideResnet(depth=16, width=8), (32, 32, 3), 10, 10_795_482),
        (WideResnet(depth=16, width=1), (32, 32, 3), 10, 172_506),
        (PyramidNet(depth=272, alpha=200), (32, 32, 3), 100, 26_288_692),
        (Resnet50(), (224, 224, 3), 1000, 25_557_032),
        # Thirteen convolutions of 3x3 with biases, and a dense layer of 512 inputs.
        (Vgg16(), (32, 32, 3), 10, 14_714_688 + 512 * 10 + 10),
        # The original WRN's shortcuts: 16 * 160 + 160 * 320 + 320 * 640 more than without parameters.
        (WideResnet(depth=28, width=10, shortcut="convolution"), (32, 32, 3), 10, 36_479_194),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(
    config: WideResnet | PyramidNet | Resnet50 | Vgg16, shape: tuple[int, int, int], classes: int, count: int
) -> None:
    assert parameters(config, shape, classes) == count


@pytest.mark.parametrize(("depth", "width", "expected"), [(16, 1, 1291), (16, 8, 9953), (28, 10, 25_867)])
def test_wide_resnets_start_at_the_expected_norm(depth: int, width: int, expected: int) -> None:
    """Each convolution gives 2 c_in, each batch norm 1 a channel, the dense layer c_in / 3."""

    def start() -> Any:
        model = WideResnet(depth=depth, width=width).build((32, 32, 3), 10, nnx.Rngs(0))
        return norms.per_leaf(nnx.to_pure_dict(nnx.state(model, nnx.Param)))

    # Without optimisation it compiles several times faster.
    leaves = jax.jit(start, compiler_options={"xla_backend_optimization_level": 0})()
    assert norms.total(leaves) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("he_normal_fan_out", 2 * 32),  # 2 c_in
        ("he_normal", 2 * 96),  # 2 c_out
        ("he_uniform", 2 * 96),
        ("lecun_normal", 96),
        ("lecun_uniform", 96),
        ("glorot_normal", 2 * 32 * 96 / (32 + 96)),
        ("glorot_uniform", 2 * 32 * 96 / (32 + 96)),
    ],
)
def test_a_convolution_starts_at_the_expected_norm(init: str, expected: float) -> None:
    kernel = layers.convolution(32, 96, 3, nnx.Rngs(0), init=init).kernel[...]
    assert jnp.square(kernel).sum() == pytest.approx(expected, rel=0.03)  # its standard deviation is at most 0.9 %


def started(config: Any) -> dict[str, jax.Array]:
    """Parameters by path; without optimisation they compile several times faster."""

    def start() -> Any:
        model = config.build((16, 16, 3), 10, nnx.Rngs(0))
        return flatten_dict(nnx.to_pure_dict(nnx.state(model, nnx.Param)), sep="/")

    return jax.jit(start, compiler_options={"xla_backend_optimization_level": 0})()


@pytest.mark.parametrize("config", [*SMALL.values(), Vgg5(width=2), SmallCnn(width=2)], ids=lambda config: config.kind)
def test_the_choice_of_initialisation_is_of_every_convolution(config: Vgg5 | SmallCnn) -> None:
    he, lecun = (started(replace(config, init=init)) for init in ("he_normal", "lecun_normal"))
    for path, leaf in he.items():
        factor = math.sqrt(2) if leaf.ndim == 4 else 1
        np.testing.assert_allclose(leaf, factor * lecun[path], rtol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    ("config", "path", "former"),
    [
        (SMALL["wide_resnet"], "first/kernel", nnx.initializers.variance_scaling(2.0, "fan_out", "normal")),
        (SMALL["pyramid_net"], "first/kernel", nnx.initializers.variance_scaling(2.0, "fan_out", "normal")),
        (SMALL["resnet50"], "first/kernel", nnx.initializers.lecun_normal()),
        (SMALL["vgg16"], "conv1_1/kernel", nnx.initializers.he_normal()),
        (SmallCnn(width=2), "conv1/kernel", nnx.initializers.lecun_normal()),
    ],
)
def test_without_the_choice_parameters_are_those_from_before(config: Any, path: str, former: dict[str, Any]) -> None:
    assert not {"init", "shortcut"} & to_dict(config).keys()
    found = started(config)
    drawn = former(nnx.Rngs(0).params(), found[path].shape)
    np.testing.assert_allclose(found[path], drawn, rtol=1e-6)
    assert not any("projection" in name for name in found) or config.kind == "resnet50"


@pytest.mark.parametrize("kind", ["wide_resnet", "pyramid_net"])
def test_convolution_shortcuts_have_the_stated_parameters(kind: str) -> None:
    config = replace(SMALL[kind], shortcut="convolution")
    # Channels of wide_resnet go from 16 to 16, 32 and 64, of which the first needs none; of pyramid_net to 80, 96 and 112.
    more = {"wide_resnet": 16 * 32 + 32 * 64, "pyramid_net": 16 * 80 + 80 * 96 + 96 * 112}[kind]
    assert parameters(config, (16, 16, 3), 10) - parameters(SMALL[kind], (16, 16, 3), 10) == more
    model = nnx.eval_shape(lambda: config.build((16, 16, 3), 10, nnx.Rngs(0)))
    assert nnx.eval_shape(lambda model: model(jnp.ones((2, 16, 16, 3)), rngs=nnx.Rngs(1)), model).shape == (2, 10)


@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (6, 5)])
@pytest.mark.parametrize("strides", [(2, 2), (3, 2), (4, 4)])
@pytest.mark.parametrize("stem", [False, True])
def test_strided_convolutions_are_xla_s(
    side: int, shape: tuple[int, int], strides: tuple[int, int], stem: bool
) -> None:
    padding = [(side // 2, side // 2)] * 2 if stem else "SAME"
    images, kernel = (
        jax.random.normal(key, size)
        for key, size in zip(jax.random.split(jax.random.key(0)), [(2, *shape, 3), (side, side, 3, 4)], strict=True)
    )
    numbers = lax.conv_dimension_numbers(images.shape, kernel.shape, NHWC)
    ours = layers.strided(images, kernel, strides, padding, dimension_numbers=numbers)
    theirs = lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=numbers)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_shortcut_without_parameters_pools_and_pads() -> None:
    images = jnp.arange(2 * 4 * 4 * 2, dtype=jnp.float32).reshape(2, 4, 4, 2)
    found = layers.padded_shortcut(images, jnp.zeros((2, 2, 2, 5)))
    np.testing.assert_allclose(found[1, 1, 0, :2], images[1, 2:, :2].mean((0, 1)))
    assert not found[..., 2:].any()
    assert layers.padded_shortcut(images, images) is images


def plain_block(params: Any, images: jax.Array, stride: int, kind: str) -> jax.Array:
    """A pre-activation block on a batch, in training, that changes width or not; statistics are those of the batch."""

    def normalised(values: jax.Array, part: Any) -> jax.Array:
        mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
        return (values - mean) / jnp.sqrt(variance + 1e-5) * part["scale"] + part["bias"]

    def convolved(values: jax.Array, part: Any, stride: int) -> jax.Array:
        return lax.conv_general_dilated(values, part["kernel"], (stride, stride), "SAME", dimension_numbers=NHWC)

    activated = jnp.maximum(normalised(images, params["norm1"]), 0)
    inner = convolved(activated, params["conv1"], stride)
    inner = convolved(jnp.maximum(normalised(inner, params["norm2"]), 0), params["conv2"], 1)
    if kind == "convolution":
        return inner + convolved(activated, params["projection"], stride)
    shortcut = images
    if stride > 1:
        shortcut = lax.reduce_window(images, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    return inner + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, inner.shape[-1] - images.shape[-1])))


@pytest.mark.parametrize("shortcut", ["pool_and_pad", "convolution"])
def test_a_block_of_a_wide_resnet_is_a_plain_one(shortcut: str) -> None:
    model = WideResnet(depth=10, width=2, shortcut=shortcut).build((8, 8, 3), 10, nnx.Rngs(0))
    for name, channels, stride in (("block2_1", 32, 2), ("block3_1", 64, 2)):
        block = getattr(model, name)
        images = jax.random.normal(jax.random.key(1), (4, 8, 8, channels))
        params = nnx.to_pure_dict(nnx.state(block, nnx.Param))
        np.testing.assert_allclose(block(images), plain_block(params, images, stride, shortcut), rtol=1e-4, atol=1e-4)


def test_shake_drop_scales_branches_and_evaluates_the_expectation() -> None:
    shake, branch = layers.ShakeDrop(keep=0.5), jnp.ones((4000, 1, 1, 2))
    factors, gradient = jax.value_and_grad(lambda x: shake(x, nnx.Rngs(0)).sum() * 0 + (shake(x, nnx.Rngs(0))).sum())(
        branch
    )
    forward = np.asarray(shake(branch, nnx.Rngs(0)))
    np.testing.assert_array_equal(forward[..., 0], forward[..., 1])  # one draw an example
    kept = forward[:, 0, 0, 0] == 1
    assert kept.mean() == pytest.approx(0.5, abs=0.03)
    scaled = forward[~kept, 0, 0, 0]
    assert -1 <= scaled.min() < -0.95 and 0.95 < scaled.max() <= 1
    assert scaled.mean() == pytest.approx(0, abs=0.05)
    backward = np.asarray(gradient)[:, 0, 0, 0]
    assert np.all(backward[kept] == 1)
    assert 0 <= backward[~kept].min() < 0.05 and backward[~kept].mean() == pytest.approx(0.5, abs=0.03)
    shake.deterministic = True
    assert np.all(np.asarray(shake(branch, None)) == 0.5)


@pytest.mark.parametrize("kind", SMALL)
def test_an_epoch_trains_every_network_and_replays_bit_for_bit(kind: str) -> None:
    data = DigitPairs(train=96, test=40)
    program = ClassifyProgram(
        task=Classify(), model=SMALL[kind], data=data, optimizer=Sgd(momentum=0.9), batch_size=16, l2=5e-4, clip=5.0
    )
    training = program.task.build(program, lambda data: data.load(None))
    rates = np.full(6, 0.01, np.float32)

    def epoch() -> Mapping[str, float]:
        state = training.init(epoch_key(0, 0))
        for number in (1, 2):
            state, sums = training.advance(state, training.hyper, rates, epoch_key(0, number), 16, (0, len(rates)))
        return training.metrics([sums], training.evaluate(state))

    first = epoch()
    assert all(np.isfinite(value) for value in first.values())
    assert first == epoch()


def test_what_a_network_cannot_be_is_refused() -> None:
    for build, message in (
        (lambda: WideResnet(depth=27), "depth must be 10, 16, 22, 28 or so on, 6 n \\+ 4, got 27"),
        (lambda: PyramidNet(depth=12), "depth must be 11, 20, 29 or so on, 9 n \\+ 2, got 12"),
        (lambda: PyramidNet(alpha=float("nan")), "alpha must lie in"),
        (lambda: Resnet50(blocks=(3, 4, 6)), "blocks must have four entries"),
        (lambda: Vgg16(width=0), "width must be at least 1, got 0"),
        (lambda: Vgg16(init="zeros"), "init must be one of he_normal_fan_out, he_normal, .*, got 'zeros'"),
        (lambda: WideResnet(shortcut="none"), "shortcut must be one of pool_and_pad, convolution, got 'none'"),
        (lambda: WideResnet(depth=10).build((6, 8, 3), 10, nnx.Rngs(0)), "divisible by 4, got 6 x 8"),
        (lambda: PyramidNet(depth=11).build((6, 8, 3), 10, nnx.Rngs(0)), "divisible by 4, got 6 x 8"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_group_statistics_are_those_of_separate_devices() -> None:
    images = jax.random.normal(jax.random.key(0), (6, 4, 4, 3)) * jnp.arange(1.0, 7.0)[:, None, None, None]
    together = layers.batch_norm(3, nnx.Rngs(0))
    together.scale[...], together.bias[...] = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.0, -0.5])
    alone = [nnx.clone(together) for _ in range(3)]
    layers.in_groups(together, 2)
    found = together(images)
    expected = [norm(images[2 * number : 2 * number + 2]) for number, norm in enumerate(alone)]
    np.testing.assert_allclose(found, jnp.concatenate(expected), rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):  # averaged over the devices
        averaged = jnp.stack([getattr(norm, name)[...] for norm in alone]).mean(0)
        np.testing.assert_allclose(getattr(together, name)[...], averaged, rtol=1e-5, atol=1e-6)
    together.eval()
    np.testing.assert_array_equal(together(images[:3]), together(images)[:3])


@pytest.mark.parametrize("config", [WideResnet(depth=10, width=1), PyramidNet(depth=11, alpha=12), SMALL["resnet50"]])
def test_every_batch_norm_of_a_network_takes_groups(config: Any) -> None:
    together, whole = (
        nnx.eval_shape(lambda kept=kept: replace(config, norm_examples=kept).build((16, 16, 3), 10, nnx.Rngs(0)))
        for kept in (4, None)
    )
    norms = [node for _, node in nnx.iter_graph(together) if isinstance(node, nnx.BatchNorm)]
    assert len(norms) > 3
    assert {norm.examples for norm in norms} == {4}
    assert {node.examples for _, node in nnx.iter_graph(whole) if isinstance(node, nnx.BatchNorm)} == {None}


def test_groups_must_divide_the_batch() -> None:
    network = WideResnet(depth=10, width=1, norm_examples=4)
    with pytest.raises(ValueError, match="norm_examples must be at least 1, or null, got 0"):
        WideResnet(norm_examples=0)
    with pytest.raises(ValueError, match="norm_examples must divide the batch of 6 images, got 4"):
        nnx.eval_shape(lambda: network.build((16, 16, 3), 10, nnx.Rngs(0))(jnp.zeros((6, 16, 16, 3))))
    program = ClassifyProgram(
        task=Classify(), model=network, data=DigitPairs(train=32, test=8), optimizer=Sgd(), batch_size=18
    )
    with pytest.raises(ValueError, match="model.norm_examples must divide batch_size = 18, got 4"):
        program.task.build(program, lambda data: data.load(None))
