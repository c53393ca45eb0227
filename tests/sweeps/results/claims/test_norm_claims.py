"""Tests for `norm_evidence.py`, `gains.py` and `norm_claims.py`: rules on the norm, kept, broken and left open."""

from collections.abc import Sequence
from typing import Any

import pytest
from evidences import BOUNCE, COLLAPSE, FALL, evidence, trial

from sweeps.results.claims.evidence import RATE, Evidence
from sweeps.results.claims.paper import Held, claims_of, evaluate_claims
from sweeps.spec.sections import Claim

L2, SCALE = "program.l2", "program.initial_scale"
RISE = (10.0, 11.0, 12.0, 13.0)
HELD, NOT, OPEN = Held.HELD, Held.NOT_HELD, Held.CANNOT_TELL
WITH_L2 = {"program": {"l2": 0.01}}


def here(rows: Sequence[Any], claim: Claim, spec: Any = None) -> list[Held]:
    return [one.here for one in evaluate_claims(evidence(rows, spec=spec), [claim], 2.0)]


def seeds(arm: str, error: float, norm: Sequence[float] = BOUNCE, **more: Any) -> list[dict[str, Any]]:
    """Three seeds of an arm, or as many as there are shifts, whose norms and errors differ a little."""
    settings, shifts = more.pop("settings", {}), more.pop("shifts", (-0.1, 0.0, 0.1))
    return [
        trial(
            *(arm, seed, (error + 9, error + 2, error + 1, error + shift), settings),
            norm=tuple(value * (1 + shift / 1000) for value in norm),
            **more,
        )
        for seed, shift in enumerate(shifts)
    ]


def test_the_norm_bounces_before_the_first_milestone() -> None:
    step = seeds("step", 20.0, (10.0, 6.0, 8.0, 8.5, 8.0), decay_epochs=(4,))
    assert here(step, "bounce", WITH_L2) == [HELD]
    assert here(step, "bounce") == [OPEN], "without L2 it does not apply"
    assert here(step, "milestone") == [HELD, HELD]
    early = seeds("step", 20.0, (10.0, 9.0, 8.0, 9.0), decay_epochs=(2,))
    assert here(early, "bounce", WITH_L2) == [NOT]
    assert here(early, "milestone") == [NOT, NOT]


def test_the_growth_of_the_norm_has_slowed_by_the_first_milestone() -> None:
    growing = seeds("step", 20.0, (10.0, 6.0, 7.0, 8.5, 8.0), decay_epochs=(4,))
    assert here(growing, "milestone") == [HELD, NOT], "it is later than the minimum, but growth has not slowed"
    slowing = seeds("step", 20.0, (10.0, 6.0, 7.2, 8.2, 9.0, 8.5), decay_epochs=(5,))
    assert here(slowing, "milestone") == [HELD, HELD], "the middle of three epochs is between two of them"


def test_a_norm_that_collapses_is_no_bounce() -> None:
    (first, *_) = evaluate_claims(evidence(seeds("constant", 90.0, COLLAPSE), spec=WITH_L2), ["bounce"], 2.0)
    assert first.here is OPEN and "collapses" in first.numbers


def test_without_l2_the_norm_rises_and_abel_does_not_decay_on_its_own() -> None:
    simple = {"decay_epochs": (3,), "forced_epochs": (3,)}
    four = {"shifts": (-0.1, 0.0, 0.1, 0.2)}
    rows = [*seeds("constant", 20.0, RISE), *seeds("abel", 20.0, RISE, **simple, **four)]
    assert here(rows, "no_l2") == [HELD, HELD]
    rows = [*seeds("constant", 20.0, RISE), *seeds("abel", 20.0, RISE, **simple)]
    assert here(rows, "no_l2") == [HELD, OPEN], "three counts of 0 do not show that their mean is below one half"
    bounces = {"decay_epochs": (3,), "bounce_epochs": (3,)}
    rows = [*seeds("constant", 20.0, BOUNCE), *seeds("abel", 20.0, BOUNCE, **bounces, **four)]
    assert here(rows, "no_l2") == [NOT, NOT]
    assert here(rows, "no_l2", WITH_L2) == [OPEN, OPEN], "these trials have L2"
    assert here(seeds("constant", 20.0, (10.0, 12.0, 11.0, 13.0)), "no_l2")[0] is NOT, "it falls above where it began"


def test_at_the_lowest_rate_the_longest_trials_decide() -> None:
    fast = seeds("constant", 20.0, BOUNCE, settings={RATE: 0.1})
    slow = seeds("constant", 20.0, FALL, settings={RATE: 0.02})
    assert here([*fast, *slow], "slow_rate") == [HELD]
    longer = seeds("constant", 20.0, BOUNCE, settings={RATE: 0.02, "x": 1}, epochs=20)
    assert here([*fast, *slow, *longer], "slow_rate") == [NOT]
    assert here(fast, "slow_rate") == [OPEN]


@pytest.mark.parametrize(("off", "expected"), [(20.1, [HELD, HELD]), (26.0, [NOT, NOT])])
def test_a_complex_schedule_gains_more_with_l2(off: float, expected: list[Held]) -> None:
    arms = {"cosine": (20.0, 0.01), "simple": (24.0, 0.01), "cosine ": (20.0, 0.0), "simple ": (off, 0.0)}
    rows = [
        row | {"kind": arm.strip()}
        for arm, (error, l2) in arms.items()
        for row in seeds(arm, error, settings={L2: l2} if l2 else {})
    ]
    assert here(rows, "l2_gap") == expected
    by_arm = {"arms": {"cosine": {"program": {"l2": 0.01}}, "simple": {"program": {"l2": 0.01}}}}
    plain = [row | {"settings": {}} for row in rows]
    assert here(plain, "l2_gap", by_arm) == expected, "an arm's own program counts like a grid"


def small_and_large(with_l2: float, without: float, rate: float = 0.02) -> list[dict[str, Any]]:
    """Simple decay at rate 0.1, and a constant rate with these final errors in five times the epochs, with L2 and without."""
    rows = []
    for error, l2 in ((with_l2, 0.01), (without, 0.0)):
        simple = seeds("simple", 20.0, settings={RATE: 0.1, L2: l2})
        noise = [row | {"final_error": row["final_error"] + 10 * l2 * row["seed"] ** 2} for row in simple]
        rows += [*noise, *seeds("constant", error, settings={RATE: rate, L2: l2}, epochs=20)]
    return rows


@pytest.mark.parametrize(
    ("with_l2", "without", "expected"),
    [(27.5, 21.2, [HELD, HELD]), (27.5, 27.0, [HELD, NOT]), (20.5, 20.4, [NOT, NOT]), (27.5, 25.5, [HELD, OPEN])],
)
def test_a_small_fixed_rate_loses_more_with_l2(with_l2: float, without: float, expected: list[Held]) -> None:
    assert here(small_and_large(with_l2, without), "small_rate") == expected


def test_the_losses_are_those_of_the_lowest_rate_in_its_longest_trials() -> None:
    rows = small_and_large(27.5, 21.2)
    for l2 in (0.01, 0.0):
        rows += seeds("constant", 20.0, settings={RATE: 0.05, L2: l2}, epochs=20)
        rows += seeds("constant", 20.0, settings={RATE: 0.02, L2: l2, "x": 1})
    (first, second) = evaluate_claims(evidence(rows), ["small_rate"], 2.0)
    assert (first.here, second.here) == (HELD, HELD)
    assert first.source == "main text" and "+1.2 (+1.2 to +1.2) points without" in second.numbers


def test_a_small_rate_needs_a_larger_one_beside_it() -> None:
    (first, _) = evaluate_claims(evidence(small_and_large(27.5, 21.2, rate=0.1)), ["small_rate"], 2.0)
    assert first.here is OPEN and "simple decay at a larger one; the lowest constant rate is 0.1" in first.numbers
    only = [row for row in small_and_large(27.5, 21.2) if row["settings"][L2]]
    assert here(only, "small_rate") == [HELD, OPEN], "nothing without L2 to compare with"


def easy(simple: float = 20.3, trained: float = 0.0, norm: Sequence[float] = BOUNCE, epochs: int = 9) -> list[Any]:
    """Three schedules; simple decay ends with these test and training errors."""
    known = {"train_errors": (50.0, trained), "epochs": epochs}
    arms = [seeds(f"constant {epochs}", 20.0, norm), seeds(f"cosine {epochs}", 20.0), seeds(f"simple {epochs}", simple)]
    return [row | known | {"kind": row["arm"].partition(" ")[0]} for rows in arms for row in rows]


def test_an_easy_task_is_learnt_and_bounces_and_gains_nothing() -> None:
    assert here(easy(), "easy", WITH_L2) == [HELD, HELD, HELD]
    assert here(easy(26.0, 3.0, FALL), "easy", WITH_L2) == [NOT, NOT, NOT]
    assert here(easy(trained=0.5), "easy", WITH_L2) == [NOT, HELD, HELD], "level, and not learnt"
    assert here([row | {"train_errors": None} for row in easy()], "easy", WITH_L2) == [OPEN, HELD, HELD]


def test_a_short_run_of_an_easy_task_is_learnt_without_a_bounce() -> None:
    short = easy(norm=FALL, epochs=4)
    assert here([*easy(), *short], "short_run", WITH_L2) == [HELD, HELD, HELD]
    assert here([*easy(), *easy(26.0, 3.0, epochs=4)], "short_run", WITH_L2) == [NOT, NOT, NOT]
    assert here([*easy(), *easy(26.0, 3.0, epochs=4)], "easy", WITH_L2) == [HELD, HELD, HELD], "the longest count there"
    assert here(easy(), "short_run", WITH_L2) == [OPEN, OPEN, OPEN], "one length"


PLAIN, BELOW = BOUNCE, (5.9, 7.0, 6.5, 9.0)  # the second begins below the first one's minimum


def scaled(**more: tuple[float, Sequence[float]]) -> list[dict[str, Any]]:
    """Errors and norms at scales 0.01 to 4, as the paper has them but for those given by name."""
    usual = {
        "tiny": (40.0, RISE),
        "small": (40.0, RISE),
        "less": (20.1, BELOW),
        "plain": (20.0, PLAIN),
        "large": (20.1, PLAIN),
    }
    scales = dict(zip(usual, (0.01, 0.1, 0.5, 1.0, 4.0), strict=True))
    rows = []
    for name, (error, norm) in {**usual, **more}.items():
        unlike = 0.01 * (name == "plain")  # equal differences in all seeds would say nothing of the noise
        own = seeds("cosine", error, norm, settings={SCALE: scales[name]})
        rows += [row | {"final_error": row["final_error"] + unlike * row["seed"] ** 2} for row in own]
    return rows


def test_scales_of_the_initial_weights() -> None:
    assert here(scaled(), "scale") == [HELD] * 6
    falling = (1.0, 0.9, 0.8, 0.8)
    assert here(scaled(tiny=(40.0, falling)), "scale") == [HELD] * 6, "a norm that only falls does not bounce either"
    assert here(scaled(large=(20.1, (90.0, 40.0, 30.0, 50.0))), "scale") == [NOT, HELD, HELD, HELD, HELD, HELD]


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ({"less": (20.1, (5.9, 7.0, 6.5, 7.0))}, 0),  # the final norm, at a scale below 1
        ({"less": (26.0, BELOW)}, 1),  # the error
        ({"large": (20.1, (10.0, 9.5, 9.0, 9.0))}, 2),  # no bounce at a large scale
        ({"small": (40.0, BOUNCE)}, 4),  # a bounce at the second smallest
        ({"small": (20.1, RISE)}, 5),  # as good as scale 1
    ],
)
def test_each_scale_must_do_as_the_paper_says(other: Any, part: int) -> None:
    expected = [HELD] * 6
    expected[part] = NOT
    assert here(scaled(**other), "scale") == expected


def test_the_smallest_scales_are_the_smallest_although_one_diverged() -> None:
    diverged = [row | ({"outcome": "diverged"} if row["settings"][SCALE] == 0.01 else {}) for row in scaled()]
    assert here(diverged, "scale") == [OPEN] * 6
    (first, *_) = evaluate_claims(evidence(diverged), ["scale"], 2.0)
    assert first.numbers == "needs a finished trial at every initial scale, got none at 0.01"


def test_the_longest_trials_are_the_longest_before_they_have_finished() -> None:
    running = [row | {"outcome": "running"} for row in easy(epochs=200)]
    short = [row | {"arm": f"{row['arm']}-short", "trial_id": f"{row['trial_id']} short"} for row in easy(epochs=15)]
    assert here([*running, *short], "easy", WITH_L2) == [OPEN] * 3
    assert here([*easy(epochs=200), *short], "easy", WITH_L2) == [HELD] * 3


def test_a_norm_that_begins_low_must_bounce_too() -> None:
    assert here(scaled(less=(20.1, (5.9, 7.0, 8.0, 9.0))), "scale")[2:4] == [NOT, NOT]
    begins = scaled(less=(20.1, PLAIN))
    assert here(begins, "scale") == [HELD, HELD, HELD, OPEN, HELD, HELD], "no scale begins below the minimum"
    few = [row for row in scaled() if row["settings"][SCALE] not in (0.5, 4.0)]
    assert here(few, "scale") == [OPEN] * 6
    (first, *_) = evaluate_claims(evidence(few), ["scale"], 2.0)
    assert first.numbers == "needs finished trials at initial scale 1, at 2 smaller ones, and at one above those"


def test_a_plateau_schedule_decays_more_often() -> None:
    abel = seeds("abel", 20.0, decay_epochs=(3,))
    often = [row | {"decay_epochs": tuple(range(2, 5 + row["seed"]))} for row in seeds("plateau", 20.0)]
    assert here([*abel, *often], "plateau") == [HELD]
    assert here([*abel, *seeds("plateau", 20.0)], "plateau") == [NOT]


def test_a_plateau_schedule_that_never_decays_is_far_behind() -> None:
    abel = [row | {"final_error": row["final_error"] + 0.01 * row["seed"] ** 2} for row in seeds("abel", 20.0)]
    assert here([*abel, *seeds("plateau", 40.0)], "no_plateau") == [HELD, HELD]
    assert here([*abel, *seeds("plateau", 20.0, decay_epochs=(3,))], "no_plateau") == [NOT, NOT]
    assert here([*abel, *seeds("plateau", 22.0)], "no_plateau") == [HELD, OPEN]


def layered(norms: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """A trial of a network whose layers have these norms, by epoch."""
    parts = {f"block{index}/conv/kernel": tuple(norm) for index, norm in enumerate(norms)}
    whole = tuple(map(sum, zip(*norms, strict=True)))
    return trial("step", seed, (90.0, 60.0, 40.0, 20.0), {}, norm=whole, layers=parts)


def test_the_largest_layers_hold_half_of_the_norm() -> None:
    half, rest = [[2.0, 4.0, 6.0, 8.0]] * 10, [[1.0, 2.0, 3.0, 4.0]] * 20
    assert here([layered([*half, *rest], seed) for seed in range(3)], "layers") == [HELD, HELD]
    moving = [[40.0, 10.0, 2.0, 1.0]] * 10
    assert here([layered([*moving, *rest], seed) for seed in range(3)], "layers")[1] is NOT
    assert here([layered(half, seed) for seed in range(3)], "layers") == [OPEN, OPEN], "ten layers are all there are"


def test_claims_are_tested_row_by_row() -> None:
    level, apart = {"abel": 20.1, "step": 20.0}, {"abel": 28.0, "step": 20.0}
    rows, arms = [], {}
    for row, errors in (("WRN", level), ("VGG", apart)):
        for kind, error in errors.items():
            arms[f"{row}-{kind}"] = {"row": row}
            unlike = 0.01 * (kind == "step")  # equal differences in all seeds would say nothing of the noise
            own = seeds(f"{row}-{kind}", error)
            rows += [one | {"kind": kind, "final_error": one["final_error"] + unlike * one["seed"] ** 2} for one in own]
    spec = {"arms": arms, "claims": {"tested": ["tuned"], "margin": 2.0}}
    seen: Evidence = evidence(rows, spec=spec)
    assert [(one.row, one.here) for one in claims_of(seen.frames)] == [("WRN", HELD), ("VGG", NOT)]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((20.0, 20.5, 20.2), HELD),  # 0.1, -0.4 and -0.1 points apart
        ((24.0, 24.5, 24.2), NOT),
        ((20.0, 23.0, 17.5), OPEN),  # level on average, but each seed is far from it
        ((20.0,), OPEN),  # one seed tells nothing of the noise
    ],
)
def test_linear_and_simple_decay_are_level_only_if_surely_within_the_margin(
    errors: tuple[float, ...], expected: Held
) -> None:
    linear = [trial("linear", seed, (50.0, error), {}) for seed, error in enumerate(errors)]
    simple = [trial("simple", seed, (50.0, 20.1), {}) for seed, _ in enumerate(errors)]
    assert here([*linear, *simple], "linear") == [expected]


def test_trials_that_learned_nothing_are_not_level() -> None:
    rows = [trial(arm, seed, (99.0, 99.0), {}) for arm in ("linear", "simple") for seed in range(3)]
    (found,) = evaluate_claims(evidence(rows, guessing=100.0), ["linear"], 2.0)
    assert found.here is OPEN and "90 % of the error of guessing" in found.numbers
    (found,) = evaluate_claims(evidence(rows[:3]), ["linear"], 2.0)
    assert found.here is OPEN and "needs finished trials of linear and simple decay" in found.numbers
