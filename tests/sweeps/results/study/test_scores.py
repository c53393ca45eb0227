"""Tests for `sweeps/results/study/scores.py`."""

import pytest
from studies import RATES, table

from sweeps.results.study.scores import aligned, score_scale

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


@pytest.mark.parametrize(("more", "where"), [((0.5,), "letters"), ((), "digits")])
def test_settings_that_one_workload_lacks_are_named(more: tuple[float, ...], where: str) -> None:
    digits = table([{RATE: 0.1}, {RATE: 0.5}][: 1 if more else 2], [[1.0], [2.0]][: 1 if more else 2])
    letters = table([{RATE: rate} for rate in (0.1, *more)], [[1.0], [2.0]][: 1 + len(more)])
    with pytest.raises(ValueError, match=f"must be the same in all workloads, but only {where} has learning_rate=0.5"):
        aligned({"digits": digits, "letters": letters})
