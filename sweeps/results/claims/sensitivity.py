"""The numbers of the robustness experiments: rate by decay factor (paper, figure 3), and the last decay (figure S1).

Errors are final errors in percent, of every arm at its best setting and over its grid.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sweeps.results.axes import axes
from sweeps.results.claims.evidence import FACTOR, LAST, RATE, Evidence
from sweeps.results.comparison import Row, best_setting, comparisons
from sweeps.results.grids import Grid
from sweeps.results.measures import measures
from sweeps.results.wording import bounded, in_words, percent, signed

SHOWN = {"best": "at its own best", "mean": "over the grid", "area": "above its own best, over the grid"}


@dataclass(frozen=True, kw_only=True)
class RateByFactor:
    """Arms over rates and factors, ABEL's first.

    Args:
        arms: over both; an arm without a factor varies only its rate. If rate and factor vary one at a time, over rates alone.
        abel: ABEL's arm.
        label: the name in words of the errors.
        by_factor: over factors alone, if rate and factor vary one at a time; else empty.
    """

    arms: Mapping[str, Grid]
    abel: str
    label: str
    by_factor: Mapping[str, Grid] = field(default_factory=dict)

    @property
    def grids(self) -> tuple[Mapping[str, Grid], ...]:
        """Arms that can be compared over one grid: those over both axes, or those over each."""
        return (self.arms, self.by_factor) if self.by_factor else (self.arms,)


@dataclass(frozen=True, kw_only=True)
class LastDecay:
    """ABEL by the epoch of its last decay.

    Args:
        table: errors and decays, one setting per epoch, in ascending order.
        reference: index of the epoch nearest to 85 % of training.
        label: the name in words of the errors.
    """

    table: Grid
    reference: int
    label: str

    @property
    def epochs(self) -> list[float]:
        """The epochs of the last decay."""
        return [float(str(value)) for ((_, value),) in self.table.settings]


def rates_by_factors(evidence: Evidence) -> RateByFactor:
    """Return every arm over rates and factors, which vary together in one arm of each kind, or one at a time in several.

    Raises:
        ValueError: there is no arm of ABEL, an arm varies something else, or a trial has no result.
    """
    named = {kind: arm for arm, kind in reversed(evidence.kinds.items())}  # the first arm of each kind
    kinds = sorted(dict.fromkeys(evidence.kinds.values()), key=lambda kind: kind != "abel")
    arms = {named[kind]: evidence.table(kind, "final", RATE) for kind in kinds}
    one_at_a_time = [kind for kind in kinds if evidence.parts(kind, FACTOR)]
    by_factor = {named[kind]: evidence.table(kind, "final", FACTOR) for kind in one_at_a_time}
    first, *others = arms.values()
    most = {RATE} if by_factor else {RATE, FACTOR}
    varied = set(axes(first)) == most and all({RATE} <= set(axes(other)) <= most for other in others)
    if "abel" not in named or not varied or not all(set(axes(one)) == {FACTOR} for one in by_factor.values()):
        raise ValueError("needs an arm of kind abel that varies rate and factor, and other arms that vary nothing else")
    return RateByFactor(arms=arms, abel=named["abel"], label=evidence.frames.metric.error_label, by_factor=by_factor)


def last_decays(evidence: Evidence) -> LastDecay:
    """Return ABEL's errors over the epochs of its last decay.

    Raises:
        ValueError: its arm varies something else, there are two, or a trial has no result.
    """
    table = evidence.table("abel", "final")
    epochs = axes(table).get(LAST, ())
    if set(axes(table)) != {LAST} or None in epochs:
        raise ValueError("needs an arm of kind abel that varies only its last decay")
    order = np.argsort(np.array(epochs, float))
    ordered = table.of_settings(order.tolist())
    wanted = 0.85 * float(evidence.frames.trials["epochs"].max())
    numbers = LastDecay(table=ordered, reference=0, label=evidence.frames.metric.error_label)
    far = np.abs(np.array(numbers.epochs) - wanted)
    return replace(numbers, reference=int(far.argmin()))


def rate_by_factor_findings(numbers: RateByFactor) -> Iterator[str]:
    """Yield sentences about each arm, then about ABEL compared with each other arm, for each grid."""
    rows = [comparisons(arms, numbers.abel) if numbers.abel in arms else [] for arms in numbers.grids]
    for arms, own in zip(numbers.grids, rows, strict=True):
        yield from _grid_findings(arms, numbers, own)
    if sum(map(len, rows)) > 1:
        yield (
            "Intervals are at 95 %; d is Cohen's d for paired differences with Hedges' correction; p is corrected for all "
            f"comparisons {'of a grid' if numbers.by_factor else 'made here'}, including worst and spread (Benjamini and "
            "Yekutieli)."
        )


def _grid_findings(arms: Mapping[str, Grid], numbers: RateByFactor, rows: Sequence[Row]) -> Iterator[str]:
    abel, label = numbers.abel, numbers.label
    for arm, table in arms.items():
        found = measures(table)
        yield (
            f"{arm} is best at {in_words(dict(best_setting(table)))}, with {percent(found['best'])} final {label}; its mean "
            f"over the grid is {percent(found['mean'])}, its worst {percent(found['worst'])}."
        )
    for arm in dict.fromkeys(row.second for row in rows):
        told = [
            f"{SHOWN[row.measure]} {_difference(row)}" for row in rows if row.second == arm and row.measure in SHOWN
        ]
        yield f"{abel} minus {arm}, in points, paired by seed: {'; '.join(told)}."


def last_decay_findings(numbers: LastDecay) -> Iterator[str]:
    """Yield sentences about the influence of the epoch of the last decay."""
    means, epochs = numbers.table.errors.mean(axis=1), numbers.epochs
    found, reference = measures(numbers.table), numbers.reference
    apart = np.abs(means - means[reference])
    yield (
        f"With its last decay after epoch {epochs[reference]:g}, the nearest to 85 % of training, ABEL's final {numbers.label} "
        f"is {means[reference]:.1f} %; for epochs {epochs[0]:g} to {epochs[-1]:g} it differs from that by {apart.max():.1f} "
        f"points at most. Without the contribution of noise, the spread is {bounded(found['spread'])} points."
    )
    decays = numbers.table.decays.mean(axis=1)
    yield f"It decays {decays.min():.1f} to {decays.max():.1f} times per trial, including the last decay."


def _difference(row: Row) -> str:
    found = row.difference
    if math.isnan(found.value.low):
        return signed(found.value)
    size = "" if math.isnan(found.effect) else f", d = {found.effect:+.1f}"
    sure = "" if math.isnan(row.corrected) else f", p = {row.corrected:.2g}"
    return f"{signed(found.value)[:-1]}{size}{sure})"
