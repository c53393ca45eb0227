"""A sweep's evidence for the paper's claims: for each claim the deciding number, with its interval and its meaning.

Every function takes the evidence and the margin, and raises `ValueError` with what is missing if there is no such number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from sweeps.results.axes import along, at_value, axes, heat, interaction, without
from sweeps.results.claims.decay_time import Paired, decay_time
from sweeps.results.claims.evidence import DECAY, FACTOR, RATE, Evidence, NormShape
from sweeps.results.claims.reported import as_reported
from sweeps.results.claims.sensitivity import last_decays
from sweeps.results.comparison import best_setting, compare, difference, quantities, with_common_seeds
from sweeps.results.confidence import ROUNDING, Difference, Level, Quantity, mean_difference, without_bounds
from sweeps.results.grids import Grid
from sweeps.results.measures import bands, chance_error, has_learned, measure, rounding
from sweeps.results.values import Interval, Scalar
from sweeps.results.wording import in_words, percent, signed

OTHERS = ("step", "cosine", "simple")


class Held(StrEnum):
    """Whether a claim held here."""

    HELD = "held"
    NOT_HELD = "did not hold"
    CANNOT_TELL = "cannot tell"


class Bound(NamedTuple):
    """Bounds on a number: above `low` and below `high`."""

    low: float
    high: float

    def verdict(self, found: Interval) -> Held:
        """Return what an interval says about the bound; NaN is inconclusive."""
        if self.low < found.low and found.high < self.high:
            return Held.HELD
        return Held.NOT_HELD if found.high <= self.low or found.low >= self.high else Held.CANNOT_TELL


class Seen(NamedTuple):
    """The deciding number, its meaning, and the verdict if it is not that of the bound."""

    found: Interval
    numbers: str
    here: Held | None = None


def tuned(evidence: Evidence, margin: float) -> Seen:
    """Compare ABEL with step-wise, each at its best setting."""
    abel, step = (evidence.table(kind, "final") for kind in ("abel", "step"))
    (one, other), apart = compare(abel, step)["best"]
    return Seen(
        apart.value,
        f"ABEL {one:.1f} %{_at(abel)}, step-wise {other:.1f} %{_at(step)}; difference {points_text(apart.value)}",
    )


def _at(table: Grid) -> str:
    """Return an arm's best setting as the end of a phrase; empty if it has no grid."""
    words = in_words(dict(best_setting(table)))
    return f" at {words}" if words else ""


def _gains(evidence: Evidence, course: NormShape) -> dict[Scalar, Difference]:
    """Return what cosine gains over simple decay, by rate, at the rates at which the norm takes this course."""
    reported = as_reported(evidence)
    simple, cosine = with_common_seeds(reported.table("simple", "final"), reported.table("cosine", "final"))
    courses = evidence.courses("simple")
    rates = [rate for rate in axes(cosine).get(RATE, (None,)) if courses.get(rate) is course]
    if not rates:
        told = "; ".join(f"{seen}" if rate is None else f"{rate}: {seen}" for rate, seen in courses.items())
        raise ValueError(f"needs a rate at which the norm {course} in every seed; {told}")
    at = [[table if rate is None else at_value(table, RATE, rate) for table in (simple, cosine)] for rate in rates]
    best = [[quantities(table)["best"] for table in pair] for pair in at]
    return {rate: Difference(one, other) for rate, (one, other) in zip(rates, best, strict=True)}


def cosine_gain(course: NormShape) -> Callable[[Evidence, float], Seen]:
    """Return the function for what cosine gains over simple decay where the norm takes this course."""

    def look(evidence: Evidence, margin: float) -> Seen:
        gains = _gains(evidence, course)
        simple, other = (_average([getattr(one, side) for one in gains.values()]) for side in ("first", "second"))
        gain = difference(simple, other).value
        each = ", ".join(f"{rate}: {one.value:+.1f}" for rate, one in gains.items() if rate is not None)
        by_rate = f" (by rate, {each})" if each else ""
        return Seen(gain, f"cosine gains {points_text(gain)} where the norm {course}{by_rate}")

    return look


def _average(levels: Sequence[Quantity]) -> Level:
    return Level(np.mean([one.by_seed for one in levels], axis=0), float(np.mean([one.value for one in levels])))


def early(evidence: Evidence, margin: float) -> Seen:
    """Compare the earliest decay of a grid with its first decay after ABEL's first bounce decays."""
    pair = _pair(evidence)
    cost = pair.cost
    early, late = pair.means
    return Seen(
        cost,
        f"after epoch {pair.earlier} {early:.1f} %, after epoch {pair.later} {late:.1f} %: {points_text(cost)}",
    )


def timing(evidence: Evidence, margin: float) -> Seen:
    """Compare ABEL, and the grid's first decay after ABEL's first bounce decays, with the grid's best decay."""
    pair, table = _pair(evidence), evidence.table("decay_at", "minimum")
    abel = evidence.table("abel", "minimum")
    others = without(table, DECAY, pair.later)
    (own, reached), apart = compare(abel, table)["best"]
    _, late = compare(at_value(table, DECAY, pair.later), others)["best"]
    here, found = all_keep(Bound(-math.inf, margin), (apart.value, late.value))
    best, other = (dict(best_setting(one))[DECAY] for one in (table, others))
    times = ", ".join(str(epochs[0]) if epochs else "none" for _, epochs in sorted(_bounces(evidence).items()))
    return Seen(
        found,
        f"ABEL, which first decays after epoch {times} (by seed), {own:.1f} %, the grid's best epoch, {best}, {reached:.1f} %: "
        f"{points_text(apart.value)}; epoch {pair.later} against the best other one, {other}: {points_text(late.value)}; "
        "corrected for the choice of the best",
        here,
    )


def _pair(evidence: Evidence) -> Paired:
    numbers = decay_time(evidence.frames, evidence.guessing)
    if numbers is None or numbers.paired is None:
        lack = "needs one arm of kind decay_at that varies only the decay epoch"
        raise ValueError(numbers.no_pair if numbers else lack)
    return numbers.paired


def all_keep(bound: Bound, found: Sequence[Interval]) -> tuple[Held, Interval]:
    """Return the verdict on numbers that must all satisfy a bound, and the number that decided it."""
    verdicts = [bound.verdict(one) for one in found]
    here = next(held for held in (Held.NOT_HELD, Held.CANNOT_TELL, Held.HELD) if held in verdicts)
    return here, found[verdicts.index(here)]


def _bounces(evidence: Evidence) -> Mapping[int, tuple[int, ...]]:
    numbers = decay_time(evidence.frames, evidence.guessing)
    return numbers.bounce_epochs if numbers else {}


def last_decay(evidence: Evidence, margin: float) -> Seen:
    """Compare the final error by epoch of the last decay with that at 85 % of training."""
    numbers = last_decays(evidence)
    table, reference, epochs = numbers.table, numbers.reference, np.array(numbers.epochs)
    low, high = (np.delete(bound[:, reference], reference) for bound in bands(table.errors).above)
    means = np.delete(table.errors.mean(axis=1) - table.errors[reference].mean(), reference)
    inside, outside = (-margin < low) & (high < margin), (low >= margin) | (high <= -margin)
    here = Held.HELD if inside.mean() > 0.5 else Held.NOT_HELD if outside.mean() >= 0.5 else Held.CANNOT_TELL
    widest = int(np.abs(means).argmax())
    found = Interval(float(means[widest]), float(low[widest]), float(high[widest]))
    return Seen(
        found,
        f"compared with epoch {epochs[reference]:g}, {inside.sum()} of {len(means)} epochs from {epochs.min():g} to "
        f"{epochs.max():g} are surely within the margin and {outside.sum()} surely beyond it; the largest difference is "
        f"{points_text(found)}, at epoch {np.delete(epochs, reference)[widest]:g}",
        here,
    )


def factor(evidence: Evidence, margin: float) -> Seen:
    """Return the spread of ABEL's error over the decay factors."""
    table = evidence.table("abel", "final", FACTOR)
    by_factor = along(table, FACTOR)
    spread = measure("spread", by_factor)
    means = zip(by_factor.settings, by_factor.errors.mean(axis=1), strict=True)
    each = ", ".join(f"{value}: {mean:.1f} %" for ((_, value),), mean in means)
    return Seen(spread, f"mean over the other axes by factor, {each}; spread {points_text(spread)}{_joint(table)}")


def _joint(table: Grid) -> str:
    """Return the interaction of rate and factor as the end of a sentence; empty if unknown."""
    if RATE not in axes(table):
        return ""
    found = interaction(heat(table, RATE, FACTOR).errors)
    return (
        "" if math.isnan(found.p) else f"; rate and factor interact with p = {found.p:.2g}, {found.points:.1f} points"
    )


def more_decays(evidence: Evidence, margin: float) -> Seen:
    """Return how many more decays ABEL makes at the largest factor than at the smallest."""
    table = evidence.table("abel", "final", FACTOR)
    by_factor = along(table, FACTOR)
    factors = [float(str(value)) for ((_, value),) in by_factor.settings]
    most, least = int(np.argmax(factors)), int(np.argmin(factors))
    rounded = 2 * rounding(at_value(table, FACTOR, by_factor.settings[most][0][1]))
    more = mean_difference(by_factor.decays[most] - by_factor.decays[least], least_variance=rounded)
    means = by_factor.decays.mean(axis=1)
    each = ", ".join(f"{factor:g}: {count:.1f}" for factor, count in zip(factors, means, strict=True))
    return Seen(more, f"decays per trial by factor, {each}; {signed(more)} more at the largest than at the smallest")


def growth(other: str) -> Callable[[Evidence, float], Seen]:
    """Return the function for ABEL's mean error above its best rate, minus the same for another schedule."""

    def look(evidence: Evidence, margin: float) -> Seen:
        abel, against = (along(evidence.table(kind, "final", RATE), RATE) for kind in ("abel", other))
        (one, two), apart = compare(abel, against)["area"]
        return Seen(
            apart.value,
            f"on average ABEL is {one:.1f} points above its best rate, {other} {two:.1f}: {points_text(apart.value)}",
        )

    return look


def extreme(evidence: Evidence, margin: float) -> Seen:
    """Check whether only ABEL trains at the largest rate, each schedule at its best factor."""
    abel = evidence.table("abel", "final", RATE)
    if abel.guessing is None:
        raise ValueError("needs the error of guessing, which is unknown")
    rate = max(along(abel, RATE).settings, key=lambda setting: float(str(setting[0][1])))[0][1]
    trains = Bound(-math.inf, chance_error(abel.guessing, abel.is_by_hand))
    own, *others = (_at_rate(evidence, kind, rate) for kind in ("abel", *OTHERS))
    here, found = trains.verdict(own), own
    if here is Held.HELD:
        here, found = all_keep(Bound(trains.high, math.inf), others)
    numbers = ", ".join(f"{kind} {percent(one)}" for kind, one in zip(("ABEL", *OTHERS), (own, *others), strict=True))
    told = f"at rate {rate}, {numbers}; guessing is {abel.guessing:g} %"
    if here is Held.NOT_HELD and found is not own:  # the rate is not extreme: at a larger one only ABEL may train
        return Seen(found, f"{told}: another schedule trains too, so no rate of the grid is extreme", Held.CANNOT_TELL)
    return Seen(found, told, here)


def _at_rate(evidence: Evidence, kind: str, rate: Scalar) -> Interval:
    """Return the lowest error at a rate, without bounds if training seeds agree by chance, but with bounds if all guess."""
    table = at_value(evidence.table(kind, "final", RATE), RATE, rate)
    found = measure("best", table)
    trains = table.guessing is not None and has_learned(found, table.guessing, table.is_by_hand)
    return without_bounds(found.value) if trains and found.high - found.low <= ROUNDING else found


def points_text(found: Interval) -> str:
    """Return a difference of errors with its bounds, as text."""
    return f"{signed(found)} points"
