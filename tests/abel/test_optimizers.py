"""Tests for `abel/optimizers.py` and the sign of `scale_by_abel`."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from abel.optimizers import check_epoch, with_abel
from abel.transform import ScaleByAbelState, scale_by_abel

ABEL = {"decay_factor": 0.5, "last_decay_epoch": None, "steps_per_epoch": 4}
TARGET = jnp.array([3.0, -2.0])


def loss(weights: jax.Array) -> jax.Array:
    return jnp.sum((weights - TARGET) ** 2)


def train(optimizer: Any, steps: int = 100) -> tuple[Any, Any]:
    def step(carry: Any, _: None) -> tuple[tuple[Any, Any], None]:
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
        return (optax.apply_updates(weights, updates), state), None

    start = jnp.array([1.0, 1.0])
    (weights, state), _ = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps))()
    return weights, state


MADE = {
    "sgd": with_abel(optax.sgd, 0.05, **ABEL),
    "sgd with momentum": with_abel(optax.sgd, 0.02, options={"momentum": 0.9, "nesterov": True}, **ABEL),
    "adamw": with_abel(optax.adamw, 0.2, options={"weight_decay": 1e-4}, **ABEL),
    "lion": with_abel(optax.lion, 0.01, **ABEL),
    "rmsprop": with_abel(optax.rmsprop, 0.1, **ABEL),
    "a chain that keeps the sign": optax.chain(optax.trace(0.9), scale_by_abel(0.02, **ABEL)),
    "after an optimiser": optax.chain(optax.sgd(1.0), scale_by_abel(0.05, flip_sign=False, **ABEL)),
}


@pytest.mark.parametrize("name", MADE)
def test_every_documented_combination_descends(name: str) -> None:
    weights, state = train(MADE[name])
    assert float(loss(weights)) < 0.5 * float(loss(jnp.ones(2)))
    assert isinstance(state[-1], ScaleByAbelState)


def test_an_optimiser_with_abel_makes_the_steps_of_the_chain() -> None:
    ours, chain = with_abel(optax.sgd, 0.02, options={"momentum": 0.9}, **ABEL), MADE["a chain that keeps the sign"]
    assert train(ours)[0].tolist() == train(chain)[0].tolist()


@pytest.mark.parametrize(
    ("optimizer", "more", "message"),
    [
        (optax.sgd(0.1), {}, "optimizer must be a function that returns an optimiser, such as optax.sgd, got Gra"),
        ("sgd", {}, "optimizer must be a function that returns an optimiser, such as optax.sgd, got 'sgd'"),
        (
            optax.sgd,
            {"options": {"learning_rate": 0.1}},
            "options must not contain the learning rate, which ABEL sets, got 0.1",
        ),
        (optax.sgd, {"flip_sign": True}, "flip_sign must not be given, as with_abel sets it, got True"),
    ],
)
def test_what_would_ascend_or_scale_twice_is_refused(optimizer: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        with_abel(optimizer, 0.1, **ABEL, **more)


@pytest.mark.parametrize("wrong", [1, 3, 5, 8, 1000])
def test_a_wrong_count_of_steps_shows_by_the_second_epoch(wrong: int) -> None:
    optimizer = with_abel(optax.sgd, 0.05, **ABEL | {"steps_per_epoch": wrong})
    with pytest.raises(
        ValueError, match=r"^steps_per_epoch must be the number of updates in an epoch: after epoch [12] of 4 steps"
    ):
        for epoch in (1, 2):
            check_epoch(train(optimizer, 4 * epoch)[1], epoch, 4)


def test_a_right_count_of_steps_is_accepted_wherever_the_state_lies() -> None:
    every_other = optax.MultiSteps(with_abel(optax.sgd, 0.05, **ABEL), every_k_schedule=2)
    for epoch in (1, 2, 7):
        check_epoch(train(MADE["sgd"], 4 * epoch)[1], epoch, 4)
        check_epoch({"model": [train(every_other, 8 * epoch)[1]]}, epoch, 4)


def test_a_state_without_abel_has_no_count() -> None:
    with pytest.raises(ValueError, match="^opt_state must hold one ScaleByAbelState of one optimiser, got 0$"):
        check_epoch(optax.sgd(0.1).init(jnp.ones(2)), 1, 4)
