"""Tests for `sweeps/results/study/across.py`: by hand, from the definitions of Adkins, Bowling and White."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.results.study.across import SHARE, dimensions, reliance

SETTINGS = [(("a", a), ("b", b)) for a in (0, 1) for b in (0, 1)]
BY_HAND = np.array([[1.0, 0.4, 0.2, 0.0], [0.2, 0.9, 0.1, 0.0]])

scores = st.lists(st.lists(st.floats(-1, 2), min_size=4, max_size=4), min_size=2, max_size=4).map(np.array)


def test_sensitivity_is_the_tuned_score_minus_that_of_one_setting() -> None:
    found = reliance(BY_HAND)
    assert found.tuned == pytest.approx((1.0 + 0.9) / 2)
    assert (found.common, found.row) == (pytest.approx((0.4 + 0.9) / 2), 1)
    assert found.sensitivity == pytest.approx(0.3)


def test_one_field_suffices_if_the_other_has_one_good_value() -> None:
    """With a = 0 as in the common setting, b alone reaches both maxima; with b = 1, a reaches 0.4 and 0.9."""
    assert dimensions(BY_HAND, SETTINGS) == ("b",)


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ([[1.0, 0, 0, 0], [1.0, 0, 0, 0]], ()),
        ([[1.0, 0, 0, 0.6], [0, 0, 0, 1.0]], ("a", "b")),
        ([[1.0, 0, 0.97, 0], [0.94, 0, 1.0, 0]], ()),  # one setting has 97 % of the tuned score
        ([[1.0, 0, 0.85, 0], [0.88, 0, 1.0, 0]], ("a",)),  # one setting has 94 %
    ],
)
def test_a_share_of_the_tuned_score_is_enough(rows: Any, fields: tuple[str, ...]) -> None:
    assert dimensions(np.array(rows), SETTINGS) == fields


def test_fields_with_one_value_need_no_tuning() -> None:
    settings = [(("a", a), ("b", 0)) for a in (0, 1)]
    assert dimensions(np.array([[1.0, 0.0], [0.0, 1.0]]), settings) == ("a",)


def test_a_score_below_0_has_no_share() -> None:
    with pytest.raises(ValueError, match="must be above 0 to take a share of it, got -0.50"):
        dimensions(np.array([[-0.5, -1, -1, -1]]), SETTINGS)


@given(scores, st.randoms())
def test_the_order_of_workloads_does_not_matter(made: Any, random: Any) -> None:
    order = list(range(len(made)))
    random.shuffle(order)
    found, mixed = reliance(made), reliance(made[order])
    assert mixed[:2] == pytest.approx(found[:2])
    assert found.sensitivity >= -1e-12


@given(scores.map(np.abs))
def test_the_fields_reach_their_share_and_fewer_do_not(made: Any) -> None:
    known = reliance(made)
    if known.tuned <= 0.1:
        return
    common = dict(SETTINGS[known.row])

    def reached(*chosen: str) -> float:
        rows = [row for row, one in enumerate(SETTINGS) if all(n in chosen or common[n] == v for n, v in one)]
        return float(made[:, rows].max(axis=1).mean())

    fields = dimensions(made, SETTINGS)
    assert reached(*fields) >= SHARE * known.tuned - 1e-9
    fewer = {2: ("a", "b"), 1: ("",), 0: ()}[len(fields)]
    assert all(reached(name) < SHARE * known.tuned for name in fewer)
