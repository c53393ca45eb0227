"""The paper's claims, each with the rule that decides from a sweep whether it held here.

A rule is a bound on one number with its 95 % interval over seeds. The claim *held* where the whole interval keeps the
bound, and *did not hold* where the whole interval breaks it; else the sweep *cannot tell*, and more seeds would. The
rules were written before the results of `fig-s1-cifar10` and `fig-3-cifar10` were seen; those of `fig-s6a-digits` and
`fig-s6a-cifar10` were known. Each interval is right by itself: they are not corrected for there being several. `margin` is
how many points of test error count as no difference: 0.2 in the paper, more where networks are small and seeds few.
Where an arm is taken at its best setting, what choosing flatters is taken out (`services/comparison.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from services.axes import along, axes, heat, interaction, part
from services.comparison import best_setting, by_seed, compare, difference, paired
from services.decay_time import decay_time
from services.evidence import FACTOR, LAST, RATE, Course, Evidence
from services.measures import Floats, Grid, bands, mean_of, measure, rounding
from services.schemas import Interval, Scalar
from sweeps.shape import Claim


class Held(StrEnum):
    """Whether a claim held here."""

    HELD = "held"
    NOT_HELD = "did not hold"
    CANNOT_TELL = "cannot tell"


class Bound(NamedTuple):
    """What a number must keep: above `low` and below `high`."""

    low: float
    high: float

    def verdict(self, found: Interval) -> Held:
        """What an interval says of the bound; NaN says nothing."""
        if self.low < found.low and found.high < self.high:
            return Held.HELD
        return Held.NOT_HELD if found.high <= self.low or found.low >= self.high else Held.CANNOT_TELL


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


class _Seen(NamedTuple):
    """The number that decides, what it means, and the verdict where it is not the bound's."""

    found: Interval
    numbers: str
    here: Held | None = None


@dataclass(frozen=True, kw_only=True)
class _Part:
    says: str
    rule: str
    bound: Callable[[float], Bound]
    look: Callable[[Evidence, float], _Seen]


def _below_margin(margin: float) -> Bound:
    return Bound(-np.inf, margin)


def _above_margin(margin: float) -> Bound:
    return Bound(margin, np.inf)


def _within_margin(margin: float) -> Bound:
    return Bound(-margin, margin)


def _below_zero(margin: float) -> Bound:
    return Bound(-np.inf, 0.0)


def _above_zero(margin: float) -> Bound:
    return Bound(0.0, np.inf)


def told(evidence: Evidence, claims: Sequence[Claim], margin: float) -> tuple[Told, ...]:
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


def _tuned(evidence: Evidence, margin: float) -> _Seen:
    abel, step = (evidence.table(kind, "final") for kind in ("abel", "step"))
    (one, other), apart = compare(abel, step)["best"]
    return _Seen(
        apart.value,
        f"ABEL {one:.1f} % at {_at(best_setting(abel))}, step-wise {other:.1f} % at {_at(best_setting(step))}; "
        f"difference {_points(apart.value)}",
    )


def _gains(evidence: Evidence, course: Course) -> tuple[list[Scalar], Floats]:
    """What cosine gains on simple decay, f64[rates, seeds], at the rates at which the norm does this."""
    simple, cosine = paired(evidence.table("simple", "selected"), evidence.table("cosine", "selected"))
    courses = evidence.courses("simple")
    rates = [rate for rate in axes(cosine).get(RATE, ()) if courses.get(rate) is course]
    if not rates:
        told = "; ".join(f"{rate}: {seen}" for rate, seen in courses.items())
        raise ValueError(f"it takes a rate at which the norm {course} in every seed; {told}")
    gains = [by_seed(part(simple, RATE, rate))["best"] - by_seed(part(cosine, RATE, rate))["best"] for rate in rates]
    return rates, np.array(gains)


def _cosine(course: Course) -> Callable[[Evidence, float], _Seen]:
    def look(evidence: Evidence, margin: float) -> _Seen:
        rates, gains = _gains(evidence, course)
        gain = mean_of(gains.mean(axis=0))
        each = ", ".join(f"{rate}: {row.mean():+.1f}" for rate, row in zip(rates, gains, strict=True))
        return _Seen(gain, f"cosine gains {_points(gain)} where the norm {course} (by rate, {each})")

    return look


def _early(evidence: Evidence, margin: float) -> _Seen:
    numbers = decay_time(evidence.runs)
    if numbers is None or numbers.paired is None:
        raise ValueError(
            numbers.no_pair if numbers else "it takes one arm of decay_at that varies the decay's epoch alone"
        )
    pair = numbers.paired
    cost = mean_of(pair.differences)
    early, late = pair.means
    return _Seen(
        cost,
        f"after epoch {pair.earlier} {early:.1f} %, after epoch {pair.later} {late:.1f} %: {_points(cost)}",
    )


def _timing(evidence: Evidence, margin: float) -> _Seen:
    numbers = decay_time(evidence.runs)
    if numbers is None or numbers.paired is None:
        raise ValueError(
            numbers.no_pair if numbers else "it takes one arm of decay_at that varies the decay's epoch alone"
        )
    later, table = numbers.paired.later, evidence.table("decay_at", "minimum")
    apart = difference(part(table, "schedule.decay_epoch", later).errors[0], by_seed(table)["best"])
    best = dict(best_setting(table))["schedule.decay_epoch"]
    return _Seen(
        apart.value, f"after epoch {later} against the best of the grid, mostly {best}: {_points(apart.value)}"
    )


def _last_decay(evidence: Evidence, margin: float) -> _Seen:
    table = along(evidence.table("abel", "final"), LAST)
    epochs = np.array([float(str(value)) for ((_, value),) in table.settings])
    length = float(evidence.runs.trials["epochs"].max())
    reference = int(np.abs(epochs - 0.85 * length).argmin())
    low, high = (np.delete(bound[:, reference], reference) for bound in bands(table.errors).above)
    means = np.delete(table.errors.mean(axis=1) - table.errors[reference].mean(), reference)
    inside, outside = (-margin < low) & (high < margin), (low >= margin) | (high <= -margin)
    here = Held.HELD if inside.mean() > 0.5 else Held.NOT_HELD if outside.mean() >= 0.5 else Held.CANNOT_TELL
    widest = int(np.abs(means).argmax())
    found = Interval(float(means[widest]), float(low[widest]), float(high[widest]))
    return _Seen(
        found,
        f"against epoch {epochs[reference]:g}, {inside.sum()} of {len(means)} epochs from {epochs.min():g} to {epochs.max():g} "
        f"are surely within it and {outside.sum()} surely beyond; the largest difference is {_points(found)}, at "
        f"{np.delete(epochs, reference)[widest]:g}",
        here,
    )


def _factor(evidence: Evidence, margin: float) -> _Seen:
    table = evidence.table("abel", "final")
    by_factor = along(table, FACTOR)
    spread = measure("spread", by_factor)
    each = ", ".join(f"{value}: {row.mean():.1f} %" for ((_, value),), row in _rows(by_factor))
    joint = ""
    if RATE in axes(table):
        found = interaction(heat(table, RATE, FACTOR).errors)
        joint = f"; rate and factor interact with p = {found.p:.2g}, {found.points:.1f} points"
    return _Seen(spread, f"mean over the other axes by factor, {each}; spread {_points(spread)}{joint}")


def _decays(evidence: Evidence, margin: float) -> _Seen:
    table = evidence.table("abel", "final")
    by_factor = along(table, FACTOR)
    factors = [float(str(value)) for ((_, value),) in by_factor.settings]
    most, least = int(np.argmax(factors)), int(np.argmin(factors))
    rounded = 2 * rounding(part(table, FACTOR, by_factor.settings[most][0][1]))
    more = mean_of(by_factor.decays[most] - by_factor.decays[least], least_variance=rounded)
    means = by_factor.decays.mean(axis=1)
    each = ", ".join(f"{factor:g}: {count:.1f}" for factor, count in zip(factors, means, strict=True))
    return _Seen(more, f"decays of a trial by factor, {each}; {_signed(more)} more at the largest than at the least")


def _growth(other: str) -> Callable[[Evidence, float], _Seen]:
    def look(evidence: Evidence, margin: float) -> _Seen:
        abel, against = (along(evidence.table(kind, "final"), RATE) for kind in ("abel", other))
        (one, two), apart = compare(abel, against)["area"]
        return _Seen(
            apart.value,
            f"above its best rate ABEL is {one:.1f} points on average, {other} {two:.1f}: {_points(apart.value)}",
        )

    return look


def _extreme(evidence: Evidence, margin: float) -> _Seen:
    abel = evidence.table("abel", "final")
    rate = max(along(abel, RATE).settings, key=lambda setting: float(str(setting[0][1])))[0][1]
    gains: dict[str, Interval] = {}
    errors = {"abel": by_seed(part(abel, RATE, rate))["best"]}
    for kind in ("step", "cosine", "simple"):
        own, other = paired(abel, evidence.table(kind, "final"))
        errors[kind], mine = (by_seed(part(table, RATE, rate))["best"] for table in (other, own))
        gains[kind] = difference(errors[kind], mine).value
    verdicts = {_above_margin(margin).verdict(gain) for gain in gains.values()}
    here = next(held for held in (Held.NOT_HELD, Held.CANNOT_TELL, Held.HELD) if held in verdicts)
    each = ", ".join(f"{kind} {error.mean():.1f} %" for kind, error in errors.items())
    least = min(gains, key=lambda kind: gains[kind].value)
    return _Seen(gains[least], f"at rate {rate}, {each}; {least} less ABEL {_points(gains[least])}", here)


def _rows(table: Grid) -> Iterator[tuple[tuple[tuple[str, Scalar], ...], Floats]]:
    return zip(table.settings, table.errors, strict=True)


def _at(setting: Sequence[tuple[str, Scalar]]) -> str:
    return ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in setting)


def _points(found: Interval) -> str:
    return f"{_signed(found)} points"


def _signed(found: Interval) -> str:
    return f"{found.value:+.1f} ({found.low:+.1f}, {found.high:+.1f})"


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
            look=_tuned,
        ),
    ),
    "cosine": (
        _Part(
            says="Cosine beats simple decay where the norm bounces.",
            rule="over the rates at which it does, simple decay has the larger error, at its best factor and least training loss",
            bound=_above_zero,
            look=_cosine(Course.BOUNCES),
        ),
        _Part(
            says="Cosine gains nothing where the norm does not bounce.",
            rule="over the rates at which it does not, cosine gains less than {margin} points",
            bound=_below_margin,
            look=_cosine(Course.LEVELS),
        ),
    ),
    "decay_time": (
        _Part(
            says="Decaying before the norm has bounced hurts much.",
            rule="the grid's earliest decay costs more than {margin} points against its first after ABEL's own",
            bound=_above_margin,
            look=_early,
        ),
        _Part(
            says="ABEL's time to decay is near the best.",
            rule="that first decay after ABEL's own costs less than {margin} points against the grid's best",
            bound=_below_margin,
            look=_timing,
        ),
    ),
    "last_decay": (
        _Part(
            says="The epoch of the last decay barely matters.",
            rule="at more than half of the epochs the final error is within {margin} points of that at 85 % of training, by "
            "bounds that hold for all at once",
            bound=_within_margin,
            look=_last_decay,
        ),
    ),
    "decay_factor": (
        _Part(
            says="The decay factor barely matters for ABEL's final error.",
            rule="its mean over the other axes spreads by less than {margin} points over the factors",
            bound=_below_margin,
            look=_factor,
        ),
        _Part(
            says="The number of decays adjusts: a larger factor has more.",
            rule="ABEL decays more often at the largest factor than at the least",
            bound=_above_zero,
            look=_decays,
        ),
    ),
    "rate": (
        _Part(
            says="ABEL's error grows less with the rate than step-wise's.",
            rule="over the rates, ABEL's final error is on average less far above that of its best rate",
            bound=_below_zero,
            look=_growth("step"),
        ),
        _Part(
            says="ABEL's error grows less with the rate than cosine's.",
            rule="over the rates, ABEL's final error is on average less far above that of its best rate",
            bound=_below_zero,
            look=_growth("cosine"),
        ),
        _Part(
            says="At an extreme rate ABEL alone trains.",
            rule="at the largest rate, each at its best factor, every other final error is larger by more than {margin} points",
            bound=_above_margin,
            look=_extreme,
        ),
    ),
}
