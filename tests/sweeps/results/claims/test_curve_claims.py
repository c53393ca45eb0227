"""Tests for `curve_evidence.py`: rules on what follows ABEL's decays, and on its curve beside those of others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from evidences import evidence, trial

from sweeps.results.claims.paper import Held, evaluate_claims
from sweeps.spec.sections import Claim

HELD, NOT, OPEN = Held.HELD, Held.NOT_HELD, Held.CANNOT_TELL

# Bounces, with ABEL's decays after epochs 5 and 10: the norm falls and rises after each of them.
NORM = (10.0, 6.0, 8.0, 9.0, 8.9, 7.0, 6.0, 8.0, 8.5, 8.4, 6.0, 5.0, 6.0, 7.0)


def here(rows: Sequence[Any], claim: Claim) -> list[Held]:
    return [one.here for one in evaluate_claims(evidence(rows), [claim], 2.0)]


def abel(norm: Sequence[float] = NORM, decays: Sequence[int] = (5, 10), **more: Any) -> list[dict[str, Any]]:
    """Three seeds whose decays after a bounce are these."""
    return [
        trial(
            *("abel", seed, (90.0,) * (len(norm) - 1) + (20.0 + seed / 10,), {}),
            norm=tuple(value * (1 + seed / 1000) for value in norm),
            **{"decay_epochs": tuple(decays), "bounce_epochs": tuple(decays)} | more,
        )
        for seed in range(3)
    ]


def test_after_each_decay_the_norm_falls_and_a_new_minimum_follows() -> None:
    assert here(abel(), "again") == [HELD, HELD]
    (fall, minimum) = evaluate_claims(evidence(abel()), ["again"], 2.0)
    assert (
        fall.numbers.startswith("of 6 decays, the weakest of each trial is followed by a fall of +32.6")
        and fall.source == "section 4.2"
    )
    assert minimum.numbers.startswith("of 6 decays, the weakest of each trial is followed by a bounce of +32.6")


def test_the_second_decay_counts_as_the_first_does() -> None:
    rises = (*NORM[:10], 9.0, 9.5, 10.0, 10.5)
    assert here(abel(rises), "again") == [NOT, NOT], "after the second decay it only rises"
    levels = (*NORM[:10], 6.0, 5.0, 5.0, 5.0)
    assert here(abel(levels), "again") == [HELD, NOT], "after the second decay it falls and levels off"
    noise = (*NORM[:5], 8.6, 8.5, 8.52, 8.4, 8.3, 6.0, 5.0, 6.0, 7.0)
    assert here(abel(noise, (5, 9)), "again") == [HELD, NOT], "what ABEL took for a new minimum is noise"


def test_a_decay_soon_before_the_last_one_says_nothing_of_a_new_minimum() -> None:
    levels = (*NORM[:10], 6.0, 5.0, 5.0, 5.0)
    soon = {"decay_epochs": (5, 10, 11), "forced_epochs": (11,)}
    assert here(abel(levels, (5, 10), **soon), "again") == [HELD, HELD], "that after epoch 5 still counts"
    assert here(abel(levels, (10,), **(soon | {"decay_epochs": (10, 11)})), "again") == [HELD, OPEN]
    later = {"decay_epochs": (10, 13), "forced_epochs": (13,)}
    assert here(abel(levels, (10,), **later), "again") == [HELD, NOT], "the first minimum took two epochs"
    slower = {"rates": (0.1,) * 10 + (0.02,) * 4}
    assert here(abel(levels, (10,), **later, **slower), "again") == [HELD, OPEN], (
        "now a minimum takes five times as many"
    )


def test_a_decay_without_time_is_left_out_whatever_follows_it() -> None:
    """Left out only where no minimum follows, it would favour the claim."""
    soon = {"decay_epochs": (5, 10, 14), "forced_epochs": (14,), "rates": (0.1,) * 10 + (0.001,) * 4}
    assert here(abel(NORM, (5, 10), **soon), "again") == [HELD, HELD]
    (_, minimum) = evaluate_claims(evidence(abel(NORM, (5, 10), **soon)), ["again"], 2.0)
    assert minimum.numbers.startswith("of 3 decays")


def test_a_decay_that_the_last_one_brings_about_says_nothing() -> None:
    """The norm falls as the rate does, which Algorithm 1 takes for the end of a bounce."""
    norm = (*NORM[:10], 8.3, 8.3, 8.3, 8.3)
    late = {"decay_epochs": (5, 10, 11), "bounce_epochs": (5, 11), "forced_epochs": (10,)}
    assert here(abel(norm, **late), "again") == [HELD, HELD]


def test_a_trial_without_a_bounce_decay_cannot_tell() -> None:
    assert here(abel(decays=()), "again") == [OPEN, OPEN]
    assert here(abel(NORM[:5], (5,)), "again") == [OPEN, OPEN], "it decays at the end"


def curve(kind: str, errors: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    unlike = {"abel": 0.0, "step": 0.01, "cosine": 0.03}[kind]
    return [
        trial(kind, seed, tuple(error + seed / 10 + unlike * seed**2 for error in errors), {}, **more)
        for seed in range(3)
    ]


ABEL = (60.0,) * 4 + (30.0,) * 3 + (20.0,) * 3
COSINE = (60.0,) * 4 + (50.0, 45.0, 40.0, 33.0, 26.0, 20.5)


def curves(abel: Sequence[float] = ABEL, cosine: Sequence[float] = COSINE) -> list[dict[str, Any]]:
    step = (60.0,) * 5 + (30.0,) * 2 + (20.0,) * 3
    return [
        *curve("abel", abel, decay_epochs=(4, 7)),
        *curve("step", step, decay_epochs=(5, 7)),
        *curve("cosine", cosine),
    ]


def test_abel_is_like_step_wise_and_cosine_reaches_its_error_late() -> None:
    assert here(curves(), "curves") == [HELD, HELD, HELD]
    like, _, late = evaluate_claims(evidence(curves()), ["curves"], 2.0)
    assert like.numbers.startswith(
        "by epoch, ABEL's test error is 5.0 points from step-wise's and 10.8 from cosine's: +5.8"
    )
    assert late.numbers.endswith("until 90.0 % (90.0 to 90.0) of training") and late.source == "figure 2"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"abel": COSINE}, [NOT, HELD, NOT]),  # like cosine
        ({"cosine": (*COSINE[:9], 26.0)}, [HELD, NOT, HELD]),  # never reaches it
        ({"cosine": (*COSINE[:4], 50.0, 45.0, 40.0, 21.0, 20.5, 20.5)}, [HELD, HELD, NOT]),  # after 70 % of training
    ],
)
def test_other_curves_break_the_rules(changed: Any, expected: list[Held]) -> None:
    assert here(curves(**changed), "curves") == expected


def test_cosine_is_not_late_where_noise_alone_parts_it_from_abel() -> None:
    chance = np.random.default_rng(0)
    plain = np.repeat([60.0, 30.0, 20.0], [20, 15, 15])
    rows = [
        trial(kind, seed, tuple(plain + chance.normal(0, 3, 50)), {}, decay_epochs=decays)
        for kind, decays in (("abel", (20, 35)), ("step", (20, 35)), ("cosine", ()))
        for seed in range(3)
    ]
    assert here(rows, "curves")[2] is NOT


def test_curves_of_different_lengths_are_not_compared() -> None:
    rows = [*curves(), *curve("cosine", (*COSINE, 20.5))]
    assert here([row for row in rows if row["kind"] != "cosine" or row["epochs"] == 11], "curves") == [OPEN, HELD, OPEN]


def test_level_at_the_end_is_not_enough() -> None:
    """The rule of `tuned` holds for the same trials."""
    rows = curves(abel=(60.0,) * 9 + (20.0,))
    assert here(rows, "tuned") == [HELD] and here(rows, "curves")[0] is NOT


def test_curves_need_one_trial_of_each_kind_and_seed() -> None:
    others = [row for row in curves() if row["kind"] != "step"]
    assert here(others, "curves") == [OPEN, HELD, HELD]
    twice = [row | {"trial_id": f"{row['trial_id']} again"} for row in curves() if row["kind"] == "abel"]
    assert here([*curves(), *twice], "curves")[0] is OPEN
