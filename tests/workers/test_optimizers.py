"""Optimisers against optax's own, whose learning rate ours leave to the schedule, and the step that all tasks take."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from workers import update
from workers.optimizers.adam import Adam
from workers.optimizers.adamw import Adamw
from workers.optimizers.lamb import Lamb
from workers.optimizers.lion import Lion
from workers.optimizers.optax_rules import Optax
from workers.optimizers.schedule_free import ScheduleFree
from workers.optimizers.sgd import Sgd

PARAMS = {
    "kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3),
    "bias": jnp.linspace(0.5, 1.0, 3),
}
RATES = (0.1, 0.05, 0.2)
KERNELS = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731

PAIRS = {
    "sgd": (Sgd(momentum=0.9, nesterov=True), lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True)),
    "adam": (Adam(b1=0.8, b2=0.95, eps=1e-6), lambda rate: optax.adam(rate, b1=0.8, b2=0.95, eps=1e-6)),
    "adamw": (Adamw(weight_decay=0.1), lambda rate: optax.adamw(rate, weight_decay=0.1)),
    "adamw, kernels": (
        Adamw(weight_decay=0.1, decay_on="kernels"),
        lambda rate: optax.adamw(rate, weight_decay=0.1, mask=KERNELS),
    ),
    "lamb": (Lamb(weight_decay=0.1), lambda rate: optax.lamb(rate, weight_decay=0.1)),
    "lion": (Lion(weight_decay=0.1), lambda rate: optax.lion(rate, weight_decay=0.1)),
    "adagrad": (Optax(name="adagrad", options={"eps": 1e-5}), lambda rate: optax.adagrad(rate, eps=1e-5)),
    "rmsprop": (
        Optax(name="rmsprop", options={"decay": 0.8, "centered": True}),
        lambda rate: optax.rmsprop(rate, decay=0.8, centered=True),
    ),
    "schedule-free": (
        ScheduleFree(b1=0.8, weight_decay=0.1),
        lambda rate: optax.contrib.schedule_free(
            optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate)), rate, b1=0.8
        ),
    ),
    "schedule-free, adamw": (
        ScheduleFree(base="adamw", b2=0.99),
        lambda rate: optax.contrib.schedule_free_adamw(rate, b2=0.99, weight_decay=0.0),
    ),
    "muon": (Optax(name="contrib.muon"), optax.contrib.muon),
}


def gradient(params: dict[str, Any], number: int) -> Any:
    """A gradient that changes from step to step."""
    return jax.tree.map(lambda leaf: 0.3 * leaf + 0.1 * (number + 1), params)


def hyper(optimizer: Any, **given: Any) -> dict[str, jax.Array]:
    numbers = {"l2": 0.0, "clip": math.inf, **given} | optimizer.hyper()
    return {name: jnp.float32(value) for name, value in numbers.items()}


def stepped(optimizer: Any, *, l2_on: str = "all", **given: Any) -> tuple[dict[str, Any], list[Any]]:
    """Parameters after three steps, and what was measured in the first."""
    numbers = hyper(optimizer, **given)

    @jax.jit
    def step(params: dict[str, Any], slots: Any, rate: Any, number: int) -> Any:
        return update.step(optimizer.static(), l2_on, numbers, rate, gradient(params, number), params, slots)

    params, slots, measured = PARAMS, optimizer.static().transform(numbers).init(PARAMS), []
    for number, rate in enumerate(RATES):
        params, slots, found = step(params, slots, rate, number)
        measured.append(found)
    return params, measured


def by_optax(
    build: Callable[..., Any],
    *,
    l2: float = 0.0,
    clip: float = math.inf,
    on: Callable[..., Any] = lambda params: jax.tree.map(lambda leaf: 1.0, params),
) -> dict[str, Any]:
    """The same three steps by optax, the penalty added to the gradient by hand."""
    params, state = PARAMS, build(1.0).init(PARAMS)
    for number, rate in enumerate(RATES):
        given = jax.tree.map(lambda g, w, m: g + l2 * w * m, gradient(params, number), params, on(params))
        norm = optax.tree.norm(given)
        given = jax.tree.map(lambda g, norm=norm: g * jnp.where(norm >= clip, clip / norm, 1.0), given)
        updates, state = build(rate).update(given, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), one, other)


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_optimiser_of_that_name_with_the_rate_taken_out(name: str) -> None:
    ours, theirs = PAIRS[name]
    params, _ = stepped(ours)
    assert_close(params, by_optax(theirs))


def test_schedule_free_is_evaluated_at_the_average_of_its_iterates() -> None:
    optimizer = ScheduleFree(b1=0.8)
    rule = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.8)
    params, state = PARAMS, rule.init(PARAMS)
    ours, slots, numbers = PARAMS, optimizer.transform(hyper(optimizer)).init(PARAMS), hyper(optimizer)
    for number in range(4):
        updates, state = rule.update(gradient(params, number), state, params)
        params = optax.apply_updates(params, updates)
        ours, slots, _ = update.step(optimizer, "all", numbers, jnp.float32(0.1), gradient(ours, number), ours, slots)
    average = update.evaluated(optimizer, ours, slots)
    assert_close(average, optax.contrib.schedule_free_eval_params(state, params))
    assert float(jnp.abs(average["kernel"] - ours["kernel"]).max()) > 1e-3
    assert update.evaluated(Sgd(), ours, slots) is ours


def test_the_penalty_is_inside_the_clip_and_may_spare_biases() -> None:
    params, _ = stepped(Sgd(), l2=0.5, clip=0.7)
    assert_close(params, by_optax(optax.sgd, l2=0.5, clip=0.7))
    params, _ = stepped(Sgd(), l2=0.5, clip=0.7, l2_on="kernels")
    spared = by_optax(optax.sgd, l2=0.5, clip=0.7, on=lambda params: jax.tree.map(float, KERNELS(params)))
    assert_close(params, spared)


def test_what_is_measured_is_of_the_gradient_without_the_penalty() -> None:
    _, (first, *_) = stepped(Sgd(), l2=0.5, clip=0.7)
    given = gradient(PARAMS, 0)
    np.testing.assert_allclose(first.grad_norm_sq, sum(jnp.sum(g**2) for g in given.values()), rtol=1e-6)
    np.testing.assert_allclose(first.grad_dot_weight, sum(jnp.sum(given[k] * PARAMS[k]) for k in PARAMS), rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_numbers_of_a_grid_are_arguments_where_optax_lets_them_be(name: str) -> None:
    ours, _ = PAIRS[name]
    numbers = ours.hyper()
    assert all(isinstance(value, float) for value in numbers.values())
    if name != "muon":
        assert numbers
        static = ours.static()
        assert hash(static) == hash(static)
        assert static.static() == static


def test_a_grid_over_an_optimiser_s_numbers_has_one_static_part() -> None:
    assert Adamw(b1=0.8, weight_decay=0.1).static() == Adamw().static()
    assert Adamw(decay_on="kernels").static() != Adamw().static()
    one, other = (Optax(name="rmsprop", options={"decay": decay, "centered": True}) for decay in (0.8, 0.9))
    assert one.static() == other.static()
    assert one != other
    assert one.hyper() == {"options.decay": 0.8}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sgd(momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: Adam(b2=1.0), r"b2 must lie in \[0, 1\), got 1.0"),
        (lambda: Adamw(eps=0.0), "eps must be finite and above 0, got 0.0"),
        (lambda: Lamb(weight_decay=-1.0), "weight_decay must be finite and at least 0, got -1.0"),
        (lambda: Lion(b1=-0.1), r"b1 must lie in \[0, 1\), got -0.1"),
        (lambda: replace(Adamw(), decay_on="some"), "decay_on must be 'all' or 'kernels', got 'some'"),
        (lambda: Optax(name="adagard"), "name must be an optimiser of optax, got 'adagard'"),
        (lambda: Optax(name="tree_utils"), "name must be an optimiser of optax, got 'tree_utils'"),
        (
            lambda: Optax(name="adagrad", options={"epz": 1.0}),
            r"options must be arguments of optax.adagrad \(eps, initial_accumulator_value\), not epz",
        ),
        (
            lambda: Optax(name="adagrad", options={"eps": "x"}).hyper(),
            "optax.adagrad cannot be used with the options {'eps': 'x'}: a trial step failed: ",
        ),
        (
            lambda: Optax(name="fromage").hyper(),
            "optax.fromage cannot be used .*: its step is not proportional to the learning rate",
        ),
        # Its momentum holds steps that are already multiplied by the rates of their time.
        (
            lambda: Optax(name="rmsprop", options={"momentum": 0.5}).hyper(),
            "optax.rmsprop cannot be used .*: its step is not proportional to the learning rate",
        ),
        (
            lambda: Optax(name="noisy_sgd", options={"key": 0}).hyper(),
            "optax.noisy_sgd cannot be used .*: it draws random numbers from a state",
        ),
        (lambda: Optax(name="polyak_sgd"), "name must be an optimiser of optax, got 'polyak_sgd'"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(make: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_naming_an_optimiser_starts_no_device() -> None:
    """Commands and the driver read programs; a device that they start is lacking in the workers."""
    lines = (
        "from workers.optimizers.optax_rules import Optax",
        "from jax._src import xla_bridge",
        "Optax(name='rmsprop', options={'decay': 0.9})",
        "assert not xla_bridge._backends, xla_bridge._backends",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_a_number_that_a_default_would_forbid_is_still_an_argument() -> None:
    lars = {"weight_decay": 0.0, "momentum": 0.0}
    assert Optax(name="lars", options=lars).static().options.keys() == lars.keys()
