"""Tests for `sweeps/results/noninferiority.py` and `sweeps/results/power.py`: verdicts by hand, and by simulation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeps.results import power as powers
from sweeps.results.comparison import compare
from sweeps.results.grids import Grid
from sweeps.results.measures import COVERAGE
from sweeps.results.noninferiority import compared, noninferior, ruled, verdict
from sweeps.results.power import verdict_shares
from sweeps.results.values import Finding, Verdict
from sweeps.spec.measures import MEASURES, read_rule

HOLDS, REGRESSED, CANNOT_TELL = Verdict


def sweep(means: Any, seeds: int = 5, *, first: int = 0, noise: float = 0.3, seed: int = 0, decays: int = 2) -> Grid:
    draw = np.random.default_rng(seed)
    means = np.asarray(means, float)
    errors = means[:, None] + noise * draw.normal(size=seeds) + noise * draw.normal(size=(len(means), seeds))
    return Grid(
        settings=tuple((("schedule.x", x),) for x in range(len(means))),
        seeds=tuple(range(first, first + seeds)),
        errors=errors,
        decays=np.full_like(errors, decays),
        diverged=np.zeros_like(errors),
    )


BEFORE = sweep([10, 11, 12])


def found(name: str, before: Any, after: Any, margin: float = 1.0, alpha: float = 0.05) -> Verdict:
    return compared("abel", name, before, after, margin, alpha).verdict


def test_other_seeds_of_the_same_hold() -> None:
    after = sweep([10, 11, 12], first=5, seed=1)
    assert {found(name, BEFORE, after) for name in ("mean", "decays")} == {HOLDS}
    assert {found(name, BEFORE, after, 3.0) for name in ("best", "median", "worst", "spread", "area")} == {HOLDS}


def test_what_got_worse_has_regressed() -> None:
    assert found("mean", BEFORE, sweep([13, 14, 15], first=5, seed=1)) is REGRESSED
    assert found("worst", BEFORE, sweep([10, 11, 16], first=5, seed=1)) is REGRESSED
    assert found("spread", BEFORE, sweep([10, 11, 16], first=5, seed=1)) is REGRESSED
    assert found("near", sweep([10, 10, 10]), sweep([10, 16, 16], first=5, seed=1), 0.2) is REGRESSED


def test_what_got_better_holds_however_much() -> None:
    assert found("mean", BEFORE, sweep([5, 6, 7], first=5, seed=1)) is HOLDS
    assert found("near", sweep([10, 16, 16]), sweep([10, 10, 10], first=5, seed=1), 0.2) is HOLDS


@pytest.mark.parametrize("decays", [1, 4])
def test_more_and_fewer_decays_are_a_change_alike(decays: int) -> None:
    assert found("decays", BEFORE, sweep([10, 11, 12], first=5, seed=1, decays=decays)) is REGRESSED


def test_noise_that_may_hide_the_margin_cannot_tell() -> None:
    noisy = sweep([10, 11, 12], 3, first=5, noise=3, seed=1)
    assert found("mean", BEFORE, noisy) is CANNOT_TELL
    assert found("mean", BEFORE, sweep([10, 11, 12], 1, first=5)) is CANNOT_TELL


def test_a_measure_that_covers_too_seldom_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COVERAGE, "mean", {2: 0.72})
    told = compared("abel", "mean", BEFORE, sweep([13, 14, 15], first=5), 1.0, 0.05)
    assert told.verdict is CANNOT_TELL
    assert "with 5 seeds" in told.why


def test_the_same_seeds_are_paired() -> None:
    noisy = sweep([10, 11, 12], noise=3)
    worse = replace(noisy, errors=noisy.errors + 0.5 + 0.01 * np.random.default_rng(3).normal(size=noisy.errors.shape))
    assert found("mean", noisy, worse) is HOLDS
    assert found("mean", noisy, replace(worse, errors=worse.errors + 1)) is REGRESSED
    assert found("mean", noisy, replace(worse, seeds=tuple(range(5, 10)))) is CANNOT_TELL


def test_a_mean_that_changed_by_the_same_in_every_seed_cannot_tell() -> None:
    for seeds, worse in ((2, 1.04), (2, -1.04), (5, 0.5)):
        after = replace(now := sweep([10], seeds), errors=now.errors + worse)
        told = compared("abel", "mean", now, after, 1.0, 0.05)
        assert told.verdict is CANNOT_TELL and "the same in every seed" in told.why
        (_, apart) = compare(after, now)["mean"]
        assert told.change == pytest.approx(apart.value, nan_ok=True), "as in a report"


def test_the_same_results_hold_by_any_margin() -> None:
    noisy = sweep([10, 11, 12], 2, noise=5)
    findings = noninferior({"abel": noisy}, {"abel": replace(noisy)}, dict.fromkeys(MEASURES, 1e-6), [])
    assert {finding.verdict for finding in findings} == {HOLDS}
    assert len(findings) == len(MEASURES)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("spread <= 20", HOLDS),
        ("spread <= 0.1", REGRESSED),
        ("mean <= 11", CANNOT_TELL),
        ("mean >= 5", HOLDS),
        ("mean >= 20", REGRESSED),
    ],
)
def test_rules_are_bounds_of_the_sweep_itself(rule: str, expected: Any) -> None:
    assert ruled("abel", BEFORE, read_rule(rule), 0.05).verdict is expected


def test_a_rule_without_an_arm_is_one_for_each() -> None:
    arms = {"abel": BEFORE, "step": sweep([10, 20, 30])}
    findings = noninferior({}, arms, {}, [read_rule("spread <= 10"), read_rule("step.best <= 12")])
    told = [(finding.arm, finding.what, finding.verdict) for finding in findings]
    assert told == [("abel", "spread <= 10", HOLDS), ("step", "spread <= 10", REGRESSED), ("step", "best <= 12", HOLDS)]


def test_a_margin_of_one_arm_goes_before_that_of_all() -> None:
    arms = {"abel": BEFORE, "step": sweep([10, 20, 30])}
    findings = noninferior(arms, arms, {"mean": 1, "step.mean": 2, "step.decays": 3}, [])
    assert [(found.arm, found.what, found.limit) for found in findings] == [
        ("abel", "mean", 1),
        ("step", "mean", 2),
        ("step", "decays", 3),
    ]


def test_a_sweeps_verdict_is_that_of_its_worst_finding() -> None:
    def of(*verdicts: Any) -> Verdict:
        return verdict([Finding(arm="a", what="mean", verdict=one, why="") for one in verdicts])

    assert of(HOLDS, HOLDS) is HOLDS
    assert of(HOLDS, CANNOT_TELL) is CANNOT_TELL
    assert of(CANNOT_TELL, REGRESSED, HOLDS) is REGRESSED
    assert of() is CANNOT_TELL


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_alarms_are_as_rare_as_promised(seeds: int) -> None:
    """All of a sweep's looks together, on no change: at most 5 %."""
    margins = {"mean": 1.0, "spread": 1.0, "worst": 1.0, "decays": 1.0}
    alarms, sweeps = 0, 300
    for number in range(sweeps):
        before = sweep([10, 10.5, 12], seeds, seed=2 * number)
        after = sweep([10, 10.5, 12], seeds, first=seeds, seed=2 * number + 1)
        alarms += verdict(noninferior({"abel": before}, {"abel": after}, margins, [])) is REGRESSED
    assert alarms / sweeps <= 0.05


def test_the_power_table_says_what_the_gate_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against sweeps drawn here, with the noise that the table was to learn from many seeds."""
    monkeypatch.setattr(powers, "SEEDS", (5,))
    table = verdict_shares("abel", "mean", sweep([10, 11, 12], 60), 0.5, sweeps=300)
    assert [row[:2] for row in table.rows] == [(5, 0), (5, 0.25), (5, 0.5), (5, 1.0)]
    for _, worse, shares in table.rows:
        given = [
            found("mean", sweep([10, 11, 12], seed=n), sweep(np.add([10, 11, 12], worse), first=5, seed=n + 1000), 0.5)
            for n in range(300)
        ]
        assert shares == pytest.approx({one: given.count(one) / 300 for one in Verdict}, abs=0.12)
    assert table.rows[0][2][REGRESSED] <= 0.05
    assert table.rows[-1][2][REGRESSED] > 0.9


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("near", BEFORE, "must be a measure of errors"),
        ("spread", sweep([1]), "two settings or more"),
        ("area", sweep([1]), "two settings or more"),
    ],
)
def test_there_is_no_table_of_power_without_errors_and_settings(name: str, table: Grid, said: str) -> None:
    found = verdict_shares("abel", name, table, 1.0, sweeps=1)
    assert found.rows == ()
    assert said in found.why


def test_there_is_no_power_without_noise() -> None:
    with pytest.raises(ValueError, match="two seeds or more"):
        verdict_shares("abel", "mean", sweep([1, 2], 1), 1.0, sweeps=1)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_seeds_that_fail_in_all_settings_are_no_regression(seeds: int) -> None:
    """With trials for independent draws a fourth of such sweeps regressed at three seeds."""
    draw, regressed = np.random.default_rng(seeds), 0
    for _ in range(200):
        tables = []
        for first in (0, seeds):
            failed = np.broadcast_to(draw.random((1, seeds)) < 0.1, (5, seeds)) * 1.0
            plain = sweep([20, 21, 22, 23, 24], seeds, first=first, seed=int(draw.integers(2**31)))
            tables.append(replace(plain, errors=np.where(failed > 0, 90.0, plain.errors), diverged=failed))
        before, after = ({"abel": table} for table in tables)
        regressed += verdict(noninferior(before, after, {"diverged": 0.1}, [])) is REGRESSED
        regressed += verdict(noninferior(before, after, {"mean": 2.0, "worst": 2.0, "diverged": 0.1}, [])) is REGRESSED
    assert regressed / 400 <= 0.05


def test_an_arm_near_chance_is_not_held_for_steady() -> None:
    hopeless = replace(sweep([97, 97.2, 97.1], first=5), guessing=99.0)
    told = {name: compared("abel", name, BEFORE, hopeless, 0.5, 0.05) for name in ("spread", "area", "near", "mean")}
    assert told.pop("mean").verdict is REGRESSED
    assert {one.verdict for one in told.values()} == {CANNOT_TELL}
    assert all("near chance" in one.why for one in told.values())
    assert ruled("abel", hopeless, read_rule("spread <= 5"), 0.05).verdict is CANNOT_TELL


def test_a_baseline_that_only_counts_what_diverged_cannot_tell() -> None:
    old, new = replace(BEFORE, diverged=None), sweep([10, 11, 12], first=5)
    assert found("diverged", old, new, margin=0.5) is CANNOT_TELL
