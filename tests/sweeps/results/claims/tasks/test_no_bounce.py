"""The rules on tasks whose norm does not bounce, kept, broken and left open."""

from collections.abc import Sequence
from typing import Any

from evidences import BOUNCE, COLLAPSE, evidence, trial

from sweeps.results.claims.paper import Held, evaluate_claims
from sweeps.spec.sections import Claim

RISE = (10.0, 11.0, 12.0, 13.0)
RATES = (0.1, 0.1, 0.1, 0.01)
HELD, NOT, OPEN = Held.HELD, Held.NOT_HELD, Held.CANNOT_TELL


def here(rows: Sequence[Any], claim: Claim, guessing: float | None = None) -> list[Held]:
    return [one.here for one in evaluate_claims(evidence(rows, guessing), [claim], 2.0)]


def seeds(arm: str, error: float, norm: Sequence[float] = RISE, **more: Any) -> list[dict[str, Any]]:
    """Three seeds of an arm that decays after epoch 3."""
    plain = {"decay_epochs": (3,), "rates": RATES, "norm": norm}
    return [
        trial(arm, seed, (error + 9, error + 2, error + 1, error + shift), {}, **plain | more)
        for seed, shift in enumerate((-0.1, 0.0, 0.1))
    ]


def test_a_norm_that_rises_does_not_bounce() -> None:
    rows = [*seeds("simple", 20.0), *seeds("abel", 20.0, forced_epochs=(3,))]
    assert here(rows, "no_bounce") == [HELD, HELD]


def test_a_norm_that_bounces_breaks_the_claim() -> None:
    rows = [*seeds("simple", 20.0, BOUNCE), *seeds("abel", 20.0, BOUNCE, bounce_epochs=(3,))]
    assert here(rows, "no_bounce") == [NOT, NOT]


def test_a_decay_in_one_of_three_seeds_cannot_tell() -> None:
    abel = seeds("abel", 20.0)
    abel[0]["bounce_epochs"] = (2,)
    assert here([*seeds("simple", 20.0), *abel], "no_bounce") == [HELD, OPEN]


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
    assert first.numbers == "needs finished trials of ABEL and of simple decay with one seed and one setting"


def test_what_learns_is_better_than_guessing() -> None:
    rows = seeds("simple", 20.0)
    assert here(rows, "learns", guessing=90.0) == [HELD]
    assert here(rows, "learns", guessing=21.0) == [NOT]
    assert here(rows, "learns") == [OPEN]
