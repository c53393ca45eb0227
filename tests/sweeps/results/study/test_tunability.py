"""Tests for `sweeps/results/study/tunability.py`: the default of a spec, and what tuning gains over it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import RATES, table

from sweeps.results.measures import measure
from sweeps.results.study.tunability import default_row, tunability

RATE, L2 = "schedule.learning_rate", "program.l2"
SETTINGS = [{RATE: rate} for rate in RATES]
QUIET = table(SETTINGS, [[10.0, 12.0], [9.0, 11.0], [13.0, 15.0]])  # seeds differ by 2 in every setting

errors = st.lists(st.lists(st.floats(1, 99), min_size=3, max_size=3), min_size=2, max_size=5)


def spec(schedule: dict[str, Any], program: Any = None, own: Any = None) -> dict[str, Any]:
    return {"program": program or {}, "arms": {"abel": {"schedule": schedule, "program": own or {}}}}


def test_it_is_the_error_of_the_default_minus_that_of_the_best() -> None:
    assert [tunability(QUIET, row).value for row in range(3)] == pytest.approx([1, 0, 4])


def test_one_seed_has_no_bounds() -> None:
    found = tunability(table(SETTINGS, [[10.0], [9.0], [13.0]]), 0)
    assert found.value == 1 and math.isnan(found.low) and math.isnan(found.high)


def test_bounds_tell_a_bad_default_from_a_good_one() -> None:
    noisy = table(SETTINGS, [[10.0, 10.2, 10.1], [9.9, 10.3, 10.0], [30.0, 30.4, 29.8]])
    assert tunability(noisy, 2).low > 15
    assert tunability(noisy, 0).low == 0


@given(errors)
def test_it_is_at_most_the_spread_and_reaches_it_at_the_worst_setting(rows: list[list[float]]) -> None:
    made = table([{RATE: 0.1 + row} for row in range(len(rows))], rows)
    found = [tunability(made, row) for row in range(len(rows))]
    spread = measure("spread", made)
    assert all(one.low <= one.value <= one.high for one in found)
    assert all(-1e-9 <= one.value <= spread.value + 1e-9 and one.high <= spread.high + 1e-9 for one in found)
    assert min(one.value for one in found) == pytest.approx(0, abs=1e-9) or min(one.low for one in found) > 0


@given(errors, st.randoms())
def test_the_order_of_the_settings_does_not_matter(rows: list[list[float]], random: Any) -> None:
    settings = [{RATE: 0.1 + row} for row in range(len(rows))]
    order = list(range(len(rows)))
    random.shuffle(order)
    mixed = table([settings[row] for row in order], [rows[row] for row in order])
    plain = tunability(table(settings, rows), 0)
    assert tunability(mixed, order.index(0)) == pytest.approx(plain, nan_ok=True)


def test_the_default_is_what_the_schedule_says_beside_the_grid() -> None:
    assert default_row(QUIET, spec({"kind": "abel", "learning_rate": 0.1}), "abel") == 1
    third = np.float32(0.1).item()  # equal in training
    assert default_row(QUIET, spec({"kind": "abel", "learning_rate": third}), "abel") == 1


def test_the_arm_replaces_fields_of_the_program() -> None:
    made = table([{L2: 0.0}, {L2: 0.01}], [[10.0], [9.0]])
    assert default_row(made, spec({"kind": "abel"}, {"l2": 0.01}), "abel") == 1
    assert default_row(made, spec({"kind": "abel"}, {"l2": 0.01}, {"l2": 0.0}), "abel") == 0


def test_a_default_that_is_a_list_is_found_by_its_text() -> None:
    made = table([{"schedule.decay_epochs": epochs} for epochs in ("10,20", "15,30")], [[10.0], [9.0]])
    assert default_row(made, spec({"kind": "step", "decay_epochs": [15, 30]}), "abel") == 1


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ({"kind": "abel"}, "the spec gives no value of schedule.learning_rate beside the grid"),
        ({"kind": "abel", "learning_rate": 0.3}, "but learning_rate=0.3 is not"),
    ],
)
def test_without_a_default_there_is_a_reason(schedule: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        default_row(QUIET, spec(schedule), "abel")
