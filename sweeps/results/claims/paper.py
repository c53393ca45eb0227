"""The paper's claims, each with the rule that decides whether it held in a sweep.

A rule is a bound on one number with its 95 % interval over seeds. The claim *held* if the whole interval satisfies the bound,
and *did not hold* if the whole interval violates it. Otherwise the sweep *cannot tell*, and more seeds would help. If a rule
bounds several numbers, the deciding one is shown. `margin` is the difference in points of test error that counts as none: 0.2
in the paper, more for small networks and few seeds. The intervals are not corrected for multiple comparisons. An arm's best
setting is corrected for its choice (`sweeps/results/comparison.py`).

The rules were written before the results of `fig-s1-cifar10` and `fig-3-cifar10` were seen; those of `fig-s6a-digits` and
`fig-s6a-cifar10` were known. Two rules were corrected later, with all results known: ABEL's time was judged only by the grid's
trials, and an extreme rate by differences of errors, even if nothing trained there. The correction for the best setting was
changed after `fig-3-cifar10` had been seen; see bench/RESULTS.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweeps.results.claims import observations
from sweeps.results.claims.evidence import Evidence, NormShape
from sweeps.results.claims.observations import Bound, Held, Seen
from sweeps.results.frames import Frames
from sweeps.results.values import Interval
from sweeps.spec.sections import Claim, Claims


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """A claim, or a part of one, and a sweep's verdict on it.

    Args:
        claim: its name in a spec.
        source: where the paper makes it.
        says: the claim in words.
        rule: the rule that decides, with the margin filled in.
        here: the verdict.
        found: the deciding number, or None.
        numbers: the observed numbers, or what is missing.
    """

    claim: str
    source: str
    says: str
    rule: str
    here: Held
    found: Interval | None
    numbers: str


@dataclass(frozen=True, kw_only=True)
class _Part:
    says: str
    rule: str
    bound: Callable[[float], Bound]
    look: Callable[[Evidence, float], Seen]


def _below_margin(margin: float) -> Bound:
    return Bound(-math.inf, margin)


def _above_margin(margin: float) -> Bound:
    return Bound(margin, math.inf)


def _within_margin(margin: float) -> Bound:
    return Bound(-margin, margin)


def _below_zero(margin: float) -> Bound:
    return Bound(-math.inf, 0.0)


def _above_zero(margin: float) -> Bound:
    return Bound(0.0, math.inf)


def claims_of(frames: Frames, guessing: float | None = None) -> tuple[ClaimResult, ...]:
    """Return a sweep's verdicts on the claims that its spec names; empty if it names none."""
    asked = frames.spec.get("claims")
    if not asked:
        return ()
    claims = Claims.model_validate(asked)
    return evaluate_claims(Evidence(frames=frames, guessing=guessing), claims.tested, claims.margin)


def evaluate_claims(evidence: Evidence, claims: Sequence[Claim], margin: float) -> tuple[ClaimResult, ...]:
    """Return a sweep's verdicts on claims, part by part."""
    return tuple(_told(evidence, claim, one, margin) for claim in claims for one in _PARTS[claim])


def _told(evidence: Evidence, claim: Claim, one: _Part, margin: float) -> ClaimResult:
    rule = one.rule.format(margin=f"{margin:g}")
    try:
        seen = one.look(evidence, margin)
    except ValueError as lack:
        here, found, numbers = Held.CANNOT_TELL, None, f"{lack}"
    else:
        here, found, numbers = seen.here or one.bound(margin).verdict(seen.found), seen.found, seen.numbers
    return ClaimResult(
        claim=claim, source=SOURCES[claim], says=one.says, rule=rule, here=here, found=found, numbers=numbers
    )


SOURCES: Mapping[Claim, str] = {
    "tuned": "table 1",
    "cosine": "table S2",
    "decay_time": "figure S6",
    "last_decay": "figure S1",
    "decay_factor": "section 3, figure 3b",
    "rate": "section 3, figure 3a",
}

_PARTS: Mapping[Claim, tuple[_Part, ...]] = {
    "tuned": (
        _Part(
            says="ABEL is level with a tuned step-wise schedule.",
            rule="the final errors, each at its own best setting, differ by less than {margin} points",
            bound=_within_margin,
            look=observations.tuned,
        ),
    ),
    "cosine": (
        _Part(
            says="Cosine beats simple decay where the norm bounces.",
            rule="averaged over the rates at which it bounces, simple decay has the larger error, each at the lowest training "
            "loss and simple decay at its best factor",
            bound=_above_zero,
            look=observations.cosine_gain(NormShape.BOUNCES),
        ),
        _Part(
            says="Cosine gains nothing where the norm does not bounce.",
            rule="averaged over the rates at which it does not bounce, cosine gains less than {margin} points",
            bound=_below_margin,
            look=observations.cosine_gain(NormShape.LEVELS),
        ),
    ),
    "decay_time": (
        _Part(
            says="Decaying before the norm has bounced hurts a lot.",
            rule="the error of the grid's earliest decay is more than {margin} points above that of its first decay after ABEL's",
            bound=_above_margin,
            look=observations.early,
        ),
        _Part(
            says="ABEL's time to decay is near the best.",
            rule="ABEL's error is less than {margin} points above that of the grid's best decay, and so is the error of the "
            "grid's first decay after ABEL's",
            bound=_below_margin,
            look=observations.timing,
        ),
    ),
    "last_decay": (
        _Part(
            says="The epoch of the last decay barely matters.",
            rule="at more than half of the epochs the final error is within {margin} points of that at 85 % of training, with "
            "simultaneous bounds",
            bound=_within_margin,
            look=observations.last_decay,
        ),
    ),
    "decay_factor": (
        _Part(
            says="The decay factor barely matters for ABEL's final error.",
            rule="averaged over the other axes, it spreads by less than {margin} points over the factors",
            bound=_below_margin,
            look=observations.factor,
        ),
        _Part(
            says="The number of decays adjusts: a larger factor leads to more.",
            rule="ABEL decays more often at the largest factor than at the smallest",
            bound=_above_zero,
            look=observations.more_decays,
        ),
    ),
    "rate": (
        _Part(
            says="ABEL's error grows less with the rate than step-wise's.",
            rule="averaged over the rates, the final error exceeds that of the best rate by less for ABEL",
            bound=_below_zero,
            look=observations.growth("step"),
        ),
        _Part(
            says="ABEL's error grows less with the rate than cosine's.",
            rule="averaged over the rates, the final error exceeds that of the best rate by less for ABEL",
            bound=_below_zero,
            look=observations.growth("cosine"),
        ),
        _Part(
            says="At an extreme rate only ABEL trains.",
            rule="at the largest rate, each at its best factor, ABEL's final error is below 90 % of that of guessing, and that "
            "of every other schedule is above it",
            bound=_above_margin,
            look=observations.extreme,
        ),
    ),
}
