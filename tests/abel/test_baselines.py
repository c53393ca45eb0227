import math

import numpy as np
import pytest

from abel.baselines import Constant, Cosine, DecayAt, Simple, Step
from abel.plans import Event, Observation


def train(schedule, epochs: int, examples: int = 28, batch_size: int = 4):
    """Rates of every step and events of every epoch."""
    state, rates, events = schedule.init(), [], {}
    for epoch in range(1, epochs + 1):
        rates.append(schedule.plan(state, epoch, examples, batch_size).learning_rates)
        state = schedule.update(state, Observation(weight_norm_sq=math.nan, train_loss=math.nan))
        if state.event:
            events[epoch] = state.event
    return np.stack(rates), events


def warmup(position: float, warmup_epochs: int) -> float:
    return min(1.0, position / warmup_epochs) if warmup_epochs else 1.0


def test_constant():
    rates, events = train(Constant(learning_rate=0.1), epochs=4)
    assert np.all(rates == np.float32(0.1))
    assert events == {}


def test_the_first_epoch_at_the_new_rate_is_the_one_after_the_decay():
    rates, events = train(DecayAt(learning_rate=0.5, decay_factor=0.25, decay_epoch=3), epochs=5)
    assert rates[:, 0].tolist() == rates[:, -1].tolist() == [0.5, 0.5, 0.5, 0.125, 0.125]
    assert events == {3: Event.MILESTONE}


def test_simple_decays_once_near_the_end():
    rates, events = train(Simple(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=0.85 * 90), epochs=90)
    assert events == {77: Event.LAST_DECAY}
    assert np.all(rates[:77] == np.float32(0.1))
    assert np.all(rates[77:] == np.float32(0.1 * 0.1))


def test_step_has_the_reference_milestones():
    rates, events = train(Step(learning_rate=0.1, decay_factor=0.2, decay_epochs=(60, 120, 160)), epochs=200)
    assert events == dict.fromkeys((60, 120, 160), Event.MILESTONE)
    decays = [0] * 60 + [1] * 60 + [2] * 40 + [3] * 40
    assert rates[:, 0].tolist() == [np.float32(0.1 * 0.2**decay) for decay in decays]


@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
def test_warmup_reaches_the_base_rate_step_by_step(warmup_epochs):
    rates, _ = train(Constant(learning_rate=0.3, warmup_epochs=warmup_epochs), epochs=5)
    expected = [
        [np.float32(0.3 * warmup((epoch - 1) + step / 7, warmup_epochs)) for step in range(7)] for epoch in range(1, 6)
    ]
    np.testing.assert_array_equal(rates, np.array(expected, np.float32))


@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_warmup_and_decays_multiply(warmup_epochs):
    rates, _ = train(DecayAt(learning_rate=0.3, decay_factor=0.7, decay_epoch=1, warmup_epochs=warmup_epochs), epochs=3)
    expected = [np.float32(0.3 * 0.7 * warmup(1 + step / 7, warmup_epochs)) for step in range(7)]
    np.testing.assert_array_equal(rates[1], np.array(expected, np.float32))


@pytest.mark.parametrize("rate", [0.1, 0.25, 1 / 3])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 5])
def test_cosine_is_the_formula_in_double_rounded_once(rate, warmup_epochs):
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


def test_cosine_without_warmup_is_the_usual_formula_over_steps():
    rates, _ = train(Cosine(learning_rate=0.1, epochs=10), epochs=10)
    steps = np.arange(70)
    np.testing.assert_allclose(rates.ravel(), 0.1 * 0.5 * (1 + np.cos(np.pi * steps / 70)), rtol=1e-6)
