"""Tests for `sweeps/results/comparison.py`, against cases computed by hand and against simulation."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sweeps.results.comparison import COMPARED, best_setting, compare, comparisons, corrected, difference, quantities
from sweeps.results.confidence import level
from sweeps.results.grids import Grid
from sweeps.results.measures import measures, noise


def table(errors: Any, seeds: tuple[Any, ...] | None = None, values: Any = None) -> Grid:
    errors = np.asarray(errors, float)
    values = range(len(errors)) if values is None else values
    return Grid(
        settings=tuple((("schedule.x", value),) for value in values),
        seeds=tuple(range(errors.shape[1])) if seeds is None else seeds,
        errors=errors,
        decays=np.zeros_like(errors),
    )


def test_measures_by_seed_are_those_of_the_best_and_the_worst_setting() -> None:
    # Without noise beside the seeds' own nothing is drawn together.
    found = {name: one.by_seed.tolist() for name, one in quantities(table([[10, 12], [13, 15], [11, 13]])).items()}
    assert found == {
        "best": [10, 12],
        "mean": pytest.approx([11.75, 13.75]),
        "worst": [13, 15],
        "spread": [3, 3],
        "area": pytest.approx([1.75, 1.75]),
    }


@pytest.mark.parametrize("name", COMPARED)
def test_an_arm_has_the_same_measures_by_itself_and_compared(name: str) -> None:
    draw = np.random.default_rng(0)
    level = 30 + np.arange(6)[:, None] * 2
    one, other = (table(level + draw.normal(size=(6, 4)) * [[1], [1], [1], [1], [1], [9]]) for _ in range(2))
    (first, second), _ = compare(one, other)[name]
    assert (measures(one)[name].value, measures(other)[name].value) == pytest.approx((first, second))


def test_what_noise_adds_to_the_spread_is_taken_out() -> None:
    # Means 12 and 14 with variance 2; each residual is 1.5, so that the noise of a mean has variance 9 / 2: more than that.
    assert quantities(table([[10.0, 14.0], [15.0, 13.0]]))["spread"].value == 0
    # Residuals of 0.5 have the variance 1 in either setting, the median of such variances is 0.4549 of the true one, and the
    # variance of the means is 2.
    found = quantities(table([[10.5, 13.5], [13.5, 14.5]]))
    keep = math.sqrt(1 - 1 / 0.4549364 / 2 / 2)
    assert found["best"].value == pytest.approx(13 - keep)
    assert found["best"].by_seed.tolist() == [10.5, 13.5]
    assert found["spread"].value == pytest.approx(2 * keep)


def test_the_noise_is_that_of_a_middling_setting() -> None:
    draw = np.random.default_rng(6)
    deviations = np.array([1.0, 1, 1, 1, 15, 15])[:, None]
    drawn = [noise(3 * draw.normal(size=4) + deviations * draw.normal(size=(6, 4))) for _ in range(1000)]
    assert 0.9 < np.mean(drawn) < 3  # the mean of the settings' own is 76
    quiet = [noise(3 * draw.normal(size=4) + draw.normal(size=(6, 4))) for _ in range(1000)]
    assert np.mean(quiet) == pytest.approx(1, abs=0.15)


def test_the_choice_is_hardly_flattered_by_noise() -> None:
    draw = np.random.default_rng(0)
    drawn = [table(draw.normal(20, 1, (10, 3))) for _ in range(400)]
    assert np.mean([one.errors.mean(axis=1).min() for one in drawn]) < 19.2
    assert np.mean([quantities(one)["best"].value for one in drawn]) > 19.6


def test_one_seed_is_taken_as_it_is() -> None:
    found = quantities(table([[10], [20]]))
    assert {name: one.value for name, one in found.items()} == (
        {"best": 10, "mean": 15, "worst": 20, "spread": 10, "area": 5}
    )


def test_the_best_setting_is_that_of_all_seeds() -> None:
    assert best_setting(table([[10, 30], [14, 14]])) == (("schedule.x", 1),)


def test_far_from_the_ends_a_difference_is_the_paired_t_test() -> None:
    one, other = np.array([50.2, 50.5, 50.3, 50.8]), np.array([50.0, 50.4, 50.25, 50.4])
    expected = stats.ttest_rel(one, other)
    interval = expected.confidence_interval(0.95)
    found = difference(level(one), level(other))
    assert found.value == pytest.approx((0.1875, interval.low, interval.high), abs=0.002)
    assert found.p == pytest.approx(expected.pvalue, rel=0.02)
    # Hedges' correction for three degrees of freedom is gamma(3/2) / (sqrt(3/2) gamma(1)).
    apart = one - other
    assert found.effect == pytest.approx(apart.mean() / apart.std(ddof=1) * (math.sqrt(math.pi) / 2) / math.sqrt(1.5))


def test_near_the_ends_a_difference_stays_on_the_scale() -> None:
    # The demo's earliest decay and its last: Student's interval of the differences goes from -5.1 to +124.7.
    found = difference(level([93.5, 44.6, 52.4]), level([4.0, 4.1, 3.1]))
    assert found.value.value == pytest.approx(59.77, abs=0.01)
    assert -1 < found.value.low < found.value.high < 100
    assert 0.05 < found.p < 0.06
    turned = difference(level([4.0, 4.1, 3.1]), level([93.5, 44.6, 52.4])).value
    assert turned == pytest.approx((-found.value.value, -found.value.high, -found.value.low))


def test_an_arm_of_one_setting_is_compared_by_its_spread_of_nothing() -> None:
    one, other = table([[20, 21, 22]]), table([[20, 21, 22.5], [24, 25.5, 26]])
    apart = compare(one, other)["spread"][1].value
    assert apart.low < apart.value < apart.high < 0


def test_p_and_interval_agree() -> None:
    draw = np.random.default_rng(5)
    for _ in range(50):
        one, other = (level(100 / (1 + np.exp(-draw.normal(mean, 1, 4)))) for mean in (0.0, 1.5))
        found = difference(one, other)
        assert (found.p < 0.05) == (found.value.low > 0 or found.value.high < 0)


@pytest.mark.parametrize(("seeds", "factor"), [(3, 0.5642), (5, 0.7979), (10, 0.9139)])
def test_few_seeds_do_not_overstate_an_effect(seeds: int, factor: float) -> None:
    drawn = np.random.default_rng(2).normal(0.8, 1, (40_000, seeds))
    apart = np.arange(seeds) - np.mean(np.arange(seeds))
    plain = (1 + apart).mean() / apart.std(ddof=1)
    found = difference(level(21 + apart), level(np.full(seeds, 20.0)))
    assert found.effect / plain == pytest.approx(factor, abs=1e-4)
    every = drawn.mean(1) / drawn.std(1, ddof=1) * factor
    assert every.mean() == pytest.approx(0.8, abs=0.05)


def test_equal_results_have_no_effect_size() -> None:
    same = difference(level([1.0, 2.0, 3.0]), level([1.0, 2.0, 3.0]))
    assert (same.value, same.p) == ((0, 0, 0), 1)
    assert math.isnan(same.effect)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_difference_in_every_seed_says_nothing_of_the_noise(seeds: int) -> None:
    found = difference(level([2.0, 3.0, 4.1][:seeds]), level([1.0, 2.0, 3.1][:seeds]))
    assert found.value.value == pytest.approx(1)
    assert all(map(math.isnan, (found.value.low, found.value.high, found.effect, found.p)))


# The worst setting of both has guessed in every seed; the noise of the others draws neither below that.
QUIET, LOUD = [[10, 11, 12], [20, 22, 21], [90, 90, 90]], [[12, 19, 11], [20, 36, 23], [90, 90, 90]]


def test_arms_that_are_equal_in_every_seed_do_not_differ() -> None:
    (one, other), apart = compare(table(QUIET), table(LOUD))["worst"]
    assert (one, other) == (90, 90)
    assert (apart.value, apart.p) == ((0, 0, 0), 1)


def test_a_difference_without_noise_has_no_p_and_corrects_no_other() -> None:
    rows = comparisons({"abel": table(QUIET), "step": table([*LOUD[:2], [80, 80, 80]])}, "abel")
    (worst,) = (row for row in rows if row.measure == "worst")
    assert worst.difference.value.value == pytest.approx(10, abs=0.3)
    assert all(map(math.isnan, (worst.difference.value.low, worst.difference.p, worst.corrected)))
    known = [row for row in rows if row is not worst]
    plain = [row.difference.p for row in known]
    assert [row.corrected for row in known] == pytest.approx(stats.false_discovery_control(plain, method="by"))


def test_arms_are_paired_over_the_seeds_that_both_have() -> None:
    one, other = table([[9, 10, 12]], seeds=(0, 1, 2)), table([[10, 13, 50]], seeds=(1, 2, 7))
    means, apart = compare(one, other)["best"]
    assert means == (11, 11.5)
    assert apart.value.value == -0.5
    with pytest.raises(ValueError, match=r"a seed in common, got \(0,\) and \(1,\)"):
        compare(table([[1]], seeds=(0,)), table([[1]], seeds=(1,)))


def test_every_arm_is_compared_with_the_first_and_p_allows_for_all() -> None:
    draw = np.random.default_rng(3)
    tables = {
        name: table(draw.normal(20 + level, 1, (4, 5))) for name, level in (("abel", 0), ("step", 1), ("flat", 0))
    }
    rows = comparisons(tables, "abel")
    assert [(row.second, row.measure) for row in rows] == [(arm, name) for arm in ("step", "flat") for name in COMPARED]
    assert rows[0].values == tuple(quantities(tables[arm])["best"].value for arm in ("abel", "step"))
    plain = [row.difference.p for row in rows]
    assert [row.corrected for row in rows] == pytest.approx(stats.false_discovery_control(plain, method="by"))


def test_p_is_corrected_by_benjamini_and_yekutieli() -> None:
    # Two tests: the smaller p times 2 (1 + 1/2), the larger times 1 (1 + 1/2).
    found = corrected([0.04, math.nan, 0.01])
    assert found[0] == pytest.approx(0.06)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.03)
    assert corrected([]) == []


def test_no_difference_is_seldom_taken_for_one() -> None:
    draw, alarms = np.random.default_rng(4), dict.fromkeys(COMPARED, 0)
    means = np.linspace(20, 22, 5)[:, None]
    for _ in range(600):
        seeds = draw.normal(size=3)
        one, other = (table(means + seeds + draw.normal(size=(5, 3))) for _ in range(2))
        for name, (_, apart) in compare(one, other).items():
            alarms[name] += apart.p < 0.05
    assert all(count / 600 < 0.1 for count in alarms.values()), alarms
