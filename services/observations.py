"""What a sweep shows of the paper's claims: for each the number that decides, with its interval, and how to read it.

Every function takes the evidence and the margin, and raises `ValueError` with what is lacking where there is no such number.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from services.axes import along, axes, heat, interaction, part, without
from services.comparison import best_setting, by_seed, compare, paired
from services.decay_time import Paired, decay_time
from services.evidence import DECAY, FACTOR, RATE, Course, Evidence
from services.figures import in_words
from services.measures import Floats, Grid, bands, mean_of, measure, rounding
from services.schemas import Interval, Scalar
from services.sensitivity import last_decays


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


class Seen(NamedTuple):
    """The number that decides, what it means, and the verdict where it is not the bound's."""

    found: Interval
    numbers: str
    here: Held | None = None


def tuned(evidence: Evidence, margin: float) -> Seen:
    """ABEL against step-wise, each at its own best."""
    abel, step = (evidence.table(kind, "final") for kind in ("abel", "step"))
    (one, other), apart = compare(abel, step)["best"]
    return Seen(
        apart.value,
        f"ABEL {one:.1f} % at {in_words(dict(best_setting(abel)))}, step-wise {other:.1f} % at "
        f"{in_words(dict(best_setting(step)))}; "
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


def cosine(course: Course) -> Callable[[Evidence, float], Seen]:
    """What cosine gains on simple decay where the norm takes this course."""

    def look(evidence: Evidence, margin: float) -> Seen:
        rates, gains = _gains(evidence, course)
        gain = mean_of(gains.mean(axis=0))
        each = ", ".join(f"{rate}: {row.mean():+.1f}" for rate, row in zip(rates, gains, strict=True))
        return Seen(gain, f"cosine gains {_points(gain)} where the norm {course} (by rate, {each})")

    return look


def early(evidence: Evidence, margin: float) -> Seen:
    """What the earliest decay of a grid costs against the first after ABEL's own."""
    pair = _pair(evidence)
    cost = mean_of(pair.differences)
    early, late = pair.means
    return Seen(
        cost,
        f"after epoch {pair.earlier} {early:.1f} %, after epoch {pair.later} {late:.1f} %: {_points(cost)}",
    )


def timing(evidence: Evidence, margin: float) -> Seen:
    """What that first decay costs against the best other one of the grid."""
    later, table = _pair(evidence).later, evidence.table("decay_at", "minimum")
    others = without(table, DECAY, later)
    _, apart = compare(part(table, DECAY, later), others)["best"]
    best = dict(best_setting(others))[DECAY]
    return Seen(apart.value, f"after epoch {later} against the best other one, {best}: {_points(apart.value)}")


def _pair(evidence: Evidence) -> Paired:
    numbers = decay_time(evidence.runs)
    if numbers is None or numbers.paired is None:
        lack = "it takes one arm of decay_at that varies the decay's epoch alone"
        raise ValueError(numbers.no_pair if numbers else lack)
    return numbers.paired


def last_decay(evidence: Evidence, margin: float) -> Seen:
    """The final error by the epoch of the last decay, against that at 85 % of training."""
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
        f"against epoch {epochs[reference]:g}, {inside.sum()} of {len(means)} epochs from {epochs.min():g} to {epochs.max():g} "
        f"are surely within it and {outside.sum()} surely beyond; the largest difference is {_points(found)}, at "
        f"{np.delete(epochs, reference)[widest]:g}",
        here,
    )


def factor(evidence: Evidence, margin: float) -> Seen:
    """How far ABEL's error spreads over the decay factors."""
    table = evidence.table("abel", "final")
    by_factor = along(table, FACTOR)
    spread = measure("spread", by_factor)
    means = zip(by_factor.settings, by_factor.errors.mean(axis=1), strict=True)
    each = ", ".join(f"{value}: {mean:.1f} %" for ((_, value),), mean in means)
    return Seen(spread, f"mean over the other axes by factor, {each}; spread {_points(spread)}{_joint(table)}")


def _joint(table: Grid) -> str:
    """How rate and factor interact, as the end of a sentence; nothing where that is not known."""
    if RATE not in axes(table):
        return ""
    found = interaction(heat(table, RATE, FACTOR).errors)
    return (
        "" if math.isnan(found.p) else f"; rate and factor interact with p = {found.p:.2g}, {found.points:.1f} points"
    )


def decays(evidence: Evidence, margin: float) -> Seen:
    """How many decays more ABEL makes at the largest factor than at the least."""
    table = evidence.table("abel", "final")
    by_factor = along(table, FACTOR)
    factors = [float(str(value)) for ((_, value),) in by_factor.settings]
    most, least = int(np.argmax(factors)), int(np.argmin(factors))
    rounded = 2 * rounding(part(table, FACTOR, by_factor.settings[most][0][1]))
    more = mean_of(by_factor.decays[most] - by_factor.decays[least], least_variance=rounded)
    means = by_factor.decays.mean(axis=1)
    each = ", ".join(f"{factor:g}: {count:.1f}" for factor, count in zip(factors, means, strict=True))
    return Seen(more, f"decays of a trial by factor, {each}; {_signed(more)} more at the largest than at the least")


def growth(other: str) -> Callable[[Evidence, float], Seen]:
    """How far ABEL is above its best rate on average, less the same for another schedule."""

    def look(evidence: Evidence, margin: float) -> Seen:
        abel, against = (along(evidence.table(kind, "final"), RATE) for kind in ("abel", other))
        (one, two), apart = compare(abel, against)["area"]
        return Seen(
            apart.value,
            f"above its best rate ABEL is {one:.1f} points on average, {other} {two:.1f}: {_points(apart.value)}",
        )

    return look


def extreme(evidence: Evidence, margin: float) -> Seen:
    """By how much ABEL is better at the largest rate than each other schedule."""
    abel = evidence.table("abel", "final")
    rate = max(along(abel, RATE).settings, key=lambda setting: float(str(setting[0][1])))[0][1]
    gains: dict[str, Interval] = {}
    own = part(abel, RATE, rate)
    errors = {"abel": float(by_seed(own)["best"].mean())}
    for kind in ("step", "cosine", "simple"):
        (errors[kind], _), apart = compare(part(evidence.table(kind, "final"), RATE, rate), own)["best"]
        gains[kind] = apart.value
    verdicts = {Bound(margin, math.inf).verdict(gain) for gain in gains.values()}
    here = next(held for held in (Held.NOT_HELD, Held.CANNOT_TELL, Held.HELD) if held in verdicts)
    each = ", ".join(f"{kind} {error:.1f} %" for kind, error in errors.items())
    least = min(gains, key=lambda kind: gains[kind].value)
    return Seen(gains[least], f"at rate {rate}, {each}; {least} less ABEL {_points(gains[least])}", here)


def _points(found: Interval) -> str:
    return f"{_signed(found)} points"


def _signed(found: Interval) -> str:
    bounds = "" if math.isnan(found.low) else f" ({found.low:+.1f}, {found.high:+.1f})"
    return f"{found.value:+.1f}{bounds}"
