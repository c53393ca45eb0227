"""Tests for `sweeps/results/study/tuning_curves.py`: by hand, and the band's coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.results.study.tuning_curves import tuning_curve

ERRORS = st.lists(st.floats(0, 100), min_size=1, max_size=40)


def test_a_curve_by_hand() -> None:
    """Medians at shares 0.5, 0.293 and 0.159 of four errors; Kolmogorov's distance of four draws is 0.624."""
    curve = tuning_curve(np.array([30.0, 10.0, 40.0, 20.0]))
    assert [tuple(one) for one in curve] == [(1, (20, 0, 100)), (2, (20, 0, 40)), (4, (10, 0, 40))]


def test_many_draws_have_a_band_on_both_sides() -> None:
    (_, found), *_ = tuning_curve(np.arange(0.5, 100))  # a hundred: the distance is 0.134, the median 49.5
    assert found == (49.5, 36.5, 63.5)


@given(ERRORS, st.randoms())
def test_more_draws_never_find_a_higher_error(errors: list[float], random: object) -> None:
    curve = tuning_curve(np.array(errors))
    assert [one.draws for one in curve][0] == 1 and curve[-1].draws == len(errors)
    for number in range(3):
        bounds = [one.error[number] for one in curve]
        assert bounds == sorted(bounds, reverse=True)
    assert all(0 <= one.error.low <= one.error.value <= one.error.high <= 100 for one in curve)
    assert tuning_curve(np.array(errors[::-1])) == curve


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_band_covers_the_whole_true_curve_as_often_as_it_says(confidence: float) -> None:
    generator, repeats = np.random.default_rng(0), 1500
    covered = 0
    for _ in range(repeats):
        curve = tuning_curve(100 * generator.random(30) ** 2, confidence)
        truth = [100 * (1 - 0.5 ** (1 / one.draws)) ** 2 for one in curve]
        covered += all(one.error.low <= true <= one.error.high for one, true in zip(curve, truth, strict=True))
    # The curve is looked at after six numbers of draws, so it is covered at least as often as everywhere.
    assert confidence - 0.02 <= covered / repeats
    assert confidence > 0.9 or covered / repeats < 0.85
