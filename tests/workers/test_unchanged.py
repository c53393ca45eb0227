"""Options of image classification that were added later leave the compiled program as it was, where they are not used."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from workers import update
from workers.config import to_dict
from workers.data.augment import Augment
from workers.data.digits import DigitPairs
from workers.models.pyramid_net import PyramidNet
from workers.models.small_cnn import SmallCnn
from workers.models.wide_resnet import WideResnet
from workers.networks import layers
from workers.optimizers.sgd import Sgd
from workers.tasks import compiled
from workers.tasks.classification import _place
from workers.tasks.classify import Classify, ClassifyProgram

DATASET = DigitPairs(train=70, test=30).load(None)
FIELDS = {"task", "model", "data", "augment", "optimizer", "l2", "batch_size", "clip"}


def texts(model: SmallCnn | WideResnet | PyramidNet) -> list[Any]:
    """The compiled functions of a program without options, as text."""
    program = ClassifyProgram(
        task=Classify(),
        model=model,
        data=DigitPairs(train=70, test=30),
        optimizer=Sgd(momentum=0.9),
        augment=Augment(flip=True, noise=0.1),
        batch_size=8,
    )
    assert set(to_dict(program)) == FIELDS
    training = program.task.build(program, lambda data: DATASET)
    recipe, data, key = training.recipe, _place(DATASET), jax.random.key(0)
    state = jax.eval_shape(lambda: compiled.initial_state(recipe, training.hyper, key))
    arguments = (recipe, state, data, training.hyper, np.full(3, 0.1, np.float32), key, 0, 3, 8)
    functions = (compiled.train_stretch, compiled.evaluation, compiled.initial_state)
    for function in functions:
        function.clear_cache()
    given = (arguments, (recipe, state, data), (recipe, training.hyper, key))
    return [function.lower(*each).as_text() for function, each in zip(functions, given, strict=True)]


def former_model(recipe: Any, params: Any, collections: Any) -> Any:
    graph = compiled._graph(recipe.model, recipe.shape, recipe.classes)
    return nnx.merge(graph, params, collections, copy=True)


def former_step(
    recipe: Any, state: Any, hyper: Any, images: jax.Array, labels: jax.Array, learning_rate: Any, key: Any
) -> tuple[Any, tuple[Any, Any, Any, None]]:
    def loss(params: Any) -> tuple[Any, tuple[Any, Any]]:
        model = former_model(recipe, params, state.collections)
        model.train()
        losses, wrong = compiled.losses_of(model(images, rngs=nnx.Rngs(key)), labels, recipe.label_smoothing)
        return losses.mean(), (wrong.sum(), nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

    (mean_loss, (errors, collections)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    params, slots, measured = update.step(
        recipe.optimizer, recipe.l2_on, hyper, learning_rate, gradient, state.params, state.slots
    )
    return compiled.TrainState(params, slots, collections), (mean_loss, errors, measured, None)


def former_norm(self: Any, x: jax.Array, use_running_average: bool | None = None, *, mask: Any = None) -> jax.Array:
    if self.use_running_average or self.examples in (None, x.shape[0]):
        return nnx.BatchNorm.__call__(self, x, use_running_average, mask=mask)
    groups = x.reshape(-1, self.examples, *x.shape[1:])
    mean, square = (power.mean((1, 2, 3), keepdims=True) for power in (groups, jnp.square(groups)))
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    for kept, found in ((self.mean, mean), (self.var, variance)):
        kept[...] = self.momentum * kept[...] + (1 - self.momentum) * found.reshape(-1, self.num_features).mean(0)
    scaled = (groups - mean) * (jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]) + self.bias[...]
    return scaled.reshape(x.shape)


@pytest.mark.parametrize(
    "model",
    [
        SmallCnn(width=2, dropout=0.3),
        WideResnet(depth=10, width=1, norm_examples=2),
        PyramidNet(depth=11, alpha=12),
    ],
    ids=lambda model: model.kind,
)
def test_without_options_the_compiled_functions_are_those_from_before(
    monkeypatch: pytest.MonkeyPatch, model: SmallCnn | WideResnet | PyramidNet
) -> None:
    now = texts(model)
    monkeypatch.setattr(compiled, "trained_step", former_step)
    monkeypatch.setattr(compiled, "module_of", former_model)
    monkeypatch.setattr(compiled, "logits_of", lambda recipe, model, images, **rngs: model(images, **rngs))
    monkeypatch.setattr(layers.BatchNorm, "__call__", former_norm)
    assert texts(model) == now
