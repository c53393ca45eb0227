"""Schedules whose rate is constant between decays, against their formulas and optax."""

import math

import numpy as np
import optax
import pytest
from planned_rates import EPOCHS, STEPS, optax_rates, train, warmup

from abel.baselines import Constant, DecayAt, GrowBatch, Simple, Step
from abel.plans import Event, Observation
from abel.schedules import replay


def test_constant() -> None:
    rates, events = train(Constant(learning_rate=0.1), epochs=4)
    assert np.all(rates == np.float32(0.1))
    assert events == {}


def test_the_first_epoch_at_the_new_rate_is_the_one_after_the_decay() -> None:
    rates, events = train(DecayAt(learning_rate=0.5, decay_factor=0.25, decay_epoch=3), epochs=5)
    assert rates[:, 0].tolist() == rates[:, -1].tolist() == [0.5, 0.5, 0.5, 0.125, 0.125]
    assert events == {3: Event.MILESTONE}


def test_simple_decays_once_near_the_end() -> None:
    rates, events = train(Simple(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=0.85 * 90), epochs=90)
    assert events == {77: Event.LAST_DECAY}
    assert np.all(rates[:77] == np.float32(0.1))
    assert np.all(rates[77:] == np.float32(0.1 * 0.1))


def test_step_has_the_reference_milestones() -> None:
    rates, events = train(Step(learning_rate=0.1, decay_factor=0.2, decay_epochs=(60, 120, 160)), epochs=200)
    assert events == dict.fromkeys((60, 120, 160), Event.MILESTONE)
    decays = [0] * 60 + [1] * 60 + [2] * 40 + [3] * 40
    assert rates[:, 0].tolist() == [np.float32(0.1 * 0.2**decay) for decay in decays]


@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
def test_warmup_reaches_the_base_rate_step_by_step(warmup_epochs: int) -> None:
    rates, _ = train(Constant(learning_rate=0.3, warmup_epochs=warmup_epochs), epochs=5)
    expected = [
        [np.float32(0.3 * warmup((epoch - 1) + step / 7, warmup_epochs)) for step in range(7)] for epoch in range(1, 6)
    ]
    np.testing.assert_array_equal(rates, np.array(expected, np.float32))


@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_warmup_and_decays_multiply(warmup_epochs: int) -> None:
    rates, _ = train(DecayAt(learning_rate=0.3, decay_factor=0.7, decay_epoch=1, warmup_epochs=warmup_epochs), epochs=3)
    expected = [np.float32(0.3 * 0.7 * warmup(1 + step / 7, warmup_epochs)) for step in range(7)]
    np.testing.assert_array_equal(rates[1], np.array(expected, np.float32))


@pytest.mark.parametrize("factor", [0.1, 0.2, 1 / 3])
def test_step_is_optax_s_to_the_step(factor: float) -> None:
    ours, _ = train(Step(learning_rate=0.3, decay_factor=factor, decay_epochs=(9, 18, 24)), EPOCHS)
    boundaries = {epoch * STEPS: factor for epoch in (9, 18, 24)}
    theirs = optax_rates(optax.piecewise_constant_schedule(0.3, boundaries))
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)
    # Flax's stepped schedule of 2021 took step > boundary for optax's step >= boundary: the first step of an epoch.
    flax = optax_rates(optax.piecewise_constant_schedule(0.3, {step + 1: factor for step in boundaries}))
    assert np.argwhere(ours != flax).tolist() == [[9, 0], [18, 0], [24, 0]]


def grow(epochs: int, schedule: GrowBatch, examples: int, batch_size: int) -> list[tuple[int, int]]:
    """Batch size and steps of every epoch."""
    state, sizes = schedule.init(), []
    for epoch in range(1, epochs + 1):
        plan = schedule.plan(state, epoch, examples, batch_size)
        assert np.all(plan.learning_rates == np.float32(0.1)), "the rate stays"
        sizes.append((plan.batch_size, len(plan.learning_rates)))
        state = schedule.update(state, Observation(weight_norm_sq=math.nan, train_loss=math.nan))
    return sizes


def test_the_batch_grows_where_a_step_would_decay_and_updates_fall() -> None:
    schedule = GrowBatch(learning_rate=0.1, decay_factor=0.2, decay_epochs=(2, 4))
    assert grow(6, schedule, examples=50_000, batch_size=128) == [(128, 390)] * 2 + [(640, 78)] * 2 + [(3200, 15)] * 2


def test_a_growth_is_a_milestone() -> None:
    schedule = GrowBatch(learning_rate=0.1, decay_factor=0.5, decay_epochs=(1, 3))
    states = replay(schedule, [Observation(weight_norm_sq=1.0, train_loss=1.0)] * 4)
    assert {state.epoch: state.event for state in states if state.event} == dict.fromkeys((1, 3), Event.MILESTONE)


def test_a_batch_is_rounded_and_stays_below_the_examples() -> None:
    schedule = GrowBatch(learning_rate=0.1, decay_factor=0.3, decay_epochs=(1, 2, 3, 4))
    # 16 / 0.3 = 53.3, 16 / 0.09 = 177.8, 16 / 0.027 = 592.6, then all that there are
    assert grow(5, schedule, examples=1000, batch_size=16) == [(16, 62), (53, 18), (178, 5), (593, 1), (1000, 1)]


@pytest.mark.parametrize(
    ("factor", "growths", "size"),
    [(0.1, 2, 1600), (1e-200, 2, 10**6), (0.5, 10**6, 10**6), (0.99, 1, 16), (0.4, 1, 40)],
)
def test_the_size_of_a_grown_batch(factor: float, growths: int, size: int) -> None:
    schedule = GrowBatch(learning_rate=0.1, decay_factor=factor, decay_epochs=(1,))
    assert schedule.grown(16, growths, examples=10**6) == size


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize(
    ("batch_size", "rule"),
    [
        (0, "be an integer >= 1, got 0"),
        (11, "be at most the 10 examples of an epoch, got 11"),
        (2.5, "be an integer >= 1, got 2.5"),
        ("a", "be an integer >= 1, got 'a'"),
    ],
)
def test_a_growing_batch_starts_within_the_examples(epoch: int, batch_size: int | float | str, rule: str) -> None:
    schedule = GrowBatch(learning_rate=0.1, decay_factor=0.1, decay_epochs=(1,))
    state = schedule.init() if epoch == 1 else schedule.update(schedule.init(), Observation(1.0, 1.0))
    with pytest.raises(ValueError, match=f"^batch_size must {rule}$"):
        schedule.plan(state, epoch, examples=10, batch_size=batch_size)
