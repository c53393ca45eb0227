"""Tests for `sweeps/results/study/rate_sensitivity.py`: by hand, from the definition of Wortsman et al."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import RATES, table

from sweeps.results.grids import Grid
from sweeps.results.study.rate_sensitivity import EndLosses, rate_sensitivity

RATE, FACTOR = "schedule.learning_rate", "schedule.decay_factor"
OVER_RATES = [{RATE: rate} for rate in RATES]
OVER_BOTH = [{RATE: rate, FACTOR: factor} for factor in (0.1, 0.5) for rate in RATES]


def arm(settings: list[dict[str, float]], seeds: int = 1) -> Grid:
    return table(settings, np.full((len(settings), seeds), 10.0))


def losses(first: list[list[float]], last: list[list[float]]) -> EndLosses:
    return EndLosses(np.array(first), np.array(last))


def test_it_is_the_mean_capped_loss_minus_the_best() -> None:
    """Of three rates that are even on a logarithmic scale, each end counts half."""
    found, initial = rate_sensitivity(arm(OVER_RATES), losses([[2.0], [1.5], [9.0]], [[0.5], [0.2], [7.0]]))
    assert initial == 2.0
    assert found.value == pytest.approx((0.5 / 2 + 0.2 + 2.0 / 2) / 2 - 0.2)
    assert math.isnan(found.low)


def test_a_diverged_trial_counts_as_the_initial_loss() -> None:
    found, _ = rate_sensitivity(arm(OVER_RATES), losses([[2.0], [1.5], [9.0]], [[0.5], [0.2], [math.nan]]))
    assert found.value == pytest.approx((0.5 / 2 + 0.2 + 2.0 / 2) / 2 - 0.2)


def test_a_rate_between_two_others_does_not_count_twice() -> None:
    """The loss is 1 from the rate 1 on: more rates there leave the measure as it is."""
    dense = [{RATE: rate} for rate in (0.01, 0.1, 1.0, 2.0, 5.0, 10.0)]
    even = [{RATE: rate} for rate in (0.01, 0.1, 1.0, 10.0)]
    found, fewer = (
        rate_sensitivity(arm(rates), losses([[2.0]] * len(rates), [[0.5], [0.5], *[[1.0]] * (len(rates) - 2)]))[0]
        for rates in (dense, even)
    )
    assert found.value == pytest.approx(fewer.value)


def test_the_initial_loss_is_that_of_the_lowest_rate_of_each_seed() -> None:
    shuffled = [{RATE: rate} for rate in (1.0, 0.01, 0.1)]
    found, initial = rate_sensitivity(
        arm(shuffled, 2), losses([[9, 9], [2, 4], [1, 1]], [[math.nan, math.nan], [1, 1], [0.5, 0.5]])
    )
    by_seed = [(2 / 2 + 1 / 2 + 0.5) / 2 - 0.5, (4 / 2 + 1 / 2 + 0.5) / 2 - 0.5]
    assert initial == 3
    assert found.value == pytest.approx(np.mean(by_seed))
    assert found.low < found.value < found.high


def test_other_fields_are_averaged_over() -> None:
    last = [[0.5], [0.2], [0.8], [0.3], [0.6], [0.9]]
    found, _ = rate_sensitivity(arm(OVER_BOTH), losses([[2.0]] * 6, last))
    assert found.value == pytest.approx(((0.425 - 0.2) + (0.6 - 0.3)) / 2)


@pytest.mark.parametrize(
    ("settings", "first", "why"),
    [
        ([{FACTOR: 0.1}, {FACTOR: 0.5}], 2.0, "must vary schedule.learning_rate"),
        ([{RATE: 0.1, FACTOR: 0.1}, {RATE: 0.1, FACTOR: 0.5}], 2.0, "must vary schedule.learning_rate"),
        ([{RATE: 0.1, FACTOR: 0.1}, {RATE: 0.2, FACTOR: 0.5}], 2.0, "with each setting of the other fields"),
        ([{RATE: 0.1}, {RATE: 0.2}], math.nan, "must have a finite training loss in their first epoch"),
    ],
)
def test_without_it_there_is_a_reason(settings: list[dict[str, float]], first: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rate_sensitivity(arm(settings), losses([[first]] * 2, [[1.0]] * 2))


@given(st.lists(st.lists(st.floats(0, 10), min_size=2, max_size=2), min_size=3, max_size=3), st.permutations(range(3)))
def test_it_lies_between_0_and_the_initial_loss_in_any_order(last: list[list[float]], order: list[int]) -> None:
    first = [[2.0, 3.0]] * 3
    found, initial = rate_sensitivity(arm(OVER_RATES, 2), losses(first, last))
    assert -1e-12 <= found.value <= initial
    mixed = arm([OVER_RATES[row] for row in order], 2)
    assert rate_sensitivity(mixed, losses(first, [last[row] for row in order]))[0] == pytest.approx(found)
