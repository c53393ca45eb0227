"""Tests for `sweeps/results/axes.py`, against cases computed by hand."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sweeps.results.axes import along, at_value, axes, heat, interaction, slices, without
from sweeps.results.confidence import level
from sweeps.results.grids import Grid
from sweeps.results.measures import measure

A, B = ("a", (0, 1, 3)), ("b", ("x", "y"))
# a has the shares 1/6, 3/6, 2/6 by the trapezoid rule, b one half each.
ERRORS = np.array([[10.0, 12.0], [20.0, 22.0], [11.0, 13.0], [15.0, 17.0], [30.0, 34.0], [40.0, 44.0]])


def table(errors: np.ndarray = ERRORS, axes: tuple[Any, ...] = (A, B)) -> Grid:
    names = [name for name, _ in axes]
    settings = tuple(tuple(zip(names, values, strict=True)) for values in product(*(values for _, values in axes)))
    errors = np.asarray(errors, float)
    seeds = tuple(range(errors.shape[1]))
    return Grid(
        settings=settings, seeds=seeds, errors=errors, decays=np.arange(errors.size).reshape(errors.shape) * 1.0
    )


def test_axes_are_what_the_grid_varies() -> None:
    assert axes(table()) == {"a": (0, 1, 3), "b": ("x", "y")}
    assert axes(table(ERRORS[:3], (A, ("b", ("x",))))) == {"a": (0, 1, 3)}


def test_a_slice_has_the_mean_and_the_best_of_its_settings() -> None:
    first, second = slices(table(), "b")
    assert (first.value, second.value) == ("x", "y")
    by_seed = [(10 + 3 * 11 + 2 * 30) / 6, (12 + 3 * 13 + 2 * 34) / 6]
    assert first.mean == pytest.approx(level(by_seed).interval())
    inner = table(ERRORS[::2], (A,))
    assert first.best == pytest.approx(measure("best", inner))
    assert first.best.value == pytest.approx(11, abs=0.2)


def test_along_an_axis_the_others_are_averaged_by_their_shares() -> None:
    found = along(table(), "b")
    assert found.settings == ((("b", "x"),), (("b", "y"),))
    assert found.errors[0] == pytest.approx([103 / 6, 119 / 6])
    assert found.decays[0] == pytest.approx([(0 + 3 * 4 + 2 * 8) / 6, (1 + 3 * 5 + 2 * 9) / 6])
    assert along(table(), "a").errors[:, 0] == pytest.approx([15, 13, 35])
    with pytest.raises(ValueError, match="the grid must vary c, but varies a, b"):
        along(table(), "c")


def test_a_part_loses_its_axis_and_must_exist() -> None:
    assert at_value(table(), "a", 1).settings == ((("b", "x"),), (("b", "y"),))
    with pytest.raises(ValueError, match="a must have a setting with 2, got none"):
        at_value(table(), "a", 2)


def test_all_other_values_keep_the_axis() -> None:
    found = without(table(), "a", 1)
    assert [dict(setting)["a"] for setting in found.settings] == [0, 0, 3, 3]
    assert found.errors.tolist() == [[10, 12], [20, 22], [30, 34], [40, 44]]


def test_the_table_of_two_axes_averages_a_third_and_leaves_holes() -> None:
    three = table(np.repeat(ERRORS, 2, axis=0) + np.tile([[-1.0], [1.0]], (6, 1)), (A, B, ("c", (1, 2))))
    found = heat(three, "a", "b")
    assert found.errors.shape == (3, 2, 2)
    assert found.errors.reshape(6, 2) == pytest.approx(ERRORS)
    assert found.cell(1, 0) == pytest.approx(level([11.0, 13.0]).interval())
    whole = table()
    lacking = Grid(settings=whole.settings[:-1], seeds=whole.seeds, errors=whole.errors[:-1], decays=whole.decays[:-1])
    assert np.isnan(heat(lacking, "a", "b").errors[2, 1]).all()


def test_two_by_two_is_the_t_test_of_the_one_contrast() -> None:
    cube = np.random.default_rng(0).normal(size=(2, 2, 4))
    contrast = cube[0, 0] - cube[0, 1] - cube[1, 0] + cube[1, 1]
    expected = stats.ttest_1samp(contrast, 0)
    found = interaction(cube)
    assert found.freedom == (1, 3)
    assert found.f == pytest.approx(expected.statistic**2)
    assert found.p == pytest.approx(expected.pvalue)


def test_effects_that_add_up_do_not_interact() -> None:
    down, across, seeds = np.array([0.0, 1, 4]), np.array([0.0, 2]), np.array([5.0, 6, 9])
    sums = down[:, None, None] + across[:, None] + seeds
    draw = np.random.default_rng(1)
    assert interaction(sums + 0.01 * draw.normal(size=sums.shape)).points < 0.02
    crossed = sums + np.array([[1.0, -1], [-1, 1], [0, 0]])[..., None]
    found = interaction(crossed + 0.01 * draw.normal(size=sums.shape))
    # The effects are +-1 in four of six cells, with two degrees of freedom.
    assert found.points == pytest.approx(math.sqrt(4 / 2), rel=0.02)
    assert found.p < 1e-6


@pytest.mark.parametrize("error", [12.7, 33.3, 90.0, 98.9])  # in binary their means are off by 1e-14, or not at all
def test_equal_errors_say_nothing_of_an_interaction(error: float) -> None:
    found = interaction(np.full((3, 4, 3), error))
    assert math.isnan(found.f) and math.isnan(found.p)
    assert found.points == pytest.approx(0, abs=1e-9)


def test_an_interaction_without_noise_has_a_size_and_no_p() -> None:
    found = interaction(np.full((2, 2, 3), 33.3) + np.array([[1.0, -1], [-1, 1]])[..., None])
    assert found.points == pytest.approx(2)  # four effects of 1, with one degree of freedom
    assert math.isnan(found.f) and math.isnan(found.p)


def test_one_seed_cannot_tell_and_holes_are_refused() -> None:
    assert math.isnan(interaction(ERRORS[:4, :1].reshape(2, 2, 1)).p)
    with pytest.raises(ValueError, match="two values or more on both axes"):
        interaction(ERRORS.reshape(1, 6, 2))
    with pytest.raises(ValueError, match="an error in every cell"):
        interaction(np.array([[[1.0, 2], [1, 2]], [[1, 2], [math.nan, 2]]]))
