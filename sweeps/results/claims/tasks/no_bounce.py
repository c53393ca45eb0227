"""The claims on tasks whose norm does not bounce: their rules, and a sweep's evidence for them.

As in `robustness_evidence`, a function raises `ValueError` with what is missing if there is no deciding number. Whether the norm
bounces is measured, at any strength of L2.
"""

import math
from collections.abc import Mapping

import numpy as np

from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.norm_evidence import LEAST, bounce_depth
from sweeps.results.claims.robustness_claims import ClaimPart, above_margin, within_margin
from sweeps.results.claims.robustness_evidence import Bound, Seen, points_text
from sweeps.results.claims.trial_rows import (
    Row,
    Rows,
    counted_rows,
    final_errors,
    finished_rows,
    mean_count_over_seeds,
    paired_gap,
    rows_of_kind,
    setting_key,
)
from sweeps.results.confidence import level
from sweeps.results.values import Interval
from sweeps.results.wording import bounded
from sweeps.spec.sections import Claim

FIXED_RATE = ("constant", "simple")  # schedules that no bounce changes, in order of preference
PAIRS = "finished trials of ABEL and of simple decay with one program, one seed and one setting"


def depth_of_bounce(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce, in percent, at a fixed rate and before any decay."""
    rows = finished_rows(evidence)
    for kind in FIXED_RATE:
        if own := rows_of_kind(rows, kind):
            return bounce_depth(evidence, own)
    raise ValueError("needs a finished trial of a constant rate or of simple decay")


def decays_after_bounces(evidence: Evidence, margin: float) -> Seen:
    """Return how many decays after a bounce ABEL makes."""
    counts = [(row, float(len(row["bounce_epochs"]))) for row in rows_of_kind(finished_rows(evidence), "abel")]
    found = mean_count_over_seeds(counts, "a finished trial of ABEL")
    return Seen(found, f"ABEL decays {bounded(found)} times after a bounce")


def other_rates(evidence: Evidence, margin: float) -> Seen:
    """Return in how many epochs ABEL's learning rate is not that of simple decay."""
    rates = evidence.rates
    apart = [
        (one, float(np.count_nonzero(rates[one["trial_id"]].dropna() != rates[other["trial_id"]].dropna())))
        for one, other in _pairs(evidence, finished_rows(evidence))
    ]
    found = mean_count_over_seeds(apart, PAIRS)
    return Seen(found, f"in {bounded(found)} epochs ABEL's rate is not that of simple decay")


def apart_from_simple(evidence: Evidence, margin: float) -> Seen:
    """Return ABEL's final error minus simple decay's."""
    pairs = _pairs(evidence, counted_rows(evidence))
    abel, simple = (final_errors(rows) for rows in zip(*pairs, strict=True)) if pairs else ({}, {})
    found = paired_gap(abel, simple, PAIRS)
    return Seen(found, f"ABEL is {points_text(found)} above simple decay")


def better_than_guessing(evidence: Evidence, margin: float) -> Seen:
    """Return how far the final error, averaged over the schedules, is below that of guessing or of random actions."""
    if evidence.guessing is None:
        raise ValueError("needs the error of guessing, which is unknown")
    errors = final_errors(counted_rows(evidence))
    if not errors:
        raise ValueError("needs finished trials")
    reached = level(list(errors.values())).interval()
    found = Interval(*(evidence.guessing - bound for bound in (reached.value, reached.high, reached.low)))
    return Seen(found, f"the final error is {points_text(found)} below that of guessing, {evidence.guessing:.1f} %")


def _pairs(evidence: Evidence, rows: Rows) -> list[tuple[Row, Row]]:
    """Return the trials of ABEL, each with that of simple decay of the same program, seed, setting and length."""
    programs = evidence.frames.programs

    def place(row: Row) -> tuple[str, int, int, str]:
        _, point = setting_key(row)
        return programs.get(row["name"], ""), int(row["seed"]), int(row["epochs"]), point

    simple = {place(row): row for row in rows_of_kind(rows, "simple")}
    return [(row, simple[place(row)]) for row in rows_of_kind(rows, "abel") if place(row) in simple]


def _below(number: float) -> Bound:
    return Bound(-math.inf, number)


WITHOUT_BOUNCE: Mapping[Claim, tuple[ClaimPart, ...]] = {
    "no_bounce": (
        ClaimPart(
            says="In this task the norm does not bounce.",
            rule=f"at a fixed rate it falls or rises by less than {LEAST:g} % around its minimum",
            bound=lambda margin: _below(LEAST),
            look=depth_of_bounce,
        ),
        ClaimPart(
            says="So ABEL makes no decay after a bounce.",
            rule="it makes fewer than one in two trials",
            bound=lambda margin: _below(0.5),
            look=decays_after_bounces,
        ),
    ),
    "abel_simple": (
        ClaimPart(
            says="Without a bounce ABEL's learning rates are those of simple decay.",
            rule="they differ in fewer than one epoch in two trials",
            bound=lambda margin: _below(0.5),
            look=other_rates,
        ),
        ClaimPart(
            says="So its results are those of simple decay.",
            rule="the final errors differ by less than {margin} points",
            bound=within_margin,
            look=apart_from_simple,
        ),
    ),
    "learns": (
        ClaimPart(
            says="The network learns the task.",
            rule="averaged over the schedules, the final error is more than {margin} points below that of guessing, or of random "
            "actions",
            bound=above_margin,
            look=better_than_guessing,
        ),
    ),
}
