"""Abel, the registry, and what all schedules have in common; the baselines alone are in test_baselines.py."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from abel.annealing import Annealed
from abel.plans import DECAYS, EpochPlan, Event, Observation, Schedule
from abel.schedules import (
    SCHEDULES,
    Abel,
    Constant,
    Cosine,
    DecayAt,
    GrowBatch,
    InverseSqrt,
    Linear,
    OneCycle,
    Plateau,
    Simple,
    Step,
    WarmupStableDecay,
    last_epoch_named,
    replay,
)

FALLS_RISES_FALLS = (10, 8, 6, 5, 6, 7, 8, 7.9, 7.5, 7)
ONE_OF_EACH: list[Schedule] = [
    Abel(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=7.5, warmup_epochs=1, norm_window_epochs=2),
    Constant(learning_rate=0.1, warmup_epochs=2),
    Cosine(learning_rate=0.1, epochs=10, warmup_epochs=2),
    DecayAt(learning_rate=0.1, decay_factor=0.2, decay_epoch=4),
    GrowBatch(learning_rate=0.1, decay_factor=0.2, decay_epochs=(3, 5)),
    InverseSqrt(learning_rate=0.1, epochs=10, warmup_epochs=2),
    Linear(learning_rate=0.1, epochs=10, warmup_epochs=2),
    OneCycle(learning_rate=0.1, epochs=10),
    Plateau(learning_rate=0.1, decay_factor=0.2, patience=3),
    Simple(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=8.5),
    Step(learning_rate=0.1, decay_factor=0.2, decay_epochs=(3, 6)),
    WarmupStableDecay(learning_rate=0.1, epochs=10, warmup_epochs=2, cooldown_epochs=3),
]


def observe(
    norms: Sequence[float],
) -> list[Observation]:
    return [Observation(weight_norm_sq=norm, train_loss=1.0) for norm in norms]


def plans(schedule: Any, norms: Iterable[float], examples: int = 12, batch_size: int = 4) -> list[EpochPlan]:
    """Plans of every epoch, the one after the last norm included."""
    states = replay(schedule, observe(norms))
    return [schedule.plan(state, epoch, examples, batch_size) for epoch, state in enumerate(states, start=1)]


def first_rates(schedule: Schedule, norms: Sequence[float]) -> list[float]:
    return [float(plan.learning_rates[0]) for plan in plans(schedule, norms)]


def events(schedule: Schedule, norms: Any) -> dict[int, Event]:
    return {state.epoch: state.event for state in replay(schedule, observe(norms)) if state.event}


def test_golden_trace(trace: Any) -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None)
    expected = dict.fromkeys(trace.minima, Event.MINIMUM) | dict.fromkeys(trace.decays, Event.DECAY)
    assert events(schedule, trace.norms) == expected
    decays_before = [sum(decay < epoch for decay in trace.decays) for epoch in range(1, len(trace.norms) + 2)]
    assert first_rates(schedule, trace.norms) == [float(np.float32(0.1**decays)) for decays in decays_before]


def test_golden_trace_with_a_last_decay() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=6)
    assert events(schedule, FALLS_RISES_FALLS) == {5: Event.MINIMUM, 6: Event.LAST_DECAY, 8: Event.DECAY}
    expected = [1.0] * 6 + [np.float32(0.1)] * 2 + [np.float32(0.1**2)] * 3
    assert first_rates(schedule, FALLS_RISES_FALLS) == expected


def test_bounce_and_last_decay_in_one_epoch_multiply_twice() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=8)
    assert events(schedule, FALLS_RISES_FALLS) == {5: Event.MINIMUM, 8: Event.DECAY | Event.LAST_DECAY}
    assert first_rates(schedule, FALLS_RISES_FALLS) == [1.0] * 8 + [np.float32(0.1**2)] * 3


def test_minimum_and_last_decay_in_one_epoch_decay_once() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=5)
    assert events(schedule, FALLS_RISES_FALLS)[5] == Event.MINIMUM | Event.LAST_DECAY
    assert replay(schedule, observe(FALLS_RISES_FALLS))[5].decays == 1


def test_fractional_last_decay_epoch_rounds_up() -> None:
    assert events(Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=76.5), range(1, 91)) == {
        77: Event.LAST_DECAY
    }


def test_there_is_no_floor() -> None:
    sawtooth = [2 + epoch % 2 for epoch in range(200)]
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None)
    assert replay(schedule, observe(sawtooth))[-1].decays == 99
    assert first_rates(schedule, sawtooth)[-1] == 0.0


def test_warmup_epochs_are_not_observed() -> None:
    rises_in_warmup = (5, 6, 7, *FALLS_RISES_FALLS)
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, warmup_epochs=3)
    assert events(schedule, rises_in_warmup) == {8: Event.MINIMUM, 11: Event.DECAY}
    assert events(dataclasses.replace(schedule, warmup_epochs=0), rises_in_warmup) != events(schedule, rises_in_warmup)


def test_last_decay_does_not_wait_for_the_warmup() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.5, last_decay_epoch=2, warmup_epochs=4)
    assert events(schedule, (9, 8, 7)) == {2: Event.LAST_DECAY}


def test_window_averages_blocks_of_epochs() -> None:
    noisy = [norm + noise for norm in FALLS_RISES_FALLS for noise in (0.5, -1.0, 0.5)]
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, norm_window_epochs=3)
    assert events(schedule, noisy) == {15: Event.MINIMUM, 24: Event.DECAY}
    assert len(events(dataclasses.replace(schedule, norm_window_epochs=1), noisy)) > 2


def test_window_starts_after_the_warmup_and_keeps_double_precision() -> None:
    pairs = [1e8 + offset for offset in (3, 3, 2, 2, 1, 1, 2, 2, 3, 3, 2, 2)]
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, norm_window_epochs=2, warmup_epochs=1)
    assert events(schedule, [1e9, *pairs]) == {9: Event.MINIMUM, 13: Event.DECAY}


def test_a_sliding_window_observes_its_mean_every_epoch() -> None:
    schedule = Abel(
        learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, norm_window_epochs=3, norm_window="sliding"
    )
    norms = (9, 9, 9, 6, 6, 6, 9, 9, 9, 8, 7)
    # means of epochs 3 to 11: 9, 8, 7, 6, 7, 8, 9, 8.67, 8
    assert events(schedule, norms) == {7: Event.MINIMUM, 10: Event.DECAY}
    assert events(dataclasses.replace(schedule, norm_window="block"), norms) == {9: Event.MINIMUM}


def test_a_sliding_window_starts_after_the_warmup() -> None:
    schedule = Abel(
        learning_rate=1.0,
        decay_factor=0.1,
        last_decay_epoch=None,
        warmup_epochs=2,
        norm_window_epochs=2,
        norm_window="sliding",
    )
    assert events(schedule, (1, 30, 9, 9, 7, 10, 9, 7)) == {6: Event.MINIMUM, 8: Event.DECAY}


def test_a_window_of_one_epoch_is_the_paper_in_either_reading(trace: Any) -> None:
    block, sliding = (
        Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, norm_window=reading)
        for reading in ("block", "sliding")
    )
    assert replay(block, observe(trace.norms)) == replay(sliding, observe(trace.norms))


ZIGZAG = tuple(2.0 + epoch % 2 for epoch in range(40))  # minimum at 3, decay at 4, minimum at 5, decay at 6, …


def gaining(losses: list[float], **settings: Any) -> list[Any]:
    """States of ABEL without a fixed budget on norms that bounce every other epoch."""
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, **{"gain_threshold": 0.1} | settings)
    return replay(schedule, map(Observation, ZIGZAG, losses))


def test_a_decay_that_gains_too_little_makes_the_next_one_the_last() -> None:
    losses = [1.0] * 4 + [0.5] * 2 + [0.46] * 10  # the decay at 4 halves the loss, that at 6 brings 8 % and less
    states = gaining(losses, epochs_after_last_decay=3)
    deeds = {state.epoch: state.event for state in states if state.event & DECAYS}
    assert deeds == {4: Event.DECAY, 6: Event.DECAY, 8: Event.LAST_DECAY}
    assert [state.epoch for state in states if state.finished] == [11, 12, 13, 14, 15, 16]
    assert states[-1].decays == 3


def test_a_gain_is_a_fall_below_the_lowest_loss_before() -> None:
    rises = [0.5, 0.2, 1.0, 1.0, 0.3, 0.3, 0.1, 0.1]
    assert gaining(rises)[6].event is Event.LAST_DECAY, "0.3 is less than the losses of 3 and 4, not than 0.2"
    falls = [0.5, 0.2, 1.0, 1.0, 0.1, 0.3, 0.3, 0.3]
    assert gaining(falls)[6].event is Event.DECAY
    assert gaining(falls)[8].event is Event.LAST_DECAY, "0.3 since the decay at 6, 0.1 before"


def test_a_negative_loss_is_held_against_the_lowest_too() -> None:
    losses = [-1.0] * 4 + [-0.95] * 2 + [-0.88] * 2  # a tenth of leeway on -1 is -0.9
    states = gaining(losses)
    assert (states[6].event, states[8].event) == (Event.DECAY, Event.LAST_DECAY)


def test_exactly_the_threshold_is_too_little() -> None:
    losses = [1.0] * 4 + [0.5] * 2
    assert gaining(losses, gain_threshold=0.5)[6].event is Event.LAST_DECAY
    assert gaining(losses, gain_threshold=0.49)[6].event is Event.DECAY
    assert gaining([1.0] * 6, gain_threshold=0.0)[6].event is Event.LAST_DECAY


def test_the_first_decay_has_none_before_it_to_judge() -> None:
    assert gaining([1.0] * 4)[4].event is Event.DECAY
    assert gaining([math.nan] * 6)[4].event is Event.DECAY


def test_without_a_bounce_there_is_no_end() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, gain_threshold=0.1)
    assert not any(state.finished or state.event for state in replay(schedule, observe(range(1, 100))))


def test_after_the_last_decay_nothing_more_decays() -> None:
    states = gaining([1.0] * 20, epochs_after_last_decay=10)
    assert (states[6].event, states[6].decays, states[20].decays) == (Event.LAST_DECAY, 2, 2)
    assert not any(state.event for state in states[7:])


def test_safe_variant_decays_at_no_minimum() -> None:
    rises_first = (5, 6, 7, 6, 5, 6, 7, 6.5)
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None, ignore_until_falling=True)
    assert events(schedule, rises_first) == {6: Event.MINIMUM, 8: Event.DECAY}


def test_single_precision_norms_are_compared_in_double() -> None:
    schedule = Abel(learning_rate=1.0, decay_factor=0.1, last_decay_epoch=None)
    state = schedule.update(schedule.init(), Observation(np.float32(3.0), 1.0))
    assert type(state.bounce.previous) is float


RATES = [0.25, 0.1, 0.3, 1 / 3, 1e-3, *(float(rate) for rate in np.random.default_rng(0).uniform(1e-3, 2, 35))]
FACTORS = [0.1, 0.2, 0.5, 1 / 3, 0.7, *(float(factor) for factor in np.random.default_rng(1).uniform(0.01, 0.99, 10))]


@pytest.mark.parametrize("warmup_epochs", [0, 3])
def test_equal_decay_times_give_equal_plans(warmup_epochs: int) -> None:
    bounceless = tuple(range(1, 8))
    for rate in RATES:
        for factor in FACTORS:
            common = {"learning_rate": rate, "decay_factor": factor, "warmup_epochs": warmup_epochs}
            alike = [
                Simple(last_decay_epoch=3.5, **common),
                DecayAt(decay_epoch=4, **common),
                Step(decay_epochs=(4,), **common),
                Abel(last_decay_epoch=4, **common),
            ]
            spelt = {tuple(plan.token() for plan in plans(schedule, bounceless)) for schedule in alike}
            assert len(spelt) == 1, common


@pytest.mark.parametrize("rate", RATES)
def test_a_bouncing_abel_equals_the_step_schedule_it_found(rate: float) -> None:
    norms = (*FALLS_RISES_FALLS, 6.5, 6)
    bouncing = Abel(learning_rate=rate, decay_factor=0.3, last_decay_epoch=10)
    stepped = Step(learning_rate=rate, decay_factor=0.3, decay_epochs=(8, 10))
    assert [plan.token() for plan in plans(bouncing, norms)] == [plan.token() for plan in plans(stepped, norms)]


def test_rates_are_products_in_double_rounded_once() -> None:
    norms = range(1, 8)
    differs_from_single = 0
    for rate in RATES:
        for factor in FACTORS:
            spelt = first_rates(Step(learning_rate=rate, decay_factor=factor, decay_epochs=(1, 3, 6)), norms)
            expected = [np.float32(rate * factor**decays) for decays in (0, 1, 1, 2, 2, 2, 3, 3)]
            assert spelt == expected
            single = np.float32(rate)
            for _ in range(3):
                single *= np.float32(factor)
            differs_from_single += single != expected[-1]
    assert differs_from_single > 100, "the test has to tell the two spellings apart"


@pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=lambda schedule: schedule.kind)
class TestEverySchedule:
    def test_is_a_value(self, schedule: Schedule) -> None:
        assert hash(dataclasses.replace(schedule)) == hash(schedule)
        assert dataclasses.replace(schedule) == schedule
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.learning_rate = 1.0

    def test_goes_through_json(self, schedule: Schedule) -> None:
        fields = json.loads(json.dumps(dataclasses.asdict(schedule)))
        assert SCHEDULES[fields["kind"]](**fields) == schedule

    def test_plans_whole_batches(self, schedule: Schedule) -> None:
        plan = schedule.plan(schedule.init(), 1, examples=107, batch_size=10)
        assert (plan.learning_rates.shape, plan.learning_rates.dtype, plan.batch_size) == ((10,), np.float32, 10)

    def test_counts_epochs_and_decays(self, schedule: Schedule) -> None:
        states = replay(schedule, observe(FALLS_RISES_FALLS))
        assert [state.epoch for state in states] == list(range(len(FALLS_RISES_FALLS) + 1))
        assert (states[0].decays, states[0].event) == (0, Event.NONE)
        for before, after in pairwise(states):
            assert after.decays - before.decays == (after.event & DECAYS).bit_count()
        constant = isinstance(schedule, Constant | Annealed)
        assert (states[-1].decays == 0) == constant, "the others decay at least once here"

    def test_leaves_the_end_of_training_to_the_loop(self, schedule: Schedule) -> None:
        assert not any(state.finished for state in replay(schedule, observe(FALLS_RISES_FALLS)))

    def test_init_is_the_same_every_time(self, schedule: Schedule) -> None:
        assert schedule.init() == schedule.init()

    def test_plans_only_the_epoch_that_comes_next(self, schedule: Schedule) -> None:
        state = replay(schedule, observe((10.0, 9.0)))[-1]
        with pytest.raises(ValueError, match="epoch must be the one after the last observed, 3, got 2"):
            schedule.plan(state, 2, examples=10, batch_size=5)


def test_registry_knows_every_schedule_by_its_kind() -> None:
    assert {schedule.kind: type(schedule) for schedule in ONE_OF_EACH} == SCHEDULES


@pytest.mark.parametrize(
    ("schedule", "epoch"),
    list(zip(ONE_OF_EACH, [8, None, 10, 4, 5, 10, 10, 10, None, 9, 6, 10], strict=True)),
    ids=[schedule.kind for schedule in ONE_OF_EACH],
)
def test_last_epoch_named(schedule: Schedule, epoch: int | None) -> None:
    assert last_epoch_named(schedule) == epoch


def test_abel_that_is_never_forced_names_no_epoch() -> None:
    assert last_epoch_named(Abel(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=None)) is None


@pytest.mark.parametrize("warmup_epochs", [0, 5])
@pytest.mark.parametrize("odd", [-1.0, math.nan, math.inf, -math.inf])
def test_a_norm_is_a_finite_number_that_is_not_negative(odd: float, warmup_epochs: int) -> None:
    schedule = Abel(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=None, warmup_epochs=warmup_epochs)
    state = replay(schedule, observe([3.0, 2.0]))[-1]
    with pytest.raises(ValueError, match=f"^weight_norm_sq must be finite and >= 0, got {odd} at epoch 3$"):
        schedule.update(state, Observation(weight_norm_sq=odd, train_loss=1.0))
