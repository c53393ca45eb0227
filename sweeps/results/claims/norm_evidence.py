"""A sweep's evidence for the paper's claims on the shape of the squared norm.

As in `robustness_evidence`, every function raises `ValueError` with what is missing if there is no deciding number. Rises and
falls are in percent of the norm.
"""

from collections import defaultdict
from typing import cast

import numpy as np
import pandas as pd

from abel.curves import Bounce, bounces
from sweeps.results.claims.evidence import COLLAPSE, Evidence
from sweeps.results.claims.layers import TOP, LayerNorms
from sweeps.results.claims.robustness_evidence import Seen, points_text
from sweeps.results.claims.trial_rows import (
    SCALE,
    Row,
    Rows,
    final_errors,
    finished_rows,
    mean_over_seeds,
    program_value,
    rows_by_l2,
    rows_of_kind,
    seed_differences,
    seed_means,
)
from sweeps.results.confidence import mean_difference
from sweeps.results.wording import bounded, signed

FIXED_RATE = ("constant", "step", "abel")  # whose rate does not change before their first decay, in order of preference


def bounce(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce, at a fixed rate and before any decay."""
    rows = _at_fixed_rate(rows_by_l2(evidence)[0], "above 0")
    return _depth(evidence, rows)


def milestone(evidence: Evidence, margin: float) -> Seen:
    """Return how many epochs after the norm's minimum a step-wise schedule first decays."""
    rows = [row for row in rows_of_kind(finished_rows(evidence), "step") if row["decay_epochs"]]
    after = [(row, row["decay_epochs"][0] - _before_decay(evidence, row).minimum) for row in rows]
    found = mean_over_seeds(seed_means(after), "a finished step-wise trial that decays")
    return Seen(found, f"the first milestone is {signed(found)} epochs after the norm's minimum")


def falls_again(evidence: Evidence, margin: float) -> Seen:
    """Return by how much the norm falls after ABEL's first decay after a bounce, until the next decay."""
    fallen = []
    for row in rows_of_kind(finished_rows(evidence), "abel"):
        if row["bounce_epochs"]:
            first = row["bounce_epochs"][0]
            until = min(
                epoch for epoch in (*row["decay_epochs"], row["epoch"]) if epoch > first or epoch == row["epoch"]
            )
            after = _norms(evidence, row).loc[first:until]
            fallen.append((row, 100 * (1 - after.min() / after.iloc[0])))
    found = mean_over_seeds(seed_means(fallen), "a finished trial of ABEL that decays after a bounce")
    return Seen(found, f"after its first decay the norm falls by {signed(found)} %")


def fall_without_l2(evidence: Evidence, margin: float) -> Seen:
    """Return by how much the norm falls to its minimum, at a fixed rate without L2."""
    rows = _at_fixed_rate(rows_by_l2(evidence)[1], "of 0")
    found = mean_over_seeds(
        seed_means([(row, 100 * _before_decay(evidence, row).fall) for row in rows]), "finished trials"
    )
    return Seen(found, f"the norm falls by {signed(found)} % to its minimum")


def decays_without_l2(evidence: Evidence, margin: float) -> Seen:
    """Return how many decays after a bounce ABEL makes without L2."""
    rows = rows_of_kind(rows_by_l2(evidence)[1], "abel")
    counts = seed_means([(row, len(row["bounce_epochs"])) for row in rows])
    found = mean_over_seeds(counts, "a finished trial of ABEL with an L2 of 0")
    return Seen(found, f"ABEL decays {signed(found)} times after a bounce")


def bounce_at_slowest(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce at the lowest of several rates, in the longest trials there."""
    rates = evidence.base_rates
    rows = _at_fixed_rate(finished_rows(evidence), "of any strength")
    used = {rates[row["trial_id"]] for row in rows}
    if len(used) < 2:
        raise ValueError("needs finished trials at two rates")
    slow = [row for row in rows if rates[row["trial_id"]] == min(used)]
    longest = max(row["epochs"] for row in slow)
    where = f"at rate {min(used):g} in {longest} epochs "
    return _depth(evidence, [row for row in slow if row["epochs"] == longest], where)


def norms_by_scale(evidence: Evidence, margin: float) -> Seen:
    """Return the largest difference of the final norm from that at initial scale 1, in percent of it, at larger scales."""
    by_scale: dict[float, dict[int, float]] = defaultdict(dict)
    for row in finished_rows(evidence):
        by_scale[program_value(evidence.frames, row, SCALE)][row["seed"]] = float(_norms(evidence, row).iloc[-1])
    larger = sorted(scale for scale in by_scale if scale > 1)
    if 1 not in by_scale or not larger:
        raise ValueError("needs finished trials at initial scale 1 and at a larger one")
    plain = by_scale[1]
    apart = {
        seed: max(100 * abs(by_scale[scale].get(seed, norm) / norm - 1) for scale in larger)
        for seed, norm in plain.items()
    }
    found = mean_over_seeds(apart, "finished trials at initial scale 1")
    return Seen(found, f"at scales 1 to {larger[-1]:g} the final norm differs by at most {signed(found)} %")


def smallest_scale_bounce(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce at the smallest initial scale."""
    smallest, _ = _smallest_scale(evidence)
    return _depth(evidence, smallest)


def smallest_scale_error(evidence: Evidence, margin: float) -> Seen:
    """Return how much larger the final error is at the smallest initial scale than at scale 1."""
    smallest, plain = _smallest_scale(evidence)
    found = mean_over_seeds(
        seed_differences(final_errors(smallest), final_errors(plain)), "finished trials at both scales with one seed"
    )
    return Seen(found, f"compared with scale 1 the final error changes by {points_text(found)}")


def extra_decays_of_plateau(evidence: Evidence, margin: float) -> Seen:
    """Return how many more decays a plateau schedule makes than ABEL."""
    rows = finished_rows(evidence)
    plateau, abel = (
        seed_means([(row, len(row["decay_epochs"])) for row in rows_of_kind(rows, kind)])
        for kind in ("plateau", "abel")
    )
    found = mean_over_seeds(seed_differences(plateau, abel), "finished trials of plateau and ABEL with one seed")
    means = [float(np.mean(list(counts.values()))) for counts in (plateau, abel)]
    return Seen(found, f"plateau decays {means[0]:.1f} times, ABEL {means[1]:.1f} times: {signed(found)}")


def share_of_top_layers(evidence: Evidence, margin: float) -> Seen:
    """Return the mean share of the squared norm that the layers with the largest norms hold, in percent."""
    numbers = _layers(evidence)
    found = mean_difference(numbers.share.mean().tolist())
    return Seen(found, f"the {TOP} layers of {numbers.layers} with the largest norms hold {bounded(found)} %")


def change_of_share(evidence: Evidence, margin: float) -> Seen:
    """Return the standard deviation of that share over the epochs, in points."""
    found = mean_difference(_layers(evidence).share.std().tolist())
    return Seen(found, f"over the epochs their share varies by {bounded(found)} points, one standard deviation")


def _layers(evidence: Evidence) -> LayerNorms:
    numbers = evidence.layers
    if numbers is None or numbers.layers <= TOP:
        raise ValueError(f"needs finished trials of a network of more than {TOP} layers, one for each seed")
    return numbers


def _depth(evidence: Evidence, rows: Rows, where: str = "") -> Seen:
    """Return how deep the bounce is: the smaller of the norm's fall to its minimum and its rise after it."""
    wholes = [(row, _before_decay(evidence, row)) for row in rows]
    found = mean_over_seeds(
        seed_means([(row, 100 * min(whole.fall, whole.rise)) for row, whole in wholes]), "finished trials"
    )
    return Seen(found, f"{where}the norm bounces by {signed(found)} %")


def _at_fixed_rate(rows: Rows, strength: str) -> Rows:
    """Return the trials of the first kind of schedule of a fixed rate that there is."""
    for kind in FIXED_RATE:
        if own := rows_of_kind(rows, kind):
            return own
    raise ValueError(f"needs a finished trial with an L2 {strength} of a constant rate, of steps or of ABEL")


def _smallest_scale(evidence: Evidence) -> tuple[Rows, Rows]:
    """Return the finished trials at the smallest initial scale and at scale 1."""
    scales = [(row, program_value(evidence.frames, row, SCALE)) for row in finished_rows(evidence)]
    least = min((scale for _, scale in scales), default=1.0)
    plain = [row for row, scale in scales if scale == 1]
    if least >= 1 or not plain:
        raise ValueError("needs finished trials at initial scale 1 and at a smaller one")
    return [row for row, scale in scales if scale == least], plain


def _before_decay(evidence: Evidence, row: Row) -> Bounce:
    """Return the norm up to the trial's first decay as one bounce."""
    until = row["decay_epochs"][0] if row["decay_epochs"] else row["epoch"]
    found = bounces(_norms(evidence, row).loc[:until]).whole
    if found.fall >= COLLAPSE:
        raise ValueError(f"needs a network that trains; in {row['name']} the norm collapses")
    return found


def _norms(evidence: Evidence, row: Row) -> "pd.Series[float]":
    return cast("pd.Series[float]", evidence.norms[row["trial_id"]].dropna())
