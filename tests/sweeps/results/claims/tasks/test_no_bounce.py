"""The rules on tasks whose norm does not bounce, kept, broken and left open."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evidences import BOUNCE, COLLAPSE, evidence, trial

from sweeps.results.claims.paper import Held, claims_of, evaluate_claims
from sweeps.results.values import Chance
from sweeps.spec.sections import Claim

RISE = (10.0, 11.0, 12.0, 13.0)
RATES = (0.1, 0.1, 0.1, 0.01)
HELD, NOT, OPEN = Held.HELD, Held.NOT_HELD, Held.CANNOT_TELL


def here(rows: Sequence[Any], claim: Claim, guessing: float | None = None) -> list[Held]:
    return [one.here for one in evaluate_claims(evidence(rows, guessing), [claim], 2.0)]


def seeds(arm: str, error: float, norm: Sequence[float] = RISE, **more: Any) -> list[dict[str, Any]]:
    """Four seeds of an arm that decays after epoch 3; equal differences in all seeds would say nothing of the noise."""
    plain = {"decay_epochs": (3,), "rates": RATES, "norm": norm}
    shifts = (-0.1, 0.0, 0.1, 0.0)
    return [
        trial(arm, seed, (error + 9, error + 2, error + 1, error + shift), {}, **plain | more)
        for seed, shift in enumerate(shifts if arm == "abel" else shifts[::-1])
    ]


def diverged(row: dict[str, Any]) -> dict[str, Any]:
    """A trial that diverged after an epoch in which it was better than all others."""
    return row | {"outcome": "diverged", "epoch": 1, "final_error": 1.0}


def test_a_norm_that_rises_does_not_bounce() -> None:
    rows = [*seeds("simple", 20.0), *seeds("abel", 20.0, forced_epochs=(3,))]
    assert here(rows, "no_bounce") == [HELD, HELD]


def test_a_norm_that_bounces_breaks_the_claim() -> None:
    rows = [*seeds("simple", 20.0, BOUNCE), *seeds("abel", 20.0, BOUNCE, bounce_epochs=(3,))]
    assert here(rows, "no_bounce") == [NOT, NOT]


def test_a_decay_in_one_of_four_seeds_cannot_tell() -> None:
    abel = seeds("abel", 20.0)
    abel[0]["bounce_epochs"] = (2,)
    rows = [*seeds("simple", 20.0), *abel]
    assert here(rows, "no_bounce") == [HELD, OPEN]
    found = evaluate_claims(evidence(rows), ["no_bounce"], 2.0)[1].found
    assert found is not None and found.low == 0, "a count is not below 0"


def test_three_seeds_that_agree_on_no_decay_may_do_so_by_chance() -> None:
    rows = [*seeds("simple", 20.0)[:3], *seeds("abel", 20.0)[:3]]
    (_, decays) = evaluate_claims(evidence(rows), ["no_bounce"], 2.0)
    (rates, _) = evaluate_claims(evidence(rows), ["abel_simple"], 2.0)
    assert (decays.here, rates.here) == (OPEN, OPEN)
    assert "ABEL decays 0.0 (0.0 to 0.7) times" in decays.numbers and "in 0.0 (0.0 to 0.7) epochs" in rates.numbers


def test_a_network_that_collapses_says_nothing() -> None:
    (first, _) = evaluate_claims(evidence(seeds("simple", 90.0, COLLAPSE)), ["no_bounce"], 2.0)
    assert first.here is OPEN and "collapses" in first.numbers


def test_abel_is_simple_decay_where_its_rates_and_results_are() -> None:
    simple = seeds("simple", 20.0)
    assert here([*simple, *seeds("abel", 20.0)], "abel_simple") == [HELD, HELD]
    early = seeds("abel", 25.0, rates=(0.1, 0.01, 0.01, 0.001))
    assert here([*simple, *early], "abel_simple") == [NOT, NOT]


def test_abel_is_compared_with_simple_decay_of_the_same_seed() -> None:
    simple, abel = seeds("simple", 20.0), seeds("abel", 20.0)
    (first, second) = evaluate_claims(evidence([*simple[:1], *abel[1:]]), ["abel_simple"], 2.0)
    assert (first.here, second.here) == (OPEN, OPEN)
    lack = "needs finished trials of ABEL and of simple decay with one program, one seed and one setting"
    assert first.numbers == second.numbers == lack


def test_abel_is_compared_with_simple_decay_of_the_same_program() -> None:
    simple, abel = seeds("simple", 20.0), seeds("abel", 20.0)
    seen = evidence([*simple, *abel])

    def told(programs: dict[str, str]) -> list[Held]:
        own = replace(seen, frames=replace(seen.frames, programs=programs))
        return [one.here for one in evaluate_claims(own, ["abel_simple"], 2.0)]

    small, large = ({row["name"]: program for row in simple} for program in ("small", "large"))
    assert told(small | {row["name"]: "small" for row in abel}) == [HELD, HELD]
    assert told(large | {row["name"]: "small" for row in abel}) == [OPEN, OPEN]


def test_a_diverged_trial_counts_as_guessing() -> None:
    simple, abel = seeds("simple", 20.0), seeds("abel", 20.0)
    rows = [*simple, diverged(abel[0]), *abel[1:]]
    assert here(rows, "abel_simple", guessing=90.0) == [OPEN, OPEN], "17.5 points apart on average, and noisy"
    assert here(rows, "learns", guessing=90.0) == [HELD]
    assert here(rows, "learns", guessing=23.0) == [OPEN], "without it they would be 3.0 points below"
    (_, apart) = evaluate_claims(evidence(rows), ["abel_simple"], 2.0)
    assert apart.here is OPEN and apart.numbers.startswith("a trial diverged and counts as guessing, but")


def test_what_learns_is_better_than_guessing() -> None:
    rows = seeds("simple", 20.0)
    assert here(rows, "learns", guessing=90.0) == [HELD]
    assert here(rows, "learns", guessing=21.0) == [NOT]
    assert here(rows, "learns") == [OPEN]


def test_a_gain_is_at_most_the_error_of_guessing() -> None:
    rows = [row | {"final_error": error} for row, error in zip(seeds("simple", 1.0), (0.1, 0.2, 0.3, 9.0), strict=True)]
    (seen,) = evaluate_claims(evidence(rows, 90.0), ["learns"], 2.0)
    assert seen.found is not None and seen.found.low < seen.found.value < seen.found.high <= 90.0


def test_each_row_has_the_error_of_guessing_on_its_own_data() -> None:
    rows, arms = [], {}
    for row, error in (("SST-2", 30.0), ("RTE", 30.0)):
        arms[row] = {"row": row}
        rows += [one | {"kind": "simple"} for one in seeds(row, error)]
    spec = {"arms": arms, "claims": {"tested": ["learns"], "margin": 2.0}}
    guesses = {one["name"]: 50.0 if one["arm"] == "SST-2" else 31.0 for one in rows}
    frames = replace(evidence(rows, spec=spec).frames, chance=Chance(guesses=guesses))
    assert [(one.row, one.here) for one in claims_of(frames, 50.0)] == [("SST-2", HELD), ("RTE", NOT)]
