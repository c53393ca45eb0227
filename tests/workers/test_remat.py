"""Activations that are computed again in the backward pass: the same training, with less kept for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from workers.config import to_dict
from workers.data.digits import DigitPairs
from workers.models.pyramid_net import PyramidNet
from workers.models.resnet50 import Resnet50
from workers.models.wide_resnet import WideResnet
from workers.optimizers.sgd import Sgd
from workers.tasks import compiled
from workers.tasks.classify import Classify, ClassifyProgram

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lightly_optimised")]

DATASET = DigitPairs(train=64, test=16).load(None)
NETWORKS = {
    "wide_resnet": WideResnet(depth=10, width=1),
    "pyramid_net": PyramidNet(depth=11, alpha=12, norm_examples=4),
    "resnet50": Resnet50(width=2, blocks=(1, 1, 1, 1), stem=False),
}


def loss_of(model: Any) -> tuple[Any, Any]:
    """The loss and the batch statistics of a network in training, as a function of its parameters; and these."""
    program = ClassifyProgram(
        task=Classify(), model=model, data=DigitPairs(train=64, test=16), optimizer=Sgd(), batch_size=8
    )
    training = program.task.build(program, lambda data: DATASET)
    state = jax.eval_shape(lambda: compiled.initial_state(training.recipe, training.hyper, jax.random.key(0)))
    draws = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: jnp.asarray(draws.uniform(0.1, 0.3, leaf.shape), leaf.dtype), state)
    images = jax.random.normal(jax.random.key(1), (8, *DATASET.shape))

    def loss(params: Any) -> tuple[Any, Any]:
        network = compiled.module_of(training.recipe, params, state.collections)
        network.train()
        logits = network(images, rngs=nnx.Rngs(2))
        return jnp.square(logits).mean(), nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    return loss, state.params


def kept_bytes(loss: Callable[..., Any], params: Any) -> int:
    """What the forward pass keeps for the backward pass."""
    kept = jax.eval_shape(lambda params: jax.vjp(lambda params: loss(params)[0], params)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


@pytest.mark.parametrize("kind", NETWORKS)
def test_loss_gradient_and_statistics_stay_and_less_is_kept(kind: str) -> None:
    losses = [loss_of(replace(NETWORKS[kind], remat=remat)) for remat in (False, True)]
    plain, recomputed = (kept_bytes(*each) for each in losses)
    assert recomputed < 0.6 * plain
    if kind == "resnet50":  # whose blocks are called like those of wide_resnet, and take long to compile
        return
    found = [jax.jit(jax.value_and_grad(loss, has_aux=True))(params) for loss, params in losses]
    ((value, statistics), gradient), ((again, statistics_again), gradient_again) = found
    np.testing.assert_allclose(again, value, rtol=1e-5)
    for one, other in ((statistics, statistics_again), (gradient, gradient_again)):
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(one))
        jax.tree.map(
            lambda a, b, most=largest: np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * most), one, other
        )


def test_the_default_is_left_out_of_a_model() -> None:
    for model in NETWORKS.values():
        assert "remat" not in to_dict(model)
        assert to_dict(replace(model, remat=True)) == to_dict(model) | {"remat": True}
