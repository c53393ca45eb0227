"""Tests for `paper.py` and `evidence.py`: every claim's rule on results that keep it, break it, or leave it open."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from evidences import BOUNCE, COLLAPSE, FALL, evidence, trial
from stories import Story

from sweeps.results.axes import at_value
from sweeps.results.claims.evidence import DECAY, FACTOR, LAST, RATE, Evidence, NormShape
from sweeps.results.claims.paper import ClaimResult, Held, claims_of, evaluate_claims
from sweeps.results.load import load
from sweeps.results.measures import measure
from sweeps.results.wording import percent
from sweeps.spec.sections import Claim

RATES, FACTORS = (0.02, 0.1, 0.5), (0.1, 0.5)
SCATTER = (-0.5, 0.0, 0.5)  # of three seeds
JITTER = (0.05, -0.1, 0.05)  # of their differences

Error = Callable[[float, float], float]


def figure_3(
    errors: Mapping[str, Error],
    decays: Callable[[float], int] = lambda factor: 1 + 4 * (factor > 0.2),
    guessing: float | None = None,
) -> Evidence:
    """A sweep over rates and factors, of three seeds; the norm bounces at all rates but the least."""
    rows, noise = [], np.random.default_rng(0)
    for arm, error in errors.items():
        factors = (0.0,) if arm == "cosine" else FACTORS
        for rate, factor, seed in product(RATES, factors, range(3)):
            settings: dict[str, Any] = {RATE: rate} | ({} if arm == "cosine" else {FACTOR: factor})
            level = error(rate, factor) + SCATTER[seed] + noise.normal(0, 0.05)
            first = () if arm == "cosine" else (4,) * (decays(factor) if arm == "abel" else 1)
            norm = FALL if rate == 0.02 else BOUNCE
            rows.append(
                trial(arm, seed, (level + 9, level + 2, level + 1, level), settings, norm=norm, decay_epochs=first)
            )
    return evidence(rows, guessing)


def flat(level: float) -> Error:
    return lambda rate, factor: level


def growing(by: float) -> Error:
    return lambda rate, factor: 20 + by * RATES.index(rate)


def here(seen: Evidence, claim: Claim, margin: float = 2.0) -> list[Held]:
    return [one.here for one in evaluate_claims(seen, [claim], margin)]


def test_abel_level_with_step_wise() -> None:
    for gap, expected in ((0.2, Held.HELD), (5.0, Held.NOT_HELD), (-5.0, Held.NOT_HELD)):
        seen = figure_3({"abel": flat(20 + gap), "step": flat(20)})
        assert here(seen, "tuned") == [expected]
    (one,) = evaluate_claims(figure_3({"abel": flat(25), "step": flat(20)}), ["tuned"], 2.0)
    assert one.found is not None and one.found.value == pytest.approx(5, abs=0.2)
    assert one.source == "table 1" and "less than 2 points" in one.rule
    assert one.numbers.startswith("ABEL 24.9 %")


def test_a_wide_interval_cannot_tell() -> None:
    rows = [
        trial(arm, seed, (error,) * 4, {})
        for arm, errors in {"abel": (20.0, 26.0, 20.0), "step": (20.0, 20.0, 26.0)}.items()
        for seed, error in enumerate(errors)
    ]
    assert here(evidence(rows), "tuned") == [Held.CANNOT_TELL]


def test_cosine_helps_where_the_norm_bounces_only() -> None:
    def helpful(rate: float, factor: float) -> float:
        return 20 - 4 * (rate > 0.02)

    assert here(figure_3({"simple": flat(20), "cosine": helpful}), "cosine") == [Held.HELD, Held.HELD]
    assert here(figure_3({"simple": flat(20), "cosine": flat(22)}), "cosine") == [Held.NOT_HELD, Held.HELD]
    assert here(figure_3({"simple": flat(20), "cosine": flat(15)}), "cosine") == [Held.HELD, Held.NOT_HELD]
    first, _ = evaluate_claims(figure_3({"simple": flat(20), "cosine": helpful}), ["cosine"], 2.0)
    assert "0.1: +4" in first.numbers and "0.5: +" in first.numbers and "0.02" not in first.numbers


def test_a_sweep_that_bounces_nowhere_cannot_tell_of_cosine() -> None:
    rows = [
        trial(arm, seed, (20.0,) * 4, {RATE: rate}, norm=FALL)
        for arm, rate, seed in product(("simple", "cosine"), (0.1, 0.2), range(3))
    ]
    first, second = evaluate_claims(evidence(rows), ["cosine"], 2.0)
    assert first.here is Held.CANNOT_TELL and first.found is None
    assert first.numbers.startswith("needs a rate at which the norm bounces in every seed; 0.1: does not bounce")
    assert second.here is Held.HELD


def test_the_factor_barely_matters_and_the_decays_adjust() -> None:
    assert here(figure_3({"abel": flat(20)}), "decay_factor") == [Held.HELD, Held.HELD]
    steep = figure_3({"abel": lambda rate, factor: 20 + 10 * factor}, decays=lambda factor: 5 - 4 * (factor > 0.2))
    assert here(steep, "decay_factor") == [Held.NOT_HELD, Held.NOT_HELD]
    first, second = evaluate_claims(figure_3({"abel": flat(20)}), ["decay_factor"], 2.0)
    assert "rate and factor interact with p" in first.numbers
    guessed = [
        trial("abel", seed, (90.0,) * 4, {RATE: rate, FACTOR: factor})
        for rate, factor, seed in product(RATES, FACTORS, range(3))
    ]
    assert "interact" not in evaluate_claims(evidence(guessed), ["decay_factor"], 2.0)[0].numbers
    assert second.found is not None and second.found.value == pytest.approx(4)


def test_abel_depends_less_on_the_rate() -> None:
    errors = {"abel": growing(1), "step": growing(8), "cosine": growing(8), "simple": growing(8)}
    assert here(figure_3(errors), "rate")[:2] == [Held.HELD] * 2
    turned = {"abel": growing(8), "step": growing(1), "cosine": growing(20), "simple": growing(20)}
    assert here(figure_3(turned), "rate")[:2] == [Held.NOT_HELD, Held.HELD]


def test_an_extreme_rate_is_one_at_which_nothing_else_trains() -> None:
    def seen(abel: float, *others: float) -> ClaimResult:
        levels = dict(zip(("abel", "step", "cosine", "simple"), (abel, *others), strict=True))
        return evaluate_claims(
            figure_3({arm: growing((level - 20) / 2) for arm, level in levels.items()}, guessing=90.0), ["rate"], 2.0
        )[-1]

    assert seen(40, 88, 89, 88).here is Held.HELD
    assert seen(40, 88, 89, 88).numbers.startswith("at rate 0.5, ABEL 39.")
    assert seen(87, 89.5, 89.5, 89.5).here is Held.NOT_HELD, "better by two points, and untrained"
    alike = seen(40, 60, 88, 88)
    assert alike.here is Held.CANNOT_TELL and alike.numbers.endswith("no rate of the grid is extreme")
    unknown = evaluate_claims(figure_3(dict.fromkeys(("abel", "step", "cosine", "simple"), flat(20))), ["rate"], 2.0)[
        -1
    ]
    assert unknown.numbers == "needs the error of guessing, which is unknown"


def test_an_extreme_rate_is_no_claim_of_seeds_that_agree_and_has_the_interval_of_the_best_setting() -> None:
    seen = figure_3({"abel": flat(40), **dict.fromkeys(("step", "cosine", "simple"), flat(88))}, guessing=90.0)
    (*_, held) = evaluate_claims(seen, ["rate"], 2.0)
    best = measure("best", at_value(seen.table("abel", "final"), RATE, 0.5))
    assert held.here is Held.HELD
    assert f"ABEL {percent(best)}," in held.numbers, "the interval that a report has of it, with all factors in sight"
    trials = seen.frames.trials
    at_rate = trials["settings"].map(lambda settings: settings[RATE] == 0.5)
    for arm, error, here in (("abel", 40.0, Held.CANNOT_TELL), ("step", 90.0, Held.HELD)):
        alike = trials.assign(final_error=trials["final_error"].mask(at_rate & (trials["arm"] == arm), error))
        (*_, one) = evaluate_claims(replace(seen, frames=replace(seen.frames, trials=alike)), ["rate"], 2.0)
        assert one.here is here, arm


def test_the_last_decay_barely_matters() -> None:
    epochs = (24, 30, 34, 36, 38)

    def sweep(errors: Mapping[int, float]) -> Evidence:
        return evidence(
            [
                trial("abel", seed, (error + SCATTER[seed] + JITTER[(seed + epoch) % 3],) * 4, {LAST: epoch}, epochs=40)
                for epoch, error in errors.items()
                for seed in range(3)
            ]
        )

    assert here(sweep(dict.fromkeys(epochs, 20.0)), "last_decay") == [Held.HELD]
    assert here(sweep(dict.fromkeys(epochs, 20.0) | {24: 29.0}), "last_decay") == [Held.HELD]
    assert here(sweep(dict.fromkeys(epochs, 20.0) | {24: 29.0, 30: 28.0}), "last_decay") == [Held.NOT_HELD]
    (one,) = evaluate_claims(sweep(dict.fromkeys(epochs, 20.0) | {24: 29.0}), ["last_decay"], 2.0)
    assert one.numbers.startswith(
        "compared with epoch 34, 3 of 4 epochs from 24 to 38 are surely within the margin and 1 surely beyond"
    )
    assert one.found is not None and one.found.value == pytest.approx(9, abs=0.3)


def decay_times(errors: Mapping[int, float], first: int, abel: float = 20.0) -> Evidence:
    rows = [
        trial("decay_at", seed, (error + SCATTER[seed] + JITTER[(seed + epoch) % 3],) * 4, {DECAY: epoch})
        for epoch, error in errors.items()
        for seed in range(3)
    ]
    own = [trial("abel", seed, (abel + SCATTER[seed],) * 4, {}, bounce_epochs=(first + seed,)) for seed in range(3)]
    return evidence(rows + own)


def test_decaying_early_hurts_and_abel_s_time_is_near_the_best() -> None:
    assert here(decay_times({2: 40.0, 10: 21.0, 20: 20.0}, first=8), "decay_time") == [Held.HELD, Held.HELD]
    assert here(decay_times({2: 21.0, 10: 21.0, 20: 12.0}, first=8), "decay_time") == [Held.NOT_HELD, Held.NOT_HELD]
    (_, timing) = evaluate_claims(decay_times({2: 40.0, 10: 21.0, 20: 25.0}, first=8), ["decay_time"], 2.0)
    assert timing.numbers.startswith(
        "ABEL, which first decays after epoch 8, 9, 10 (by seed), 20.0 %, the grid's best epoch, 10, 21"
    )
    assert "epoch 10 against the best other one, 20: -" in timing.numbers
    assert timing.found is not None and timing.found.low < timing.found.value < timing.found.high < 0
    late, _ = evaluate_claims(decay_times({2: 40.0, 10: 21.0}, first=30), ["decay_time"], 2.0)
    assert late.here is Held.CANNOT_TELL
    assert late.numbers.startswith("the grid has no decay epoch at or after ABEL's first")


def test_abel_s_time_is_judged_by_abel_s_own_error() -> None:
    (_, timing) = evaluate_claims(decay_times({2: 40.0, 10: 21.0, 20: 20.0}, first=8, abel=30.0), ["decay_time"], 2.0)
    assert timing.here is Held.NOT_HELD
    assert timing.found is not None and timing.found.value == pytest.approx(10, abs=0.3)


def test_what_a_sweep_lacks_is_said_and_not_raised() -> None:
    seen = evidence([trial("abel", 0, (20.0,) * 4, {RATE: 0.1}), trial("abel", 1, (20.0,) * 4, {RATE: 0.1})])
    alone = ("bounce", "no_l2", "no_bounce")  # of ABEL, or of any schedule
    of_more = [name for name in get_args(Claim) if name not in alone]
    every: list[ClaimResult] = [*evaluate_claims(seen, of_more, 2.0)]
    assert {one.here for one in every} == {Held.CANNOT_TELL}
    assert len(every) == 44
    assert all(one.numbers.startswith(("needs ", "the grid must vary")) for one in every), [
        one.numbers for one in every
    ]


def test_the_claims_are_those_of_the_spec() -> None:
    seen = figure_3({"abel": flat(20.2), "step": flat(20)}).frames
    assert claims_of(seen) == claims_of(replace(seen, spec={"claims": None})) == ()
    (one,) = claims_of(replace(seen, spec={"claims": {"margin": 3.5, "tested": ["tuned"]}}))
    assert (one.here, "3.5 points" in one.rule) == (Held.HELD, True)
    assert "0.2 points" in claims_of(replace(seen, spec={"claims": {"tested": ["tuned"]}}))[0].rule


def test_the_ledger_holds_what_the_claims_need(story: Story) -> None:
    story.begin().tell().end()
    early, timing = claims_of(load(story.ledger, story.ledger.sweep(story.sweep_id)))
    assert (early.here, early.source) == (Held.HELD, "figure S6")
    assert early.numbers.startswith("after epoch 1 ") and ", after epoch 30 " in early.numbers
    assert timing.found is not None and "2 points" in timing.rule


def test_one_seed_cannot_tell() -> None:
    rows = [trial(arm, 0, (error,) * 4, {}) for arm, error in (("abel", 20.0), ("step", 40.0))]
    (one,) = evaluate_claims(evidence(rows), ["tuned"], 2.0)
    assert one.here is Held.CANNOT_TELL
    assert one.found is not None and math.isnan(one.found.low)


def test_one_difference_in_every_seed_cannot_tell() -> None:
    levels = {"abel": 20.0, "step": 40.0}
    rows = [trial(arm, seed, (error + seed,) * 4, {}) for arm, error in levels.items() for seed in range(3)]
    (one,) = evaluate_claims(evidence(rows), ["tuned"], 2.0)
    assert (one.here, one.numbers.rpartition("; ")[2]) == (Held.CANNOT_TELL, "difference -20.0 points")


# --- the evidence


def test_errors_are_the_least_the_last_and_that_at_the_least_training_loss() -> None:
    seen = evidence([trial("abel", seed, (50.0, 20.0, 40.0, 45.0), {}, losses=(3.0, 2.0, 1.0, 1.5)) for seed in (0, 1)])
    errors = {name: seen.table("abel", name).errors.tolist() for name in ("minimum", "final", "selected")}  # type: ignore[arg-type]
    assert errors == {"minimum": [[20, 20]], "final": [[45, 45]], "selected": [[40, 40]]}


def test_an_epoch_without_a_finite_loss_is_not_selected() -> None:
    seen = evidence([trial("abel", 0, (50.0, 20.0), {}, losses=(3.0, math.nan), norm=(1.0, 2.0))])
    assert seen.table("abel", "selected").errors.tolist() == [[50]]


def test_the_norm_s_course_is_read_up_to_the_first_decay() -> None:
    errors = (50.0, 40.0, 30.0, 20.0)
    norms = {0.1: BOUNCE, 0.02: FALL, 0.9: COLLAPSE}
    rows = [trial("simple", seed, errors, {RATE: rate}, norm=norm) for rate, norm in norms.items() for seed in (0, 1)]
    rows += [trial("simple", seed, errors, {RATE: 0.05}, norm=(FALL, BOUNCE)[seed]) for seed in (0, 1)]
    rows += [trial("simple", 0, errors, {RATE: 0.04}, norm=BOUNCE, decay_epochs=(2,))]
    assert evidence(rows).courses("simple") == {
        0.1: NormShape.BOUNCES,
        0.02: NormShape.LEVELS,
        0.9: NormShape.COLLAPSES,
        0.05: NormShape.MIXED,
        0.04: NormShape.LEVELS,
    }


def test_what_is_lacking_is_said() -> None:
    rows = [trial("abel", seed, (50.0, 40.0), {}, norm=(2.0, 1.0)) for seed in (0, 1)]
    with pytest.raises(ValueError, match="needs one arm of kind step, got 0"):
        evidence(rows).table("step", "final")
    with pytest.raises(ValueError, match=r"1 of 2 have none: abel \{\} seed=1 \(failed\)"):
        evidence([rows[0], {**rows[1], "outcome": "failed"}]).table("abel", "final")
    diverged = [rows[0], {**rows[1], "outcome": "diverged"}]
    with pytest.raises(
        ValueError, match="a trial diverged and counts as guessing, but the number of classes is unknown"
    ):
        evidence(diverged).table("abel", "final")
    assert evidence(diverged, guessing=90.0).table("abel", "final").errors.tolist() == [[40, 90]]
