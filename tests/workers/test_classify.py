"""The classification task against a step written out by hand, and what one compiled epoch promises."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from workers.data import Dataset
from workers.data.augment import Augment
from workers.data.digits import DigitPairs, Digits
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.optimizers.adamw import Adamw
from workers.optimizers.optax_rules import Optax
from workers.optimizers.schedule_free import ScheduleFree
from workers.optimizers.sgd import Sgd
from workers.tasks import compiled
from workers.tasks.classification import _place
from workers.tasks.classify import Classify, ClassifyProgram

pytestmark = pytest.mark.slow

DATASET = DigitPairs(train=70, test=30).load(None)
PLAIN = ClassifyProgram(
    task=Classify(),
    model=Vgg5(width=2, pools=(False, True, True, True)),
    data=DigitPairs(train=70, test=30),
    optimizer=Sgd(momentum=0.5),
    l2=0.1,
    batch_size=16,
    clip=0.3,
)
RICH = replace(PLAIN, model=SmallCnn(width=2, dropout=0.3), augment=Augment(flip=True, crop=2, roll=1, noise=0.2))
RATES = np.float32([0.1, 0.05, 0.2, 0.1])
KEY = jax.random.key(7)


def build(program: ClassifyProgram, dataset: Dataset = DATASET) -> Any:
    return program.task.build(program, lambda data: dataset)


def train(
    program: ClassifyProgram, rates: np.ndarray = RATES, key: jax.Array = KEY, dataset: Dataset = DATASET
) -> tuple[Any, Any, Any, Any]:
    """One epoch from the initial state: (training, state before as numpy, state after, sums)."""
    training = build(program, dataset)
    state = training.init(jax.random.key(0))
    before = jax.device_get(state)
    after, sums = training.advance(state, training.hyper, rates, key, program.batch_size, (0, len(rates)))
    return training, before, after, sums


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


@jax.jit
def gradients(params: Any, images: jax.Array, labels: jax.Array, l2: float) -> tuple[Any, Any, Any, Any]:
    """Loss, errors and gradient without the penalty, and the gradient with the penalty in the loss."""
    graph = nnx.split(PLAIN.model.build(DATASET.shape, DATASET.classes, nnx.Rngs(0)))[0]

    def cross_entropy(params: Any) -> tuple[Any, Any]:
        logits = nnx.merge(graph, params)(images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), (logits.argmax(-1) != labels).sum()

    def penalised(params: Any) -> jax.Array:
        return cross_entropy(params)[0] + 0.5 * l2 * dot(params, params)

    (loss, errors), plain = jax.value_and_grad(cross_entropy, has_aux=True)(params)
    return loss, errors, plain, jax.grad(penalised)(params)


def by_hand(program: ClassifyProgram, params: Any, rates: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """The same epoch, step by step: the penalty is in the loss, then the clip, then optax.sgd."""
    order_key, _ = jax.random.split(KEY)
    order = np.asarray(jax.random.permutation(order_key, DATASET.examples))
    images, labels = (DATASET.train_images - np.float32(0.3))[order], DATASET.train_labels[order]
    sgd, rows = program.optimizer, []
    optimizer = optax.sgd(1.0, momentum=sgd.momentum, nesterov=sgd.nesterov)
    slots = optimizer.init(params)
    for number, rate in enumerate(rates):
        batch = slice(number * program.batch_size, (number + 1) * program.batch_size)
        loss, errors, plain, gradient = gradients(params, images[batch], labels[batch], program.l2)
        norm = optax.tree.norm(gradient)
        rows.append((loss, errors, dot(plain, plain), dot(plain, params), norm))
        if program.clip is not None and norm >= program.clip:
            gradient = jax.tree.map(lambda g, norm=norm: g * program.clip / norm, gradient)
        updates, slots = optimizer.update(gradient, slots, params)
        params = jax.tree.map(lambda w, update, rate=rate: w + rate * update, params, updates)
    return params, [np.asarray(column) for column in zip(*rows, strict=True)]


def dot(left: Any, right: Any) -> jax.Array:
    return sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


@pytest.mark.parametrize(
    "optimizer", [Sgd(), Sgd(momentum=0.5), Sgd(momentum=0.9, nesterov=True)], ids=["plain", "momentum", "nesterov"]
)
@pytest.mark.parametrize("clip", [None, 0.3])
def test_an_epoch_is_what_its_steps_are_by_hand(optimizer: Sgd, clip: float | None) -> None:
    program = replace(PLAIN, optimizer=optimizer, clip=clip)
    _, before, after, sums = train(program)
    params, (losses, errors, grad_norm_sq, grad_dot_weight, norms) = by_hand(program, before.params, RATES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), after.params, params)
    np.testing.assert_allclose(sums.loss, losses, rtol=1e-5)
    np.testing.assert_array_equal(sums.errors, errors)
    np.testing.assert_allclose(sums.grad_norm_sq, grad_norm_sq, rtol=1e-3)
    np.testing.assert_allclose(sums.grad_dot_weight, grad_dot_weight, rtol=1e-3, atol=1e-4)
    assert clip is None or (norms > clip).any()


def test_the_penalty_is_inside_the_clip() -> None:
    strong = replace(PLAIN, l2=100.0, optimizer=Sgd(), clip=0.3)
    _, before, after, _ = train(strong, rates=np.float32([1.0, 0.0, 0.0, 0.0]))  # as many steps as others compile
    moved = jax.tree.map(jnp.subtract, after.params, before.params)
    np.testing.assert_allclose(optax.tree.norm(moved), 0.3, rtol=1e-4)


@pytest.mark.parametrize("program", [PLAIN, RICH], ids=["vgg5", "small_cnn"])
def test_an_epoch_replays_bit_for_bit_and_depends_on_its_key(program: ClassifyProgram) -> None:
    training, before, after, sums = train(program)
    restored = jax.tree.map(jnp.asarray, before)
    again, same_sums = training.advance(restored, training.hyper, RATES, KEY, program.batch_size, (0, len(RATES)))
    assert_same((after, sums), (again, same_sums))
    assert_same(training.evaluate(after), training.evaluate(again))
    restored = jax.tree.map(jnp.asarray, before)
    _, other = training.advance(restored, training.hyper, RATES, jax.random.key(8), program.batch_size, (0, len(RATES)))
    assert not np.array_equal(sums.loss, other.loss)


@pytest.mark.parametrize("program", [PLAIN, RICH], ids=["vgg5", "small_cnn"])
def test_the_state_is_plain_dictionaries_of_arrays(program: ClassifyProgram) -> None:
    state = build(program).init(jax.random.key(0))
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))
    assert set(state.params) >= {"conv1", "conv2", "dense"}
    assert isinstance(state.collections, dict)
    assert bool(state.collections) == (program is RICH)


def test_initialisation_depends_on_the_key_alone() -> None:
    one, same, other = (build(PLAIN).init(jax.random.key(seed)) for seed in (1, 1, 2))
    assert_same(one, same)
    assert not np.array_equal(one.params["conv1"]["kernel"], other.params["conv1"]["kernel"])


def test_numbers_of_a_grid_share_one_compilation() -> None:
    functions = (compiled.train_stretch, compiled.initial_state, compiled.evaluation)
    for function in functions:
        function.clear_cache()
    changes = [{}, {"l2": 0.2}, {"clip": None}, {"optimizer": Sgd(momentum=0.9)}, {"batch_size": 16}]
    results = []
    for change in changes:
        training, _, after, _ = train(replace(PLAIN, **change))
        results.append(float(training.metrics([_], training.evaluate(after))["weight_norm_sq"]))
    assert [function._cache_size() for function in functions] == [1, 1, 1]
    assert len(set(results)) == 4


def test_dropout_and_statistics_act_in_training_and_not_in_evaluation() -> None:
    training, before, after, _ = train(RICH)
    assert not np.array_equal(before.collections["norm1"]["mean"], after.collections["norm1"]["mean"])
    kept = jax.device_get(after)
    assert_same(training.evaluate(after), training.evaluate(after))
    assert_same(after, kept)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 30])
def test_the_test_set_is_counted_once_whatever_the_batches(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    training, _, after, _ = train(PLAIN)
    model = compiled.module_of(training.recipe, after.params, after.collections)
    logits = model(jnp.asarray(DATASET.test_images) - 0.3)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(DATASET.test_labels))
    monkeypatch.setattr(compiled, "_EVALUATION_BATCH", size)
    found = compiled.evaluation.__wrapped__(training.recipe, after, _place(DATASET))
    np.testing.assert_allclose(found.loss.sum(), losses.sum(), rtol=1e-5)
    assert int(found.errors.sum()) == int((logits.argmax(-1) != DATASET.test_labels).sum())
    assert int(found.examples) == 30


def test_metrics_are_means_percentages_and_norms() -> None:
    training, _, after, sums = train(PLAIN)
    test_sums = training.evaluate(after)
    metrics = training.metrics([sums], test_sums)
    assert metrics["train_loss"] == pytest.approx(float(sums.loss.mean()))
    assert metrics["train_error"] == pytest.approx(100 * int(sums.errors.sum()) / 64)
    assert metrics["test_loss"] == pytest.approx(float(test_sums.loss.sum()) / 30)
    assert metrics["test_error"] == pytest.approx(100 * int(test_sums.errors.sum()) / 30)
    assert metrics["grad_norm_sq"] == pytest.approx(float(sums.grad_norm_sq.mean()))
    assert metrics["grad_dot_weight"] == pytest.approx(float(sums.grad_dot_weight.mean()))
    layers = {name: value for name, value in metrics.items() if name.startswith("weight_norm_sq/")}
    names = {
        f"{layer}/{part}" for layer in ("conv1", "conv2", "conv3", "conv4", "dense") for part in ("kernel", "bias")
    }
    assert {name.removeprefix("weight_norm_sq/") for name in layers} == names
    kernel = np.asarray(after.params["dense"]["kernel"], np.float64)
    assert metrics["weight_norm_sq/dense/kernel"] == pytest.approx(np.square(kernel).sum())
    assert metrics["weight_norm_sq"] == pytest.approx(sum(layers.values()), rel=1e-12)
    assert all(type(value) is float for value in metrics.values())


def test_divergence_is_reported_and_not_raised() -> None:
    training, _, after, sums = train(PLAIN, rates=np.float32([1e38] * 4))
    metrics = training.metrics([sums], training.evaluate(after))
    assert not np.isfinite(metrics["train_loss"])


def test_training_learns() -> None:
    program = ClassifyProgram(task=Classify(), model=SmallCnn(width=8), data=Digits(), optimizer=Sgd(), batch_size=16)
    training = build(program, Digits().load(None))
    state = training.init(jax.random.key(0))
    rates = np.full(81, 0.1, np.float32)
    for epoch in (1, 2):
        state, _ = training.advance(state, training.hyper, rates, jax.random.key(epoch), 16, (0, len(rates)))
    test_sums = training.evaluate(state)
    assert int(test_sums.errors.sum()) < 0.1 * 500


def test_bytes_are_scaled_and_standardised_on_the_device() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(70, 8, 16, 2), dtype=np.uint8)
    moments = {"mean": (0.1, 0.4), "std": (0.5, 2.0)}
    data = {"train_images": pixels, "test_images": pixels[:30]}
    labels = {"train_labels": DATASET.train_labels, "test_labels": DATASET.test_labels}
    as_bytes = Dataset(name="bytes", classes=100, **data, **labels, **moments)
    ready = ((pixels / 255 - moments["mean"]) / moments["std"]).astype(np.float32)
    plain = {"mean": (0.0, 0.0), "std": (1.0, 1.0), "train_images": ready, "test_images": ready[:30]}
    *_, after, _ = train(PLAIN, dataset=as_bytes)
    *_, expected, _ = train(PLAIN, dataset=replace(as_bytes, **plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), after.params, expected.params)


def test_more_steps_than_the_data_hold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"steps must lie in 1..4 at batch size 16, got 5"):
        train(PLAIN, rates=np.ones(5, np.float32))


class Selfish(nnx.Module):
    def __init__(self) -> None:
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, images: jax.Array, *, rngs: Any = None) -> jax.Array:
        return self.dropout(images.reshape(len(images), -1))


def test_a_model_that_keeps_random_state_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallCnn, "build", lambda self, shape, classes, rngs: Selfish())
    training = build(replace(PLAIN, model=SmallCnn(width=3)))
    with pytest.raises(ValueError, match="model 'small_cnn' must take its randomness from the argument rngs"):
        training.init(KEY)


def test_labels_are_smoothed_in_training_and_not_in_the_test() -> None:
    training, before, after, sums = train(replace(PLAIN, label_smoothing=0.1))
    _, _, plain_after, plain = train(PLAIN)
    order = np.asarray(jax.random.permutation(jax.random.split(KEY)[0], DATASET.examples))[:16]
    graph = nnx.split(PLAIN.model.build(DATASET.shape, DATASET.classes, nnx.Rngs(0)))[0]
    logits = nnx.merge(graph, before.params)(DATASET.train_images[order] - np.float32(0.3))
    wanted = 0.9 * jax.nn.one_hot(DATASET.train_labels[order], 100) + 0.1 / 100
    np.testing.assert_allclose(sums.loss[0], -(wanted * jax.nn.log_softmax(logits)).sum(-1).mean(), rtol=1e-5)
    assert sums.errors[0] == plain.errors[0]
    assert not np.array_equal(after.params["dense"]["bias"], plain_after.params["dense"]["bias"])
    # Of one state, smoothing changes no test loss.
    assert_same(training.evaluate(plain_after), build(PLAIN).evaluate(plain_after))


def test_all_initial_parameters_are_scaled() -> None:
    plain, scaled = (build(replace(RICH, initial_scale=scale)).init(jax.random.key(1)) for scale in (1.0, 0.5))
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(0.5 * one, other), plain.params, scaled.params)
    assert_same(plain.collections, scaled.collections)


@pytest.mark.usefixtures("lightly_optimised")
def test_the_penalty_spares_biases_and_norms_where_it_is_on_kernels() -> None:
    idle = np.float32([1.0])
    moved = {}
    for where in ("all", "kernels"):
        strong = replace(RICH, l2=100.0, l2_on=where, clip=None, optimizer=Sgd())
        _, before, after, _ = train(strong, rates=idle)
        moved[where] = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, before.params)
    assert moved["all"]["norm1"]["scale"] > 50 > 5 > moved["kernels"]["norm1"]["scale"]
    assert moved["all"]["conv1"]["kernel"] == moved["kernels"]["conv1"]["kernel"]


def test_the_equation_needs_the_penalty_on_all_parameters() -> None:
    with pytest.raises(ValueError, match="l2_on must be 'all' where task.dynamics is true, got 'kernels'"):
        build(replace(PLAIN, task=Classify(dynamics=True), l2_on="kernels"))


@pytest.mark.usefixtures("lightly_optimised")
@pytest.mark.parametrize("optimizer", [Adamw(weight_decay=0.1), Optax(name="adagrad")])
def test_an_epoch_trains_with_another_optimiser_and_replays_bit_for_bit(optimizer: Adamw | Optax) -> None:
    program = replace(PLAIN, optimizer=optimizer)
    rates = np.full(4, 0.003, np.float32)
    training, before, after, sums = train(program, rates=rates)
    again, same_sums = training.advance(
        jax.tree.map(jnp.asarray, before), training.hyper, rates, KEY, program.batch_size, (0, len(rates))
    )
    assert_same((after, sums), (again, same_sums))
    assert training.metrics([sums], training.evaluate(after))["train_loss"] < 6


@pytest.mark.usefixtures("lightly_optimised")
def test_schedule_free_trains_and_tests_at_different_weights() -> None:
    training, _, after, sums = train(replace(PLAIN, optimizer=ScheduleFree(b1=0.8), clip=None))
    tested = training.metrics([sums], training.evaluate(after))
    average = after._replace(params=optax.contrib.schedule_free_eval_params(after.slots, after.params), slots=())
    plain = replace(training.recipe, optimizer=Sgd())
    by_hand = compiled.evaluation(plain, average, _place(DATASET))
    assert tested["test_loss"] == pytest.approx(float(by_hand.loss.sum()) / 30, rel=1e-5)
    at_training = compiled.evaluation(plain, average._replace(params=after.params), _place(DATASET))
    assert abs(tested["test_loss"] - float(at_training.loss.sum()) / 30) > 1e-4
