"""Tests for `sweeps/results/measures.py`: measures against cases computed by hand, intervals against simulation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sweeps.results.confidence import level
from sweeps.results.grids import Grid, Point, grid
from sweeps.results.measures import COVERAGE, ESTIMATES, bands, measure, measures, settled, trusted
from sweeps.spec.measures import MEASURES


def table(
    errors: Any,
    *,
    name: str = "schedule.x",
    values: Sequence[float] | None = None,
    decays: list[list[int]] | None = None,
    diverged: list[list[int]] | None = None,
) -> Grid:
    errors = np.asarray(errors, float)
    values = range(len(errors)) if values is None else values
    return Grid(
        settings=tuple(((name, value),) for value in values),
        seeds=tuple(range(errors.shape[1])),
        errors=errors,
        decays=np.zeros_like(errors) if decays is None else np.asarray(decays, float),
        diverged=np.zeros_like(errors) if diverged is None else np.asarray(diverged, float),
    )


# Three settings with means 10, 11 and 14 at places 0, 1 and 3: shares 1/6, 3/6 and 2/6 by the trapezoid rule.
QUIET = table([[9.0, 11.0], [10.0, 12.0], [13.0, 15.0]], values=[0, 1, 3])


def test_measures_without_noise_are_those_computed_by_hand() -> None:
    found = {name: interval.value for name, interval in measures(QUIET).items()}
    assert found == pytest.approx(
        {
            "mean": 10 / 6 + 33 / 6 + 28 / 6,
            "best": 10,
            "median": 11,
            "worst": 14,
            "spread": 4,
            "area": (3 * 1 + 2 * 4) / 6,
            "near": 4 / 6,
            "diverged": 0,
            "decays": 0,
        }
    )


def test_a_rates_axis_is_measured_by_its_logarithm() -> None:
    decades = table([[1, 1], [2, 2], [4, 4]], name="schedule.learning_rate", values=[0.001, 0.1, 1.0])
    assert decades.weights == pytest.approx([1 / 3, 1 / 2, 1 / 6])
    assert measure("mean", decades).value == pytest.approx(1 / 3 + 2 / 2 + 4 / 6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8]),
        ([1e-4, 1e-2, 1e-3], [1 / 4, 1 / 4, 1 / 2]),
        ([1, 100, 199], [1 / 4, 1 / 2, 1 / 4]),
        ([0.1, 0.2, 0.5], [1 / 8, 1 / 2, 3 / 8]),
        ([0.0, 1e-4, 1e-1], [0.0005, 0.5, 0.4995]),
    ],
)
def test_numbers_that_rise_by_factors_are_measured_by_their_logarithm(
    values: list[float], expected: list[float]
) -> None:
    assert table([[1, 1]] * len(values), name="program.l2", values=values).weights == pytest.approx(expected)


def test_shares_multiply_over_axes_and_are_equal_in_grids_with_holes() -> None:
    both = [(("a", a), ("b", b)) for a in (0, 1, 3) for b in ("x", "y")]
    whole = grid(Point(setting, seed, 1.0) for setting in both for seed in (0, 1))
    assert whole.weights == pytest.approx(np.repeat([1 / 6, 3 / 6, 2 / 6], 2) / 2)
    holes = grid(Point(setting, seed, 1.0) for setting in both[:-1] for seed in (0, 1))
    assert holes.weights == pytest.approx([0.2] * 5)


def odds(errors: float | list[float] | np.ndarray) -> np.ndarray:
    return np.log(np.asarray(errors) / (100 - np.asarray(errors)))


def points(odds: np.ndarray) -> np.ndarray:
    return 100 / (1 + np.exp(-np.asarray(odds)))


def test_the_mean_has_students_interval_in_log_odds_around_it() -> None:
    by_seed = [3.0, 4.0, 8.0]
    half = stats.t.interval(0.95, 2, 0, stats.sem(odds(by_seed)))[1]
    expected = (5.0, *points(odds(5.0) + np.array([-half, half])))
    assert level(by_seed).interval() == pytest.approx(expected)
    assert measure("mean", table([by_seed])) == pytest.approx(expected)


def test_far_from_the_ends_the_mean_has_students_interval() -> None:
    by_seed = [49.0, 50.5, 50.0]
    low, high = stats.t.interval(0.95, 2, np.mean(by_seed), stats.sem(by_seed))
    assert level(by_seed).interval() == pytest.approx((np.mean(by_seed), low, high), abs=0.02)


def test_differences_have_tukeys_bounds_in_log_odds() -> None:
    errors = np.array([[10.0, 12.0, 11.0], [13.0, 14.0, 16.0], [12.0, 11.0, 13.0]])
    taken = odds(errors)
    noise = taken - taken.mean(1, keepdims=True) - taken.mean(0) + taken.mean()
    own = np.maximum(np.square(noise).sum(1) / 2 * 3 / 2, np.square(noise).sum() / 4) / 3
    reach = stats.studentized_range.ppf(0.95, 3, 4) / math.sqrt(2) * np.sqrt(own)
    means = errors.mean(1)
    less, more = means - points(odds(means) - reach), points(odds(means) + reach) - means
    apart = means[:, None] - means
    off = ~np.eye(3, dtype=bool)
    low, high = bands(errors).above
    assert low[off] == pytest.approx((apart - np.hypot(less[:, None], more))[off])
    assert high[off] == pytest.approx((apart + np.hypot(more[:, None], less))[off])
    assert measure("spread", table(errors))[1:] == pytest.approx((low.max(), high.max()))


@pytest.mark.parametrize("settings", [1, 4])
@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_no_interval_leaves_the_scale_and_each_contains_its_value(settings: int, seeds: int) -> None:
    draw = np.random.default_rng(settings * seeds)
    for _ in range(100):
        center, scatter = draw.normal(0, 3), draw.uniform(0, 3)
        errors = points(center + scatter * draw.normal(size=(settings, seeds)))
        for name, found in measures(table(errors)).items():
            top = {"near": 1, "diverged": 1, "decays": math.inf}.get(name, 100)
            assert 0 <= found.low <= found.value <= found.high <= top, name


def test_a_drawn_mean_lies_within_what_its_seeds_showed() -> None:
    # As the demo's: the earliest decays scatter by tens of points, which says nothing of the best one.
    errors = np.array([[93.5, 44.6, 52.4], [68.6, 30.0, 31.7], [22.4, 11.0, 11.3], [6.7, 4.9, 4.8], [4.0, 4.1, 3.1]])
    drawn = settled(errors)
    assert (errors.min(1) <= drawn).all() and (drawn <= errors.max(1)).all()
    assert 3.1 <= measure("best", table(errors)).value <= 4.1


def test_settings_that_are_equal_in_float32_count_once() -> None:
    values = [0.1, 0.2, 0.3, 0.30000000000000004]
    rows = {value: [10.0 * value, 11.0 * value, 12.5 * value] for value in values}
    both, once = (
        grid(Point((("schedule.x", value),), seed, rows[value][seed]) for value in kept for seed in range(3))
        for kept in (values, values[:3])
    )
    assert measures(both) == measures(once)


def test_the_spread_of_pure_noise_is_taken_back() -> None:
    draw = np.random.default_rng(0)
    drawn = [draw.normal(20, 1, (8, 3)) for _ in range(300)]
    plain = np.mean([np.ptp(errors.mean(1)) for errors in drawn])
    settled = np.mean([measure("spread", table(errors)).value for errors in drawn])
    assert plain > 1.5
    assert settled < plain / 2


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth_as_often_as_is_published(seeds: int) -> None:
    """The published table is the least over many grids, so that one grid, at fewer sweeps, must not be far below it."""
    draw = np.random.default_rng(7)
    means = np.linspace(20, 24, 5)
    truth = {name: found.value for name, found in measures(table(np.stack([means, means], 1))).items()}
    names = [name for name in ESTIMATES if name not in ("diverged", "decays")]
    hits = dict.fromkeys(names, 0)
    for _ in range(400):
        found = measures(table(means[:, None] + draw.normal(size=seeds) + draw.normal(size=(5, seeds))))
        for name in names:
            hits[name] += found[name].low - 1e-9 <= truth[name] <= found[name].high + 1e-9
    for name in names:
        assert hits[name] / 400 > COVERAGE[name][seeds] - 0.03, name
    assert 0.92 < hits["mean"] / 400 < 0.98


def test_means_cover_as_often_as_they_should_in_the_published_table() -> None:
    assert all(0.93 <= COVERAGE["mean"][seeds] <= 0.97 for seeds in (3, 5, 10))


def test_seeds_are_the_draws_of_a_diverged_share() -> None:
    errors = np.full((2, 5), 90.0)
    together = [[1, 0, 0, 1, 0]] * 2
    expected = stats.binomtest(2, 5).proportion_ci(0.95, method="exact")
    found = measure("diverged", table(errors, diverged=together))
    assert found == pytest.approx((0.4, expected.low, expected.high))
    assert measure("diverged", table(errors, diverged=np.zeros((2, 5))))[:2] == (0, 0)
    assert measure("diverged", table(errors, diverged=np.ones((2, 5))))[::2] == (1, 1)


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("together", [False, True])
def test_a_diverged_share_covers_the_truth_however_trials_fail(seeds: int, together: bool) -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        failed = np.broadcast_to(draw.random((1 if together else 4, seeds)) < 0.1, (4, seeds))
        found = measure("diverged", table(np.full((4, seeds), 90.0), diverged=failed))
        hits += found.low <= 0.1 <= found.high
    assert hits / 400 >= 0.94


def test_seeds_that_agree_in_their_decays_do_not_make_them_certain() -> None:
    found = measure("decays", table([[1.0, 1.0, 1.0]], decays=[[2, 2, 2]]))
    assert found.value == 2
    assert found.low < 1.5 < 2.5 < found.high


def test_one_seed_gives_values_and_no_bounds() -> None:
    for name, found in measures(table([[10.0], [11.0]])).items():
        assert math.isfinite(found.value)
        assert math.isnan(found.low) and math.isnan(found.high), name


def test_one_setting_spreads_over_nothing() -> None:
    lone = table([[10.0, 12.0, 11.0]])
    assert measure("spread", lone) == (0, 0, 0)
    assert measure("near", lone) == (1, 1, 1)
    assert measure("best", lone) == measure("worst", lone) == measure("mean", lone)


def test_a_hole_in_the_table_is_named() -> None:
    points = [Point((("schedule.x", x),), seed, 1.0) for x in (1, 2) for seed in (0, 1)]
    with pytest.raises(ValueError, match=r"got none for seed 1, schedule\.x 2$"):
        grid(points[:-1])
    with pytest.raises(ValueError, match="seed 1"):
        grid([*points[:-1], points[-1]._replace(error=math.nan)])
    with pytest.raises(ValueError, match="at least one trial"):
        grid([])


def test_rules_coverage_and_measures_speak_of_the_same() -> None:
    assert tuple(ESTIMATES) == tuple(MEASURES) == tuple(COVERAGE)


def test_a_measure_is_trusted_from_the_seeds_at_which_it_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trusted("spread", 2)
    assert trusted("spread", 4)
    assert not trusted("spread", 1)
    monkeypatch.setitem(COVERAGE, "spread", {2: 0.72, 5: 0.95})
    assert not trusted("spread", 4)
    assert trusted("spread", 5)
