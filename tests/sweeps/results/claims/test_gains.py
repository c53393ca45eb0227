"""The claim that linear and simple decay are level: its trials, its settings, and what it needs to be judged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from evidences import RATE, evidence, trial

from sweeps.results.claims.paper import ClaimResult, Held, evaluate_claims
from sweeps.results.grids import Grid
from sweeps.results.measures import has_learned, near_chance
from sweeps.results.values import Chance, Interval

NOISE = {"linear": (0.0, 0.3, -0.2, 0.1), "simple": (0.2, -0.1, 0.1, 0.0)}


def seeds(arm: str, error: float, settings: dict[str, Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    shifts = NOISE[arm]
    return [trial(arm, seed, (error + 9, error + shift), settings or {}, **more) for seed, shift in enumerate(shifts)]


def linear(
    rows: Sequence[Any],
    guessing: float | None = None,
    chance: Chance | None = None,
    programs: dict[str, str] | None = None,
) -> ClaimResult:
    seen = evidence(rows, guessing)
    frames = replace(seen.frames, chance=chance or Chance(), programs=programs or {})
    (found,) = evaluate_claims(replace(seen, frames=frames), ["linear"], 2.0)
    return found


def test_a_diverged_trial_counts_as_guessing() -> None:
    simple, own = seeds("simple", 20.0), seeds("linear", 20.0)
    own[0] |= {"outcome": "diverged", "epoch": 1, "final_error": 20.0}
    assert linear([*simple, *own], 90.0).here is Held.CANNOT_TELL, "17.5 points apart on average, and noisy"
    assert linear([*simple, *own], 20.5).here is Held.CANNOT_TELL, "a diverged trial has not learned"
    unknown = linear([*simple, *own])
    assert unknown.here is Held.CANNOT_TELL and unknown.numbers.startswith(
        "a trial diverged and counts as guessing, but"
    )


def test_each_schedule_is_at_the_best_rate_of_its_grid() -> None:
    rows = [
        *seeds("linear", 20.0, {RATE: 0.1}),
        *seeds("linear", 60.0, {RATE: 1.0}),
        *seeds("simple", 30.0, {RATE: 0.1}),
        *seeds("simple", 20.2, {RATE: 1.0}),
    ]
    found = linear(rows, 90.0)
    assert found.here is Held.HELD
    assert "simple decay 20.25 % at learning rate 1.0, linear 20.05 % at learning rate 0.1" in found.numbers
    lacking = [
        row for row in rows if not (row["arm"] == "linear" and row["settings"][RATE] == 0.1 and row["seed"] == 3)
    ]
    assert linear(lacking, 90.0).here is Held.NOT_HELD, "a setting that lacks a seed does not compete"


def test_only_trials_of_one_program_are_compared() -> None:
    rows = [*seeds("linear", 20.0), *seeds("simple", 20.0)]
    unlike = linear(rows, programs={row["name"]: row["arm"] for row in rows})
    assert unlike.here is Held.CANNOT_TELL
    assert unlike.numbers == "needs finished trials of linear and simple decay of one program, with a seed in common"


def test_each_program_has_a_best_rate_of_its_own() -> None:
    rows, programs = [], {}
    for program, rates in (("small", (0.1, 1.0)), ("large", (1.0, 0.1))):
        for arm in ("linear", "simple"):
            for rate, error in zip(rates, (20.0, 60.0), strict=True):
                own = seeds(arm, error, {RATE: rate}, kind=arm)
                own = [row | dict.fromkeys(("name", "trial_id"), f"{row['name']} {program}") for row in own]
                rows += [row | {"arm": f"{program}-{arm}"} for row in own]
                programs |= {row["name"]: program for row in own}
    found = linear(rows, programs=programs)
    assert found.here is Held.HELD and found.numbers.startswith("simple decay 20.05 %, linear 20.05 %: ")


def test_in_a_range_chosen_by_hand_all_that_is_surely_better_than_guessing_has_learned() -> None:
    chance = Chance(is_by_hand=True)
    rows = [*seeds("linear", 95.0), *seeds("simple", 95.0)]
    assert linear(rows, 99.5).here is Held.CANNOT_TELL, "90 % of the range says that nothing was learned"
    assert linear(rows, 99.5, chance).here is Held.HELD
    near = linear(rows, 95.2, chance)
    assert near.here is Held.CANNOT_TELL and near.numbers.startswith(
        "needs trials that have learned, as others are alike; an error is not surely better than guessing, 95.2 %"
    )
    lone = [row for row in rows if row["seed"] == 0]
    assert "not surely better than guessing" in linear(lone, 94.0, chance).numbers, "one seed has no interval"


def test_every_program_must_have_learned_by_the_error_of_guessing_on_its_own_data() -> None:
    rows, programs, guesses = [], {}, {}
    for program, guessing in (("hard", 90.0), ("easy", 21.0)):
        for arm in ("linear", "simple"):
            own = [row | {"name": f"{row['name']} {program}"} for row in seeds(arm, 20.0)]
            own = [row | {"trial_id": row["name"], "arm": f"{program}-{arm}"} for row in own]
            rows += own
            programs |= {row["name"]: program for row in own}
            guesses |= {row["name"]: guessing for row in own}
    found = linear(rows, chance=Chance(guesses=guesses), programs=programs)
    assert found.here is Held.CANNOT_TELL
    assert "an error is at 90 % of the error of guessing or more, 21 %" in found.numbers
    learned = Chance(guesses={name: max(error, 50.0) for name, error in guesses.items()})
    assert linear(rows, chance=learned, programs=programs).here is Held.HELD
    lacking = Chance(guesses={name: error for name, error in guesses.items() if programs[name] == "hard"})
    assert linear(rows, chance=lacking, programs=programs).numbers.startswith(
        "needs one error of guessing for all trials"
    )


def test_an_error_at_nine_tenths_of_guessing_is_that_of_nothing_learned() -> None:
    assert not has_learned(Interval(81.0, 80.0, 82.0), 90.0, is_by_hand=False)
    assert has_learned(Interval(80.9, 79.0, 83.0), 90.0, is_by_hand=False), "its value decides"
    errors = np.full((1, 2), 81.0)
    table = Grid(settings=((("x", 1),),), seeds=(0, 1), errors=errors, decays=0 * errors, guessing=90.0)
    assert near_chance(table) and not near_chance(replace(table, errors=errors - 0.1))
