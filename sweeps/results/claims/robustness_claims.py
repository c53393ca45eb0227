"""The rules of the paper's claims: for each part of a claim a bound on one number, and the function that finds the number."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sweeps.results.claims import gains, robustness_evidence
from sweeps.results.claims.evidence import Evidence, NormShape
from sweeps.results.claims.robustness_evidence import Bound, Seen
from sweeps.spec.sections import Claim


@dataclass(frozen=True, kw_only=True)
class ClaimPart:
    """A part of a claim; `bound` is a function of the margin."""

    says: str
    rule: str
    bound: Callable[[float], Bound]
    look: Callable[[Evidence, float], Seen]


def below_margin(margin: float) -> Bound:
    """Below the margin."""
    return Bound(-math.inf, margin)


def above_margin(margin: float) -> Bound:
    """Above the margin."""
    return Bound(margin, math.inf)


def within_margin(margin: float) -> Bound:
    """Nearer to 0 than the margin."""
    return Bound(-margin, margin)


def below_zero(margin: float) -> Bound:
    """Below 0."""
    return Bound(-math.inf, 0.0)


def above_zero(margin: float) -> Bound:
    """Above 0."""
    return Bound(0.0, math.inf)


# Which of its errors counts: `reported.py`.
SIMPLE = "simple decay's final error (with L2 that at the lowest training loss, if it rises after the decay)"

ROBUSTNESS: Mapping[Claim, tuple[ClaimPart, ...]] = {
    "tuned": (
        ClaimPart(
            says="ABEL is level with a tuned step-wise schedule.",
            rule="the final errors, each at its own best setting, differ by less than {margin} points",
            bound=within_margin,
            look=robustness_evidence.tuned,
        ),
    ),
    "cosine": (
        ClaimPart(
            says="Cosine beats simple decay where the norm bounces.",
            rule=f"averaged over the rates at which it bounces, {SIMPLE} is the larger one, at its best factor",
            bound=above_zero,
            look=robustness_evidence.cosine_gain(NormShape.BOUNCES),
        ),
        ClaimPart(
            says="Cosine gains nothing where the norm does not bounce.",
            rule=f"averaged over the rates at which it does not bounce, {SIMPLE} is less than {{margin}} points above cosine's",
            bound=below_margin,
            look=robustness_evidence.cosine_gain(NormShape.LEVELS),
        ),
    ),
    "linear": (
        ClaimPart(
            says="Linear and simple decay are indistinguishable.",
            rule="the final errors in the longest trials, each at the best setting of its grid, differ by less than {margin} "
            "points, paired by seed; that no difference is found is not enough",
            bound=within_margin,
            look=gains.linear_gap,
        ),
    ),
    "decay_time": (
        ClaimPart(
            says="Decaying before the norm has bounced hurts a lot.",
            rule="the error of the grid's earliest decay is more than {margin} points above that of its first decay after ABEL's",
            bound=above_margin,
            look=robustness_evidence.early,
        ),
        ClaimPart(
            says="ABEL's time to decay is near the best.",
            rule="ABEL's error is less than {margin} points above that of the grid's best decay, and so is the error of the "
            "grid's first decay after ABEL's",
            bound=below_margin,
            look=robustness_evidence.timing,
        ),
    ),
    "last_decay": (
        ClaimPart(
            says="The epoch of the last decay barely matters.",
            rule="at more than half of the epochs the final error is within {margin} points of that at 85 % of training, with "
            "simultaneous bounds",
            bound=within_margin,
            look=robustness_evidence.last_decay,
        ),
    ),
    "decay_factor": (
        ClaimPart(
            says="The decay factor barely matters for ABEL's final error.",
            rule="averaged over the other axes, it spreads by less than {margin} points over the factors",
            bound=below_margin,
            look=robustness_evidence.factor,
        ),
        ClaimPart(
            says="The number of decays adjusts: a larger factor leads to more.",
            rule="ABEL decays more often at the largest factor than at the smallest",
            bound=above_zero,
            look=robustness_evidence.more_decays,
        ),
    ),
    "rate": (
        ClaimPart(
            says="ABEL's error grows less with the rate than step-wise's.",
            rule="averaged over the rates, the final error exceeds that of the best rate by less for ABEL",
            bound=below_zero,
            look=robustness_evidence.growth("step"),
        ),
        ClaimPart(
            says="ABEL's error grows less with the rate than cosine's.",
            rule="averaged over the rates, the final error exceeds that of the best rate by less for ABEL",
            bound=below_zero,
            look=robustness_evidence.growth("cosine"),
        ),
        ClaimPart(
            says="At an extreme rate only ABEL trains.",
            rule="at the largest rate, each at its best factor, ABEL's final error is below 90 % of that of guessing, and that "
            "of every other schedule is above it",
            bound=above_margin,
            look=robustness_evidence.extreme,
        ),
    ),
}
