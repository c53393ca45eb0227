"""The paper's claims, each with the rule that decides from a sweep whether it held here.

A rule is a bound on one number with its 95 % interval over seeds. The claim *held* where the whole interval keeps the
bound, and *did not hold* where the whole interval breaks it; else the sweep *cannot tell*, and more seeds would. Where a
rule bounds several numbers, the one that decides is shown. The rules were written before the results of `fig-s1-cifar10`
and `fig-3-cifar10` were seen; those of `fig-s6a-digits` and `fig-s6a-cifar10` were known. Two were mended later, with all
results known: ABEL's time was judged by the grid's trials alone, and an extreme rate by differences of errors, whether or
not anything trained there. Each interval is right by itself: they are not corrected for there being several. `margin` is
how many points of test error count as no difference: 0.2 in the paper, more where networks are small and seeds few.
Where an arm is taken at its best setting, what choosing flatters is taken out (`sweeps/results/comparison.py`; how, was mended
after `fig-3-cifar10` had been seen, as bench/RESULTS.md tells).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweeps.results.claims import observations
from sweeps.results.claims.evidence import Evidence, NormShape
from sweeps.results.claims.observations import Bound, Held, Seen
from sweeps.results.frames import Frames
from sweeps.results.values import Interval
from sweeps.spec.models import Claim, Claims


@dataclass(frozen=True, kw_only=True)
class Told:
    """A claim, or a part of one, and what a sweep says of it.

    Args:
        claim: its name in a spec.
        source: where the paper makes it.
        says: what it says.
        rule: what has to be so here, the margin filled in.
        here: whether it is.
        found: the number that decided; None where there is none.
        numbers: what was seen, or what is lacking.
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


def claims_of(frames: Frames, guessing: float | None = None) -> tuple[Told, ...]:
    """What a sweep says of the claims that its spec names; nothing where it names none."""
    asked = frames.spec.get("claims")
    if not asked:
        return ()
    claims = Claims.model_validate(asked)
    return claims_told(Evidence(frames=frames, guessing=guessing), claims.tested, claims.margin)


def claims_told(evidence: Evidence, claims: Sequence[Claim], margin: float) -> tuple[Told, ...]:
    """What a sweep says of some claims, part by part."""
    return tuple(_told(evidence, claim, one, margin) for claim in claims for one in _PARTS[claim])


def _told(evidence: Evidence, claim: Claim, one: _Part, margin: float) -> Told:
    rule = one.rule.format(margin=f"{margin:g}")
    try:
        seen = one.look(evidence, margin)
    except ValueError as lack:
        here, found, numbers = Held.CANNOT_TELL, None, f"{lack}"
    else:
        here, found, numbers = seen.here or one.bound(margin).verdict(seen.found), seen.found, seen.numbers
    return Told(claim=claim, source=SOURCES[claim], says=one.says, rule=rule, here=here, found=found, numbers=numbers)


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
            rule="over the rates at which it does, simple decay has the larger error, at its best factor and least training loss",
            bound=_above_zero,
            look=observations.cosine_gain(NormShape.BOUNCES),
        ),
        _Part(
            says="Cosine gains nothing where the norm does not bounce.",
            rule="over the rates at which it does not, cosine gains less than {margin} points",
            bound=_below_margin,
            look=observations.cosine_gain(NormShape.LEVELS),
        ),
    ),
    "decay_time": (
        _Part(
            says="Decaying before the norm has bounced hurts much.",
            rule="the grid's earliest decay costs more than {margin} points against its first after ABEL's own",
            bound=_above_margin,
            look=observations.early,
        ),
        _Part(
            says="ABEL's time to decay is near the best.",
            rule="ABEL's error is less than {margin} points above that of the grid's best decay, and so is that of the grid's "
            "first decay after ABEL's own",
            bound=_below_margin,
            look=observations.timing,
        ),
    ),
    "last_decay": (
        _Part(
            says="The epoch of the last decay barely matters.",
            rule="at more than half of the epochs the final error is within {margin} points of that at 85 % of training, by "
            "bounds that hold for all at once",
            bound=_within_margin,
            look=observations.last_decay,
        ),
    ),
    "decay_factor": (
        _Part(
            says="The decay factor barely matters for ABEL's final error.",
            rule="its mean over the other axes spreads by less than {margin} points over the factors",
            bound=_below_margin,
            look=observations.factor,
        ),
        _Part(
            says="The number of decays adjusts: a larger factor has more.",
            rule="ABEL decays more often at the largest factor than at the least",
            bound=_above_zero,
            look=observations.more_decays,
        ),
    ),
    "rate": (
        _Part(
            says="ABEL's error grows less with the rate than step-wise's.",
            rule="over the rates, ABEL's final error is on average less far above that of its best rate",
            bound=_below_zero,
            look=observations.growth("step"),
        ),
        _Part(
            says="ABEL's error grows less with the rate than cosine's.",
            rule="over the rates, ABEL's final error is on average less far above that of its best rate",
            bound=_below_zero,
            look=observations.growth("cosine"),
        ),
        _Part(
            says="At an extreme rate ABEL alone trains.",
            rule="at the largest rate, each at its best factor, ABEL's final error is below 90 % of that of guessing, and every "
            "other one is above it",
            bound=_above_margin,
            look=observations.extreme,
        ),
    ),
}
