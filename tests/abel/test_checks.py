"""Bad numbers, through the schedules that refuse them: one message each, with the rule and the value."""

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

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
)

NAN, INF = float("nan"), float("inf")

BAD_RATES = [(NAN, "nan"), (INF, "inf"), (0, "0"), (-0.1, "-0.1"), (True, "True"), ("0.1", "'0.1'"), (None, "None")]
BAD_FACTORS = [(1.5, "1.5"), (1, "1"), (0.0, "0.0"), (-0.5, "-0.5"), (NAN, "nan"), (True, "True"), ("1e-1", "'1e-1'")]
BAD_EPOCHS = [(0, "0"), (-3, "-3"), (2.0, "2.0"), (NAN, "nan"), (True, "True"), ("2", "'2'"), (None, "None")]
BAD_SHARES = [(1, "1"), (-0.1, "-0.1"), (NAN, "nan"), (INF, "inf"), (True, "True"), ("0.1", "'0.1'")]
BAD_AMOUNTS = [(-1e-9, "-1e-09"), (NAN, "nan"), (INF, "inf"), (False, "False"), ("0", "'0'"), (None, "None")]
BAD_FRACTIONAL_EPOCHS = [
    (0.85, "0.85"),
    (0, "0"),
    (-1.5, "-1.5"),
    (NAN, "nan"),
    (INF, "inf"),
    (True, "True"),
    ("9", "'9'"),
]
VALID = {
    Abel: {"learning_rate": 0.1, "decay_factor": 0.2, "last_decay_epoch": 9},
    Constant: {"learning_rate": 0.1},
    Cosine: {"learning_rate": 0.1, "epochs": 10},
    DecayAt: {"learning_rate": 0.1, "decay_factor": 0.2, "decay_epoch": 9},
    GrowBatch: {"learning_rate": 0.1, "decay_factor": 0.2, "decay_epochs": (3, 9)},
    InverseSqrt: {"learning_rate": 0.1, "epochs": 10},
    Linear: {"learning_rate": 0.1, "epochs": 10},
    OneCycle: {"learning_rate": 0.1, "epochs": 10},
    Plateau: {"learning_rate": 0.1, "decay_factor": 0.2},
    Simple: {"learning_rate": 0.1, "decay_factor": 0.2, "last_decay_epoch": 9},
    Step: {"learning_rate": 0.1, "decay_factor": 0.2, "decay_epochs": (3, 9)},
    WarmupStableDecay: {"learning_rate": 0.1, "epochs": 10, "cooldown_epochs": 4},
}
DECAYING = [schedule for schedule, fields in VALID.items() if "decay_factor" in fields]


def refuses(schedule: Any, message: str, **fields: Any) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        schedule(**(VALID[schedule] | fields))


@pytest.mark.parametrize(("value", "shown"), BAD_RATES)
@pytest.mark.parametrize("schedule", VALID)
def test_learning_rate(schedule: str, value: Any, shown: str) -> None:
    refuses(schedule, f"learning_rate must be finite and > 0, got {shown}", learning_rate=value)


@pytest.mark.parametrize("value", [1e-60, 1e39])
def test_learning_rate_in_the_range_of_float32(value: float) -> None:
    rule = "lie in the range of float32, 1.1754943508222875e-38 to 3.4028234663852886e+38"
    refuses(Constant, f"learning_rate must {rule}, got {value}", learning_rate=value)


@pytest.mark.parametrize(("value", "shown"), BAD_FACTORS)
@pytest.mark.parametrize("schedule", DECAYING)
def test_decay_factor(schedule: Any, value: Any, shown: str) -> None:
    refuses(schedule, f"decay_factor must lie in (0, 1), got {shown}", decay_factor=value)


@pytest.mark.parametrize(("value", "shown"), [bad for bad in BAD_EPOCHS if bad != (0, "0")])
@pytest.mark.parametrize("schedule", VALID)
def test_warmup_epochs(schedule: str, value: Any, shown: str) -> None:
    refuses(schedule, f"warmup_epochs must be an integer >= 0, got {shown}", warmup_epochs=value)


@pytest.mark.parametrize(("value", "shown"), BAD_EPOCHS)
@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (DecayAt, "decay_epoch"),
        (Cosine, "epochs"),
        (InverseSqrt, "epochs"),
        (Linear, "epochs"),
        (OneCycle, "epochs"),
        (WarmupStableDecay, "cooldown_epochs"),
        (Abel, "norm_window_epochs"),
        (Abel, "epochs_after_last_decay"),
    ],
)
def test_whole_epochs(schedule: Any, name: str, value: Any, shown: str) -> None:
    refuses(schedule, f"{name} must be an integer >= 1, got {shown}", **{name: value})


@pytest.mark.parametrize(("value", "shown"), BAD_FRACTIONAL_EPOCHS)
@pytest.mark.parametrize("schedule", [Abel, Simple])
def test_last_decay_epoch(schedule: type[Abel] | type[Simple], value: Any, shown: str) -> None:
    refuses(schedule, f"last_decay_epoch must be finite and >= 1, got {shown}", last_decay_epoch=value)


def test_simple_has_a_last_decay() -> None:
    refuses(Simple, "last_decay_epoch must be finite and >= 1, got None", last_decay_epoch=None)


@pytest.mark.parametrize("schedule", [Step, GrowBatch])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((), "decay_epochs must be a non-empty sequence of epochs, got ()"),
        (5, "decay_epochs must be a non-empty sequence of epochs, got 5"),
        ("35", "decay_epochs must be a non-empty sequence of epochs, got '35'"),
        ((5, 5), "decay_epochs must be strictly increasing, got (5, 5)"),
        ((9, 3), "decay_epochs must be strictly increasing, got (9, 3)"),
        ((3, 4.5), "decay_epochs[1] must be an integer >= 1, got 4.5"),
        ((0, 3), "decay_epochs[0] must be an integer >= 1, got 0"),
    ],
)
def test_decay_epochs(schedule: type[Step] | type[GrowBatch], value: Any, message: str) -> None:
    refuses(schedule, message, decay_epochs=value)


def test_every_schedule_is_checked_here() -> None:
    assert set(VALID) == set(SCHEDULES.values())


@pytest.mark.parametrize("schedule", [Cosine, InverseSqrt, Linear])
def test_warmup_ends_before_training_does(schedule: type[Cosine] | type[InverseSqrt] | type[Linear]) -> None:
    refuses(schedule, "warmup_epochs must be < epochs, 10, got 10", warmup_epochs=10)


def test_a_cooldown_fits_between_warmup_and_end() -> None:
    refuses(
        WarmupStableDecay,
        "cooldown_epochs must be <= epochs - warmup_epochs, 8, got 9",
        warmup_epochs=2,
        cooldown_epochs=9,
    )
    refuses(WarmupStableDecay, "cooldown must be one of linear, 1-sqrt, cosine, got 'sqrt'", cooldown="sqrt")


def test_an_inverse_square_root_starts_after_a_warmup() -> None:
    refuses(InverseSqrt, "warmup_epochs must be an integer >= 1, got 0", warmup_epochs=0)


def test_a_cycle_is_its_own_warmup() -> None:
    refuses(OneCycle, "warmup_epochs must be 0, as the cycle starts with a rise, got 1", warmup_epochs=1)


@pytest.mark.parametrize(("value", "shown"), BAD_FACTORS)
def test_the_share_of_a_peak(value: Any, shown: str) -> None:
    refuses(OneCycle, f"peak_share must lie in (0, 1), got {shown}", peak_share=value)


@pytest.mark.parametrize(("value", "shown"), BAD_FRACTIONAL_EPOCHS)
@pytest.mark.parametrize("name", ["div_factor", "final_div_factor"])
def test_divisors_of_a_cycle(name: str, value: Any, shown: str) -> None:
    refuses(OneCycle, f"{name} must be finite and >= 1, got {shown}", **{name: value})


@pytest.mark.parametrize(("value", "shown"), [bad for bad in BAD_EPOCHS if bad != (0, "0")])
@pytest.mark.parametrize("name", ["patience", "cooldown"])
def test_epochs_of_a_plateau(name: str, value: Any, shown: str) -> None:
    refuses(Plateau, f"{name} must be an integer >= 0, got {shown}", **{name: value})


@pytest.mark.parametrize(("value", "shown"), BAD_SHARES)
@pytest.mark.parametrize(("schedule", "name"), [(Plateau, "threshold"), (Abel, "gain_threshold")])
def test_thresholds(schedule: type[Plateau] | type[Abel], name: str, value: Any, shown: str) -> None:
    refuses(schedule, f"{name} must lie in [0, 1), got {shown}", **{name: value})


@pytest.mark.parametrize(("value", "shown"), BAD_AMOUNTS)
@pytest.mark.parametrize("name", ["min_learning_rate", "eps"])
def test_amounts(name: str, value: Any, shown: str) -> None:
    refuses(Plateau, f"{name} must be finite and >= 0, got {shown}", **{name: value})


def test_the_floor_lies_below_the_base_rate() -> None:
    refuses(Plateau, "min_learning_rate must be < learning_rate, 0.1, got 0.1", min_learning_rate=0.1)


def test_a_budget_and_a_threshold_of_gain_exclude_each_other() -> None:
    refuses(Abel, "gain_threshold must be None where last_decay_epoch is given, 9.0, got 0.1", gain_threshold=0.1)


@pytest.mark.parametrize("value", ["blocks", 5, None, ["block"]])
def test_norm_window(value: str | int | list[str] | None) -> None:
    refuses(Abel, f"norm_window must be one of block, sliding, got {value!r}", norm_window=value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_flag(value: int | str | None) -> None:
    refuses(Abel, f"ignore_until_falling must be true or false, got {value!r}", ignore_until_falling=value)


def test_a_huge_integer_is_not_finite() -> None:
    refuses(Constant, f"learning_rate must be finite and > 0, got {10**400}", learning_rate=10**400)


def test_numbers_become_plain_python_numbers() -> None:
    schedule = Step(
        learning_rate=1, decay_factor=np.float32(0.5), decay_epochs=[np.int64(2), 4], warmup_epochs=np.int8(1)
    )
    assert schedule == Step(learning_rate=1.0, decay_factor=0.5, decay_epochs=(2, 4), warmup_epochs=1)
    assert repr(schedule) == (
        "Step(learning_rate=1.0, warmup_epochs=1, decay_factor=0.5, decay_epochs=(2, 4), kind='step')"
    )
    assert Simple(learning_rate=0.1, decay_factor=Fraction(1, 4), last_decay_epoch=np.int64(3)).last_decay_epoch == 3.0
