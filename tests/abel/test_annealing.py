"""Schedules with a new rate at every step, against their formulas, optax and PyTorch's documentation."""

import math

import jax
import numpy as np
import optax
import pytest
from planned_rates import EPOCHS, STEPS, optax_rates, train, warmup

from abel.annealing import Cosine, InverseSqrt, Linear, OneCycle, WarmupStableDecay
from abel.baselines import Constant


@pytest.mark.parametrize("rate", [0.1, 0.25, 1 / 3])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 5])
def test_cosine_is_the_formula_in_double_rounded_once(rate: float, warmup_epochs: int) -> None:
    epochs = 12
    rates, events = train(Cosine(learning_rate=rate, epochs=epochs, warmup_epochs=warmup_epochs), epochs)
    expected = []
    for epoch in range(1, epochs + 1):
        for step in range(7):
            position = (epoch - 1) + step / 7
            progress = max(0.0, position - warmup_epochs) / (epochs - warmup_epochs)
            shape = warmup(position, warmup_epochs) * 0.5 * (1 + math.cos(math.pi * progress))
            expected.append(np.float32(rate * shape))
    np.testing.assert_array_equal(rates.ravel(), np.array(expected, np.float32))
    assert events == {}


def test_cosine_without_warmup_is_the_usual_formula_over_steps() -> None:
    rates, _ = train(Cosine(learning_rate=0.1, epochs=10), epochs=10)
    steps = np.arange(70)
    np.testing.assert_allclose(rates.ravel(), 0.1 * 0.5 * (1 + np.cos(np.pi * steps / 70)), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.25, 1 / 3])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 5])
def test_linear_is_the_formula_in_double_rounded_once(rate: float, warmup_epochs: int) -> None:
    epochs = 12
    rates, events = train(Linear(learning_rate=rate, epochs=epochs, warmup_epochs=warmup_epochs), epochs)
    expected = []
    for epoch in range(1, epochs + 1):
        for step in range(7):
            position = (epoch - 1) + step / 7
            progress = max(0.0, position - warmup_epochs) / (epochs - warmup_epochs)
            expected.append(np.float32(rate * (warmup(position, warmup_epochs) * (1 - progress))))
    np.testing.assert_array_equal(rates.ravel(), np.array(expected, np.float32))
    assert events == {}


def test_linear_stays_at_zero_after_the_end() -> None:
    rates, _ = train(Linear(learning_rate=0.1, epochs=3), epochs=5)
    assert rates[2, -1] > 0
    assert np.all(rates[3:] == 0)


@pytest.mark.parametrize("rate", [0.1, 0.25, 1 / 3])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 5])
def test_cosine_and_linear_are_optax_s(rate: float, warmup_epochs: int) -> None:
    warm, total = warmup_epochs * STEPS, EPOCHS * STEPS
    ours, _ = train(Cosine(learning_rate=rate, epochs=EPOCHS, warmup_epochs=warmup_epochs), EPOCHS)
    cosine = optax.cosine_decay_schedule(rate, total - warm)
    linear = optax.linear_schedule(rate, 0.0, total - warm)
    up = optax.linear_schedule(0.0, rate, max(warm, 1))
    theirs = optax_rates(optax.join_schedules([up, cosine], [warm]))
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)
    ours, _ = train(Linear(learning_rate=rate, epochs=EPOCHS, warmup_epochs=warmup_epochs), EPOCHS)
    theirs = optax_rates(optax.join_schedules([up, linear], [warm]))
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)


def test_in_single_precision_optax_is_off_by_a_rounding_of_the_base_rate() -> None:
    ours, _ = train(Cosine(learning_rate=0.1, epochs=EPOCHS), EPOCHS)
    theirs = jax.jit(jax.vmap(optax.cosine_decay_schedule(0.1, EPOCHS * STEPS)))(np.arange(EPOCHS * STEPS))
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(ours.ravel(), theirs, rtol=0, atol=2 * np.spacing(np.float32(0.1)))


COOLDOWNS = {
    "linear": lambda progress: 1 - progress,
    "1-sqrt": lambda progress: 1 - math.sqrt(progress),
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}


@pytest.mark.parametrize("cooldown", COOLDOWNS)
@pytest.mark.parametrize("warmup_epochs", [0, 3])
def test_warmup_stable_decay_is_constant_up_to_its_cooldown(cooldown: str, warmup_epochs: int) -> None:
    given = {"learning_rate": 1 / 3, "warmup_epochs": warmup_epochs}
    schedule = WarmupStableDecay(**given, epochs=12, cooldown_epochs=4, cooldown=cooldown)
    rates, events = train(schedule, epochs=13)
    constant, _ = train(Constant(**given), epochs=8)
    np.testing.assert_array_equal(rates[:8], constant)
    progress = [(epoch + step / STEPS) / 4 for epoch in range(4) for step in range(STEPS)]
    expected = np.float32([1 / 3 * COOLDOWNS[cooldown](share) for share in progress])
    np.testing.assert_array_max_ulp(rates[8:12].ravel(), expected, maxulp=1)
    assert np.all(rates[12] == 0)
    assert events == {}


def test_cooldowns_of_several_lengths_have_one_trunk() -> None:
    short, long = (
        train(WarmupStableDecay(learning_rate=0.3, epochs=epochs, cooldown_epochs=2), epochs)[0] for epochs in (6, 10)
    )
    np.testing.assert_array_equal(short[:4], long[:4])
    assert np.any(short[4] != long[4])


def test_the_linear_cooldown_is_optax_s() -> None:
    schedule = WarmupStableDecay(
        learning_rate=0.3, epochs=EPOCHS, warmup_epochs=5, cooldown_epochs=6, cooldown="linear"
    )
    up, down = optax.linear_schedule(0.0, 0.3, 5 * STEPS), optax.linear_schedule(0.3, 0.0, 6 * STEPS)
    parts = [up, optax.constant_schedule(0.3), down]
    theirs = optax_rates(optax.join_schedules(parts, [5 * STEPS, 24 * STEPS]))
    np.testing.assert_array_max_ulp(train(schedule, EPOCHS)[0], theirs, maxulp=1)


@pytest.mark.parametrize("warmup_epochs", [1, 4])
def test_inverse_square_root_is_flax_s_rsqrt(warmup_epochs: int) -> None:
    """constant * min(1, step / warmup) / sqrt(max(step, warmup)), with the constant that makes the highest rate ours."""
    rates, events = train(InverseSqrt(learning_rate=0.3, epochs=EPOCHS, warmup_epochs=warmup_epochs), EPOCHS)
    warm = warmup_epochs * STEPS
    constant, steps = 0.3 * math.sqrt(warm), np.arange(STEPS * EPOCHS)
    theirs = np.float32(constant * np.minimum(1.0, steps / warm) / np.sqrt(np.maximum(steps, warm)))
    np.testing.assert_array_max_ulp(rates.ravel(), theirs, maxulp=1)
    assert rates.max() == rates[warmup_epochs, 0] == np.float32(0.3)
    assert events == {}


def test_inverse_square_root_stays_after_the_end() -> None:
    rates, _ = train(InverseSqrt(learning_rate=0.3, epochs=4), epochs=6)
    assert np.all(rates[4:] == np.float32(0.3 / 2))


@pytest.mark.parametrize(("share", "div", "final"), [(0.3, 25.0, 1e4), (0.5, 4.0, 1.0), (0.1, 1.0, 10.0)])
def test_one_cycle_is_optax_s(share: float, div: float, final: float) -> None:
    schedule = OneCycle(learning_rate=0.3, epochs=EPOCHS, peak_share=share, div_factor=div, final_div_factor=final)
    theirs = optax_rates(optax.cosine_onecycle_schedule(STEPS * EPOCHS, 0.3, share, div, final))
    rates, events = train(schedule, EPOCHS + 1)
    np.testing.assert_allclose(rates[:EPOCHS], theirs, rtol=1e-6)
    assert rates[0, 0] == pytest.approx(0.3 / div)
    assert np.all(rates[EPOCHS] == pytest.approx(0.3 / div / final))
    assert events == {}
