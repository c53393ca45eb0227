"""The numbers of the robustness experiments: rate by decay factor (paper, figure 3), and the last decay (figure S1).

Errors are final test errors in percent. Every arm is taken as a grid, at its best setting and over it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
    """Arms over rates and factors, that of ABEL first; an arm without a factor varies its rate alone."""

    arms: Mapping[str, Grid]
    abel: str


@dataclass(frozen=True, kw_only=True)
class LastDecay:
    """ABEL by the epoch of its last decay.

    Args:
        table: errors and decays, one setting for each epoch, in ascending order.
        reference: the index of the epoch that is nearest to 85 % of training.
    """

    table: Grid
    reference: int

    @property
    def epochs(self) -> list[float]:
        """The epochs."""
        return [float(str(value)) for ((_, value),) in self.table.settings]


def rates_by_factors(evidence: Evidence) -> RateByFactor:
    """Every arm over rates and factors.

    Raises:
        ValueError: an arm varies something else, there are two of one kind, or a trial has no result.
    """
    kinds = [kind for kind in dict.fromkeys(evidence.kinds.values()) if kind != "abel"]
    arms = {evidence.arm(kind): evidence.table(kind, "final") for kind in ("abel", *kinds)}
    first, *others = arms.values()
    if set(axes(first)) != {RATE, FACTOR} or not all({RATE} <= set(axes(other)) <= {RATE, FACTOR} for other in others):
        raise ValueError("it takes an arm of abel that varies rate and factor, and others that vary no more")
    return RateByFactor(arms=arms, abel=evidence.arm("abel"))


def last_decays(evidence: Evidence) -> LastDecay:
    """ABEL over the epochs of its last decay.

    Raises:
        ValueError: its arm varies something else, there are two, or a trial has no result.
    """
    table = evidence.table("abel", "final")
    epochs = axes(table).get(LAST, ())
    if set(axes(table)) != {LAST} or None in epochs:
        raise ValueError("it takes an arm of abel that varies its last decay alone")
    order = np.argsort(np.array(epochs, float))
    ordered = table.of_settings(order.tolist())
    wanted = 0.85 * float(evidence.frames.trials["epochs"].max())
    places = LastDecay(table=ordered, reference=0).epochs
    return LastDecay(table=ordered, reference=min(range(len(places)), key=lambda place: abs(places[place] - wanted)))


def rate_by_factor_findings(numbers: RateByFactor) -> Iterator[str]:
    """Each arm by itself, then ABEL against each other one."""
    for arm, table in numbers.arms.items():
        found = measures(table)
        yield (
            f"{arm} is best at {in_words(dict(best_setting(table)))}, with {percent(found['best'])} final test error; over its "
            f"grid {percent(found['mean'])}, at its worst {percent(found['worst'])}."
        )
    rows = comparisons(numbers.arms, numbers.abel)
    for arm in dict.fromkeys(row.second for row in rows):
        told = [
            f"{SHOWN[row.measure]} {_difference(row)}" for row in rows if row.second == arm and row.measure in SHOWN
        ]
        yield f"{numbers.abel} less {arm}, in points, paired by seed: {'; '.join(told)}."
    if len(rows) > 1:
        yield (
            "Intervals are at 95 %; d is Cohen's for paired differences with Hedges' correction, p is corrected for all of these "
            "comparisons, those of worst and spread among them (Benjamini and Yekutieli)."
        )


def last_decay_findings(numbers: LastDecay) -> Iterator[str]:
    """How much the epoch of the last decay matters."""
    means, epochs = numbers.table.errors.mean(axis=1), numbers.epochs
    found, reference = measures(numbers.table), numbers.reference
    apart = np.abs(means - means[reference])
    yield (
        f"With its last decay after epoch {epochs[reference]:g}, the nearest to 85 % of training, ABEL's final test error is "
        f"{means[reference]:.1f} %; from epoch {epochs[0]:g} to {epochs[-1]:g} it differs from that by {apart.max():.1f} points "
        f"at most. What noise leaves of the spread is {bounded(found['spread'])} points."
    )
    decays = numbers.table.decays.mean(axis=1)
    yield f"It decays {decays.min():.1f} to {decays.max():.1f} times in a trial, the last decay among them."


def _difference(row: Row) -> str:
    found = row.difference
    if math.isnan(found.value.low):
        return signed(found.value)
    size = "" if math.isnan(found.effect) else f", d = {found.effect:+.1f}"
    sure = "" if math.isnan(row.corrected) else f", p = {row.corrected:.2g}"
    return f"{signed(found.value)[:-1]}{size}{sure})"
