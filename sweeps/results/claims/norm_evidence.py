"""A sweep's evidence for the paper's claims on the shape of the squared norm.

As in `robustness_evidence`, every function raises `ValueError` with what is missing if there is no deciding number. Rises and
falls are in percent of the norm.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import cast

import numpy as np
import pandas as pd

from abel.curves import Bounce, bounces
from sweeps.results.claims.evidence import COLLAPSE, Evidence
from sweeps.results.claims.layers import TOP, LayerNorms
from sweeps.results.claims.norm_curves import LEAST_RISE
from sweeps.results.claims.robustness_evidence import Bound, Seen, all_keep
from sweeps.results.claims.trial_rows import (
    SCALE,
    Row,
    Rows,
    all_rows,
    final_errors,
    finished_rows,
    longest_rows,
    mean_count_over_seeds,
    mean_over_seeds,
    program_value,
    rows_by_l2,
    rows_of_kind,
    seed_differences,
    seed_means,
    shortest_rows,
)
from sweeps.results.confidence import Floats, mean_difference
from sweeps.results.wording import bounded, signed

LEAST = 100 * LEAST_RISE  # percent of the norm
# Percent of the norm, both ours: the paper calls bounces clear, and final norms the same, by its figure S7 alone.
CLEAR, SAME = 5.0, 10.0
DEEP, SHALLOW, ALIKE = Bound(CLEAR, math.inf), Bound(-math.inf, CLEAR), Bound(-SAME, SAME)
SMALLEST = 2  # initial scales at which the paper's network loses the bounce (figure S7)
# Schedules whose rate does not change before their first decay, in order of preference.
FIXED_RATE = ("constant", "step", "abel", "simple")


def bounce(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce, at a fixed rate and before any decay."""
    rows = rows_at_fixed_rate(rows_by_l2(evidence)[0], "above 0")
    return bounce_depth(evidence, rows)


def bounce_in_longest(evidence: Evidence, margin: float) -> Seen:
    """Return the same of the longest trials."""
    with_l2 = rows_by_l2(evidence)[0]
    rows = rows_at_fixed_rate(longest_rows(with_l2, all_rows(evidence)), "above 0")
    return bounce_depth(evidence, rows, f"in {rows[0]['epochs']} epochs ")


def milestone(evidence: Evidence, margin: float) -> Seen:
    """Return how many epochs after the norm's minimum a step-wise schedule first decays."""
    rows = [row for row in rows_of_kind(finished_rows(evidence), "step") if row["decay_epochs"]]
    after = [(row, row["decay_epochs"][0] - bounce_before_decay(evidence, row).minimum) for row in rows]
    found = mean_over_seeds(seed_means(after), "a finished step-wise trial that decays")
    return Seen(found, f"the first milestone is {signed(found)} epochs after the norm's minimum")


def slower_growth(evidence: Evidence, margin: float) -> Seen:
    """Return how much less the norm rises in the second half of the epochs from its minimum to the first milestone."""
    slower = []
    for row in rows_of_kind(finished_rows(evidence), "step"):
        if row["decay_epochs"]:
            norm, first, last = norm_by_epoch(evidence, row), bounce_before_decay(evidence, row).minimum, _until(row)
            low, half, high = np.interp([first, (first + last) / 2, last], norm.index, norm)
            slower.append((row, 100 * (2 * half - low - high) / low))
    found = mean_over_seeds(seed_means(slower), "a finished step-wise trial that decays")
    return Seen(found, f"of the minimum, the norm rises {signed(found)} % more in the first half than in the second")


def fall_without_l2(evidence: Evidence, margin: float) -> Seen:
    """Return the largest fall of the norm from any earlier epoch, at a fixed rate without L2."""
    falls = []
    for row in rows_at_fixed_rate(rows_by_l2(evidence)[1], "of 0"):
        norm = norm_by_epoch(evidence, row).loc[: _until(row)]
        falls.append((row, 100 * float((1 - norm / norm.cummax()).max())))
    found = mean_over_seeds(seed_means(falls), "finished trials")
    return Seen(found, f"the norm falls by {signed(found)} % at most")


def decays_without_l2(evidence: Evidence, margin: float) -> Seen:
    """Return how many decays after a bounce ABEL makes without L2."""
    rows = rows_of_kind(rows_by_l2(evidence)[1], "abel")
    counts = [(row, float(len(row["bounce_epochs"]))) for row in rows]
    found = mean_count_over_seeds(counts, "a finished trial of ABEL with an L2 of 0")
    return Seen(found, f"ABEL decays {signed(found)} times after a bounce")


def bounce_in_shortest(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce in the shortest of trials of several lengths, with L2 and at a fixed rate."""
    rows = shortest_rows(rows_by_l2(evidence)[0], all_rows(evidence))
    return bounce_depth(evidence, rows_at_fixed_rate(rows, "above 0"), f"in {rows[0]['epochs']} epochs ")


def bounce_at_slowest(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's bounce at the lowest of several rates, in the longest trials there."""
    rates = evidence.base_rates
    rows = rows_at_fixed_rate(finished_rows(evidence), "of any strength")
    used = {rates[row["trial_id"]] for row in rows}
    if len(used) < 2:
        raise ValueError("needs finished trials at two rates")
    slow, among = (
        [row for row in own if rates[row["trial_id"]] == min(used)]
        for own in (rows, rows_of_kind(all_rows(evidence), rows[0]["kind"]))
    )
    longest = longest_rows(slow, among)
    return bounce_depth(evidence, longest, f"at rate {min(used):g} in {longest[0]['epochs']} epochs ")


def norms_by_scale(evidence: Evidence, margin: float) -> Seen:
    """Return the final norm's difference from that at initial scale 1, in percent of it, at the scale where it is decisive."""
    final = {
        scale: seed_means([(row, float(norm_by_epoch(evidence, row).iloc[-1])) for row in rows])
        for scale, rows in _usual_scales(evidence).items()
    }
    apart = {
        scale: {seed: 100 * (norms[seed] / norm - 1) for seed, norm in final[1.0].items() if seed in norms}
        for scale, norms in final.items()
        if scale != 1
    }
    return _at_every_scale(apart, ALIKE, "the final norm differs by {} %")


def errors_by_scale(evidence: Evidence, margin: float) -> Seen:
    """Return the final error's difference from that at initial scale 1, at the scale where it is decisive."""
    errors = {scale: final_errors(rows) for scale, rows in _usual_scales(evidence).items()}
    apart = {scale: seed_differences(errors[scale], errors[1.0]) for scale in errors if scale != 1}
    return _at_every_scale(apart, Bound(-margin, margin), "the final error differs by {} points")


def bounces_by_scale(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's deepest bounce, at the scale where it is decisive."""
    deep = {scale: _dips(evidence, rows) for scale, rows in _usual_scales(evidence).items()}
    return _at_every_scale(deep, DEEP, "the norm bounces by {} %")


def bounce_from_below(evidence: Evidence, margin: float) -> Seen:
    """Return the same at scales at which the norm begins below its minimum at scale 1."""
    scales = _usual_scales(evidence)
    least = np.mean([norm_by_epoch(evidence, row).min() for row in scales[1.0]])
    starts = {scale: np.mean([norm_by_epoch(evidence, row).iloc[0] for row in rows]) for scale, rows in scales.items()}
    below = {scale: _dips(evidence, rows) for scale, rows in scales.items() if starts[scale] < least}
    if not below:
        raise ValueError(
            f"needs a scale, apart from the {SMALLEST} smallest, at which the norm is below the minimum of scale 1 after an epoch"
        )
    return _at_every_scale(below, DEEP, "the norm bounces by {} %")


def smallest_scale_bounces(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the norm's deepest bounce at the smallest scales, where it is decisive."""
    deep = {scale: _dips(evidence, rows) for scale, rows in _smallest_scales(evidence).items()}
    return _at_every_scale(deep, SHALLOW, "the norm bounces by {} %")


def smallest_scale_errors(evidence: Evidence, margin: float) -> Seen:
    """Return how much larger the final error is at the smallest scales than at scale 1, where it is decisive."""
    plain = final_errors(_by_scale(evidence)[1.0])
    apart = {scale: seed_differences(final_errors(rows), plain) for scale, rows in _smallest_scales(evidence).items()}
    return _at_every_scale(apart, Bound(margin, math.inf), "the final error is {} points above that of scale 1")


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


def bounce_depth(evidence: Evidence, rows: Rows, where: str = "") -> Seen:
    """Return how deep the bounce is: the smaller of the norm's fall to its minimum and its rise after it."""
    wholes = [(row, bounce_before_decay(evidence, row)) for row in rows]
    found = mean_over_seeds(
        seed_means([(row, 100 * min(whole.fall, whole.rise)) for row, whole in wholes]), "finished trials"
    )
    return Seen(found, f"{where}the norm bounces by {signed(found)} %")


def rows_at_fixed_rate(rows: Rows, strength: str) -> Rows:
    """Return the trials of the first kind of schedule of a fixed rate that there is."""
    for kind in FIXED_RATE:
        if own := rows_of_kind(rows, kind):
            return own
    raise ValueError(
        f"needs a finished trial with an L2 {strength} of a constant rate, of steps, of ABEL or of simple decay"
    )


def _by_scale(evidence: Evidence) -> dict[float, Rows]:
    """Return the finished trials by initial scale, in ascending order.

    Raises:
        ValueError: there are none at one of the scales; or it lacks scale 1, the smallest scales below it, or another one.
    """
    found: dict[float, list[Row]] = defaultdict(list)
    for row in finished_rows(evidence):
        found[program_value(evidence.frames, row, SCALE)].append(row)
    scales = sorted({program_value(evidence.frames, row, SCALE) for row in all_rows(evidence)})
    if lacking := [scale for scale in scales if scale not in found]:
        raise ValueError(f"needs a finished trial at every initial scale, got none at {lacking[0]:g}")
    if 1 not in scales[SMALLEST:] or len(scales) < SMALLEST + 2:
        raise ValueError(
            f"needs finished trials at initial scale 1, at {SMALLEST} smaller ones, and at one above those"
        )
    return {scale: found[scale] for scale in scales}


def _smallest_scales(evidence: Evidence) -> dict[float, Rows]:
    return dict(list(_by_scale(evidence).items())[:SMALLEST])


def _usual_scales(evidence: Evidence) -> dict[float, Rows]:
    return dict(list(_by_scale(evidence).items())[SMALLEST:])


def _at_every_scale(numbers: Mapping[float, Mapping[int, float]], bound: Bound, says: str) -> Seen:
    """Return the verdict on numbers by scale and seed that must all satisfy a bound, with the number that decided it."""
    found = {
        scale: mean_over_seeds(by_seed, "finished trials at all scales with one seed")
        for scale, by_seed in numbers.items()
    }
    here, decisive = all_keep(bound, list(found.values()))
    each = "; ".join(f"at {scale:g} {says.format(signed(one))}" for scale, one in found.items())
    return Seen(decisive, each, here)


def _dips(evidence: Evidence, rows: Rows) -> dict[int, float]:
    """Return the depth of the norm's deepest bounce by seed; the norm may rise before it, from a small initial scale."""
    return seed_means([(row, _deepest(np.asarray(norm_by_epoch(evidence, row), float))) for row in rows])


def _deepest(norms: Floats) -> float:
    """Return the largest over the epochs of the smaller of the norm's fall before and its rise after."""
    before, after = np.maximum.accumulate(norms), np.maximum.accumulate(norms[::-1])[::-1]
    return 100 * float(np.minimum(1 - norms / before, after / norms - 1).max())


def bounce_before_decay(evidence: Evidence, row: Row) -> Bounce:
    """Return the norm up to the trial's first decay as one bounce."""
    found = bounces(norm_by_epoch(evidence, row).loc[: _until(row)]).whole
    if found.fall >= COLLAPSE:
        raise ValueError(f"needs a network that trains; in {row['name']} the norm collapses")
    return found


def _until(row: Row) -> int:
    """Return the epoch of a trial's first decay, or its last one."""
    return int(row["decay_epochs"][0] if row["decay_epochs"] else row["epoch"])


def norm_by_epoch(evidence: Evidence, row: Row) -> "pd.Series[float]":
    """Return a trial's squared norm by epoch."""
    return cast("pd.Series[float]", evidence.norms[row["trial_id"]].dropna())
