"""Tests for `sweeps/results/study/scores.py`."""

import numpy as np
import pytest
from studies import RATES, table

from sweeps.results.study.scores import aligned, best_errors, score_scale

RATE = "schedule.learning_rate"


def test_scores_run_from_the_95th_to_the_5th_percentile_of_all_settings() -> None:
    low = table([{RATE: rate} for rate in range(6)], [[10.0 * row] for row in range(6)])
    high = table([{RATE: rate} for rate in range(5)], [[60.0 + 10 * row] for row in range(5)])
    scale = score_scale([low, high])  # 0, 10, ... 100
    assert scale == pytest.approx((5, 95))
    assert scale.scores(high.errors[:, 0]).tolist() == pytest.approx([35 / 90, 25 / 90, 15 / 90, 5 / 90, -5 / 90])
    assert scale.scores(low.errors)[0] == pytest.approx([95 / 90])


def test_settings_that_are_all_alike_have_no_scores() -> None:
    with pytest.raises(ValueError, match="must differ in their errors, but the 5th and 95th percentile are both 10 %"):
        score_scale([table([{RATE: 0.1}, {RATE: 0.2}], [[10.0], [10.0]])])


def test_settings_are_brought_into_the_order_of_the_first_workload() -> None:
    digits = table([{RATE: rate} for rate in RATES], [[1.0], [2.0], [3.0]])
    letters = table([{RATE: rate} for rate in (1.0, 0.01, 0.1)], [[30.0], [10.0], [20.0]])
    found = aligned({"digits": digits, "letters": letters})
    assert found["letters"].settings == digits.settings
    assert found["letters"].errors.tolist() == [[10.0], [20.0], [30.0]]


@pytest.mark.parametrize("where", ["digits", "letters"])
def test_settings_that_one_workload_lacks_are_named(where: str) -> None:
    few, more = (table([{RATE: rate} for rate in rates], [[1.0]] * len(rates)) for rates in ((0.5,), (0.5, 0.1)))
    tables = {label: more if label == where else few for label in ("digits", "letters")}
    with pytest.raises(ValueError, match=f"must be the same in all workloads, but only {where} has learning_rate=0.1$"):
        aligned(tables)


def test_more_settings_do_not_make_an_arm_look_better() -> None:
    """Noise alone, of 1 point around 50: the lowest mean of nine settings lies 0.86 below it."""
    draw = np.random.default_rng(7)
    found = [table([{RATE: row} for row in range(9)], 50 + draw.normal(size=(9, 3))) for _ in range(300)]
    assert np.mean([best_errors(one) for one in found]) == pytest.approx(50, abs=0.15)
    assert np.mean([one.errors.mean(axis=1).min() for one in found]) < 49.3


def test_each_seed_is_at_the_setting_that_is_best_over_the_others() -> None:
    made = table([{RATE: 0.1}, {RATE: 0.2}], [[10.0, 12.0, 30.0], [20.0, 11.0, 13.0]])
    assert best_errors(made).tolist() == [20.0, 11.0, 30.0]
    assert best_errors(table([{RATE: 0.1}, {RATE: 0.2}], [[10.0], [9.0]])).tolist() == [9.0]
