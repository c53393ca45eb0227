"""What the public names of `abel` refuse: one message with the rule and the value, at the call that got it."""

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import abel
from abel import (
    SCHEDULES,
    Abel,
    Constant,
    EpochPlan,
    Event,
    Observation,
    Plateau,
    bounce,
    curves,
    dynamics,
    last_epoch_named,
    norms,
    replay,
)
from abel.transform import scale_by_abel

FIELDS = {
    "learning_rate": 0.1,
    "decay_factor": 0.2,
    "decay_epoch": 2,
    "decay_epochs": (2, 4),
    "last_decay_epoch": 5,
    "epochs": 6,
    "cooldown_epochs": 2,
}
MADE = {
    kind: schedule(**{name: value for name, value in FIELDS.items() if name in schedule.__dataclass_fields__})
    for kind, schedule in SCHEDULES.items()
}
NO_NUMBERS = [None, True, np.True_, "9.0", b"9", [9.0], (9.0,), {}, np.ones(1), jnp.ones(2), jnp.array(True), 1j]
ONES = [1, 1.0, np.float32(1), np.int8(1), np.array(1.0), jnp.array(1.0), jnp.int32(1), Fraction(1)]
STEP = scale_by_abel(0.1, decay_factor=0.2, last_decay_epoch=None, steps_per_epoch=1)
WEIGHTS = {"w": jnp.ones(2)}


def shown(value: Any) -> str:
    return re.escape(repr(value))


@pytest.mark.parametrize("value", [jnp.array(0.125), np.array(0.125), np.float64(0.125), jnp.float32(0.125)], ids=repr)
def test_arrays_without_dimensions_are_numbers(value: Any) -> None:
    assert Abel(learning_rate=value, decay_factor=value, last_decay_epoch=jnp.array(9.0)) == Abel(
        learning_rate=0.125, decay_factor=0.125, last_decay_epoch=9
    )
    assert Constant(learning_rate=value, warmup_epochs=jnp.array(2)).warmup_epochs == 2
    assert Abel(learning_rate=1, decay_factor=0.1, last_decay_epoch=None, ignore_until_falling=jnp.array(True))


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("kind", MADE)
def test_a_rate_is_a_number(kind: str, value: Any) -> None:
    fields = {name: value for name, value in FIELDS.items() if name in SCHEDULES[kind].__dataclass_fields__}
    with pytest.raises(ValueError, match=rf"^learning_rate must be finite and > 0, got {shown(value)}$"):
        SCHEDULES[kind](**fields | {"learning_rate": value})


def test_a_traced_rate_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^learning_rate must be known outside of jit and vmap, got a traced value"):
        jax.jit(lambda rate: Constant(learning_rate=rate))(0.1)


@pytest.mark.parametrize("value", [3.0, None, (9.0, 0.1), {"weight_norm_sq": 9.0}, "9.0", np.ones(2)], ids=repr)
@pytest.mark.parametrize("kind", MADE)
def test_an_observation_is_an_observation(kind: str, value: Any) -> None:
    schedule = MADE[kind]
    with pytest.raises(ValueError, match=rf"^observation must be an Observation, .*, got {shown(value)}$"):
        schedule.update(schedule.init(), value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_observed_is_a_number(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^weight_norm_sq must be a number, got {shown(value)}$"):
        MADE["abel"].update(MADE["abel"].init(), Observation(value, 0.1))
    with pytest.raises(ValueError, match=rf"^train_loss must be a number, got {shown(value)}$"):
        MADE["plateau"].update(MADE["plateau"].init(), Observation(9.0, value))
    free = Abel(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=None, gain_threshold=0.1)
    with pytest.raises(ValueError, match=rf"^train_loss must be a number, got {shown(value)}$"):
        free.update(free.init(), Observation(9.0, value))
    if not isinstance(value, np.ndarray | jax.Array | np.generic | complex):
        with pytest.raises(ValueError, match=rf"^weight_norm_sq must be a number, got {shown(value)}$"):
            bounce.update(bounce.init(), value)
    if value is not None:
        with pytest.raises(ValueError, match=r"^weight_norm_sq must be (a number|a scalar), got "):
            STEP.update(WEIGHTS, STEP.init(WEIGHTS), WEIGHTS, weight_norm_sq=value)


@pytest.mark.parametrize("value", ONES, ids=repr)
def test_every_kind_of_one_is_observed_as_one(value: Any) -> None:
    state = MADE["abel"].update(MADE["abel"].init(), Observation(value, value))
    assert type(state.bounce.previous) is float and state.bounce.previous == 1.0
    assert MADE["plateau"].update(MADE["plateau"].init(), Observation(value, value)).best == 1.0
    assert curves.bounces([value, 2.0]).whole.minimum == 1


@pytest.mark.parametrize("value", [None, 3, "state", (0, 0, 0), {}], ids=repr)
@pytest.mark.parametrize("kind", MADE)
def test_a_state_is_one_of_the_schedule(kind: str, value: Any) -> None:
    schedule, rule = MADE[kind], rf"^state must be an? \w*State, from init or the last update, got {shown(value)}$"
    with pytest.raises(ValueError, match=rule):
        schedule.update(value, Observation(9.0, 0.1))
    with pytest.raises(ValueError, match=rule):
        schedule.plan(value, 1, 100, 10)
    with pytest.raises(ValueError, match=rule):
        bounce.update(value, 9.0)
    with pytest.raises(ValueError, match=rule):
        STEP.update(WEIGHTS, value, WEIGHTS)


def through_json(state: Any) -> Any:
    return type(state)(**json.loads(json.dumps(state._asdict())))


@pytest.mark.parametrize("kind", MADE)
def test_a_state_that_went_through_json_goes_on_alike(kind: str) -> None:
    schedule = MADE[kind]
    if kind == "abel":
        schedule = Abel(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=8, norm_window_epochs=2)
    ours = theirs = schedule.init()
    for epoch, norm in enumerate([10, 8, 6, 5, 6, 7, 8, 7.9, 7.5, 7, 8, 9], start=1):
        theirs = through_json(theirs)
        plans = [schedule.plan(state, epoch, 100, 10).token() for state in (ours, theirs)]
        assert plans[0] == plans[1]
        ours, theirs = (schedule.update(state, Observation(norm, 0.5)) for state in (ours, theirs))
        assert type(theirs.event) is Event and repr(theirs) == repr(ours)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bounce": [1.0, 2.0, True]}, "state.bounce must be a BounceState, got [1.0, 2.0, True]"),
        ({"bounce": [None, 2.0, True, False]}, "state.bounce.previous must be a number, got None"),
        ({"bounce": [1.0, 2.0, 1, False]}, "state.bounce.reached_minimum must be true or false, got 1"),
        ({"window": ["9"], "event": 0}, "state.window[0] must be a number, got '9'"),
        ({"epoch": "3"}, "state.epoch must be an integer >= 0, got '3'"),
        ({"decays": -1, "event": 0}, "state.decays must be an integer >= 0, got -1"),
        ({"event": "DECAY"}, "state.event must be an integer >= 0, got 'DECAY'"),
        ({"stop_epoch": "9", "event": 0}, "state.stop_epoch must be an integer >= 1, got '9'"),
    ],
)
def test_a_state_that_was_damaged_is_refused(fields: dict[str, Any], message: str) -> None:
    state = MADE["abel"].init()._replace(**fields)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MADE["abel"].update(state, Observation(9.0, 0.1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curves.bounces([[1.0, 2.0], [3.0, 4.0]]), "norms[0] must be a number, got [1.0, 2.0]"),
        (lambda: curves.bounces(np.ones((2, 1))), "norms must be a one-dimensional sequence of numbers, got array("),
        (lambda: curves.bounces(jnp.float32(3)), "norms must be a one-dimensional sequence of numbers, got Array("),
        (lambda: curves.bounces("123"), "norms must be a one-dimensional sequence of numbers, got '123'"),
        (lambda: curves.bounces(b"123"), "norms must be a one-dimensional sequence of numbers, got b'123'"),
        (lambda: curves.bounces({1: 2.0}), "norms must be a one-dimensional sequence of numbers, got {1: 2.0}"),
        (lambda: curves.bounces(None), "norms must be a one-dimensional sequence of numbers, got None"),
        (lambda: curves.bounces([9.0, "8"]), "norms[1] must be a number, got '8'"),
        (lambda: curves.bounces([9.0, True]), "norms[1] must be a number, got True"),
        (lambda: curves.bounces([9.0, math.nan]), "norms must be finite and >= 0, got nan at epoch 2"),
        (lambda: curves.bounces([9.0], ignore_until_falling=1), "ignore_until_falling must be true or false, got 1"),
        (
            lambda: bounce.update(bounce.init(), 9.0, ignore_until_falling="no"),
            "ignore_until_falling must be true or false, got 'no'",
        ),
        (lambda: replay(Abel, []), "schedule must have the methods init, plan, update, got <class"),
        (lambda: replay(3, []), "schedule must have the methods init, plan, update, got 3"),
        (lambda: replay(MADE["abel"], 9.0), "observations must be an iterable of Observation, got 9.0"),
        (lambda: replay(MADE["abel"], [9.0]), "observation must be an Observation, "),
        (lambda: last_epoch_named("abel"), "schedule must have the methods init, plan, update, got 'abel'"),
        (lambda: MADE["step"].plan(MADE["step"].init(), True, 100, 10), "epoch must be an integer >= 1, got True"),
        (lambda: MADE["step"].plan(MADE["step"].init(), 1.0, 100, 10), "epoch must be an integer >= 1, got 1.0"),
        (lambda: MADE["step"].plan(MADE["step"].init(), 1, 100, "10"), "batch_size must be an integer >= 1, got '10'"),
        (lambda: MADE["step"].plan(MADE["step"].init(), 1, 1e2, 10), "examples must be an integer >= 1, got 100.0"),
        (lambda: MADE["grow_batch"].grown(10, -1, 100), "growths must be an integer >= 0, got -1"),
        (lambda: MADE["grow_batch"].grown(10, 1, "100"), "examples must be an integer >= 1, got '100'"),
        (
            lambda: abel.Step(learning_rate=0.1, decay_factor=0.1, decay_epochs=b"35"),
            "decay_epochs must be a non-empty sequence of epochs, got b'35'",
        ),
        (
            lambda: Abel(**MADE["abel"].__dict__ | {"norm_window": np.array(["block", "x"])}),
            "norm_window must be one of block, sliding, got array(",
        ),
        (lambda: norms.per_leaf({"w": jnp.ones(2)}, where="w"), "where must be a function, got 'w'"),
        (lambda: norms.matching(3), "pattern must be a regular expression, got 3"),
        (lambda: dynamics.terms(WEIGHTS, WEIGHTS, "0.1", 0.1), "learning_rate must be finite and >= 0, got '0.1'"),
        (lambda: dynamics.terms(WEIGHTS, WEIGHTS, 0.1, True), "l2 must be finite and >= 0, got True"),
        (lambda: dynamics.relaxation_steps(0.1, math.nan), "l2 must be finite and >= 0, got nan"),
    ],
)
def test_bad_input_has_one_message(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


def test_plans_of_numpy_integers_are_those_of_integers() -> None:
    schedule = MADE["step"]
    plans = [schedule.plan(schedule.init(), kind(1), kind(100), kind(10)) for kind in (int, np.int64, jnp.int32)]
    assert len({plan.token() for plan in plans}) == 1
    assert {type(plan.batch_size) for plan in plans} == {int}
    assert EpochPlan([0.5], np.int64(10)).token() == EpochPlan(np.float32([0.5]), 10).token()


def test_every_public_name_is_behind_a_door() -> None:
    """A name that is added to the package is added here, with what it refuses."""
    constants = {"DECAYS", "SCHEDULES", "Event", "Observation", "EpochPlan", "Schedule", "ScheduleState"}
    called = {"bounce", "curves", "dynamics", "last_epoch_named", "norms", "replay", "schedules"}
    assert set(abel.__all__) == constants | called | {schedule.__name__ for schedule in SCHEDULES.values()}
    assert Plateau.kind in MADE
