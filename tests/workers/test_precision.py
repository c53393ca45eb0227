"""Training in bfloat16: what is computed in it, and what stays float32."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from epochs import SMALL, build, epoch
from flax import nnx

from workers.config import to_dict
from workers.models.pyramid_net import PyramidNet
from workers.models.resnet50 import Resnet50
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.models.wide_resnet import WideResnet
from workers.networks import layers
from workers.optimizers.sgd import Sgd
from workers.tasks import compiled
from workers.tasks.classify import Classify, ClassifyProgram

PROGRAM = ClassifyProgram(
    task=Classify(),
    model=SmallCnn(width=2, dropout=0.3),
    data=SMALL,
    optimizer=Sgd(momentum=0.9),
    l2=0.01,
    batch_size=16,
    clip=5.0,
)
HALF = replace(PROGRAM, precision="bfloat16")
NETWORKS = {
    "small_cnn": PROGRAM.model,
    "vgg5": Vgg5(width=2),
    "wide_resnet": WideResnet(depth=10, width=1),
    "groups": WideResnet(depth=10, width=1, norm_examples=2),
    "pyramid_net": PyramidNet(depth=11, alpha=12),
    "resnet50": Resnet50(width=2, blocks=(1, 1, 1, 1)),
}


def test_state_stays_float32_and_an_epoch_is_close_to_one_of_float32() -> None:
    training, state, sums = epoch(HALF)
    _, _, exact = epoch(PROGRAM)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    assert {sums.loss.dtype, sums.grad_norm_sq.dtype} == {jnp.dtype("float32")}
    np.testing.assert_allclose(sums.loss, exact.loss, rtol=0.02)
    assert not np.array_equal(sums.loss, exact.loss)
    np.testing.assert_allclose(sums.grad_norm_sq, exact.grad_norm_sq, rtol=0.1)
    again = epoch(HALF)[1]
    jax.tree.map(np.testing.assert_array_equal, state, again)
    # A test loss of bfloat16 logits is a sum of float32 losses.
    assert training.evaluate(state).loss.dtype == jnp.float32


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("trains", [True, False], ids=["training", "evaluation"])
def test_every_product_of_a_network_and_its_gradient_is_in_bfloat16(kind: str, trains: bool) -> None:
    recipe = build(replace(HALF, model=NETWORKS[kind])).recipe
    state = jax.eval_shape(lambda: compiled.initial_state(recipe, build(HALF).hyper, jax.random.key(0)))

    def loss(params: Any, collections: Any, images: jax.Array) -> jax.Array:
        model = compiled.module_of(recipe, params, collections)
        model.train() if trains else model.eval()
        return compiled.logits_of(recipe, model, images, rngs=nnx.Rngs(0)).sum()

    images = jax.ShapeDtypeStruct((4, *recipe.shape), jnp.float32)
    text = jax.jit(jax.grad(loss)).lower(state.params, state.collections, images).as_text()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).*-> tensor<[\dx]+x(\w+)>", text)
    assert len(products) >= 6
    assert set(products) == {"bf16"}


def test_batch_norm_takes_float32_statistics_of_bfloat16_images() -> None:
    exact = 100 + jax.random.normal(jax.random.key(0), (64, 4, 4, 3))
    for examples in (None, 32):
        norm = layers.batch_norm(3, nnx.Rngs(0))
        norm.examples = examples
        images = exact.astype(jnp.bfloat16)
        found = norm(images)
        assert (found.dtype, norm.mean[...].dtype, norm.var[...].dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
        wide = images.astype(jnp.float32)
        np.testing.assert_allclose(norm.mean[...], 0.1 * wide.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(found.astype(jnp.float32).std((0, 1, 2)), 1, rtol=0.02)


def test_the_default_is_left_out_of_a_program_and_others_are_refused() -> None:
    assert "precision" not in to_dict(PROGRAM)
    assert to_dict(HALF) == to_dict(PROGRAM) | {"precision": "bfloat16"}
    with pytest.raises(ValueError, match="precision must be 'float32' or 'bfloat16', got 'float16'"):
        replace(PROGRAM, precision="float16")
