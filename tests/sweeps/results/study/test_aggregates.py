"""Tests for `sweeps/results/study/aggregates.py`: by hand, from the definitions of Agarwal et al."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.results.study.aggregates import improvement, iqm

SEEDS = st.lists(st.floats(0, 100), min_size=2, max_size=4)
WORKLOADS = st.lists(SEEDS, min_size=2, max_size=3)


def arrays(rows: Sequence[Sequence[float]]) -> list[Any]:
    return [np.array(row) for row in rows]


def test_iqm_is_the_mean_of_the_middle_half_of_all_workloads() -> None:
    found = iqm([np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[4.0, 5.0, 6.0, 1000.0]])])
    assert found.value == (2 + 3 + 4 + 5) / 4
    assert found.low < found.value < found.high < 1000


def test_iqm_takes_every_setting_and_draws_seeds_with_all_of_theirs() -> None:
    """The two settings of a seed add up to about 1: drawn one by one, they would spread the mean."""
    rows = np.array([[0.1, 0.3, 0.4, 0.45], [0.9, 0.7, 0.6, 0.57]])
    found = iqm([rows, rows])
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.high - found.low < 0.03


def test_improvement_counts_pairs_of_seeds_and_ties_by_half() -> None:
    found = improvement(arrays([[1, 2, 3], [5, 6]]), arrays([[2, 3, 4], [7, 8, 9]]))
    assert found.value == pytest.approx(((3 + 2.5 + 1.5) / 9 + 1) / 2)
    assert 0.5 <= found.low < found.value < found.high <= 1


@pytest.mark.parametrize("first", [[[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]]])
def test_bounds_are_absent_with_one_seed_or_without_any_noise(first: Any) -> None:
    found = improvement(arrays(first), arrays([[50.0, 51.0], [52.0, 53.0]]))
    assert found.value == 1 and math.isnan(found.low) and math.isnan(found.high)


@given(WORKLOADS, st.randoms())
@settings(max_examples=15)
def test_the_order_of_workloads_seeds_and_arms_does_not_matter(rows: list[list[float]], random: Any) -> None:
    first, second = rows, [[100 - error for error in row] for row in rows]
    found = improvement(arrays(first), arrays(second))
    assert 0 <= found.value <= 1
    assert math.isnan(found.low) or 0 <= found.low <= found.value <= found.high <= 1
    turned = improvement(arrays(second), arrays(first))
    assert turned.value == pytest.approx(1 - found.value)
    mixed = improvement(arrays([row[::-1] for row in first[::-1]]), arrays([row[::-1] for row in second[::-1]]))
    assert mixed.value == pytest.approx(found.value)
    one, other = (iqm([row[None] for row in arrays(order)]) for order in (rows, rows[::-1]))
    assert one.value == pytest.approx(other.value)
    assert math.isnan(one.low) or one.low <= one.value <= one.high


def test_the_same_seeds_give_the_same_interval() -> None:
    rows = arrays([[1, 5, 9], [2, 4, 8]])
    assert improvement(rows, rows[::-1]) == improvement(rows, rows[::-1])


def test_with_few_seeds_an_interval_is_wider_than_plain_percentiles() -> None:
    """Hesterberg's expansion for one workload of 20 seeds: the percentile of -2.093 * sqrt(20/19) is 1.58 % instead of 2.5 %."""
    scores = np.linspace(0, 1, 20)
    found = iqm([scores[None]])
    drawn = scores[np.random.default_rng(1).integers(0, 20, (20000, 20))]
    middle = np.sort(drawn, axis=1)[:, 5:15].mean(axis=1)
    assert found.low == pytest.approx(np.percentile(middle, 1.58), abs=0.01)
    assert found.high == pytest.approx(np.percentile(middle, 98.42), abs=0.01)
    assert found.low < np.percentile(middle, 2.5) - 0.01
