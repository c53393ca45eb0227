"""The rules of the paper's claims on the shape of the squared norm, on curves, and on what schedules gain where it bounces."""

import math
from collections.abc import Callable, Mapping

from sweeps.results.claims import curve_evidence, gains, norm_evidence
from sweeps.results.claims.layers import TOP
from sweeps.results.claims.norm_evidence import ALIKE, CLEAR, DEEP, LEAST, SAME, SHALLOW, SMALLEST
from sweeps.results.claims.robustness_claims import (
    SIMPLE,
    ClaimPart,
    above_margin,
    above_zero,
    below_margin,
    within_margin,
)
from sweeps.results.claims.robustness_evidence import Bound
from sweeps.spec.sections import Claim

PRINTED_ZERO = 0.1  # percent: the paper prints errors to this, and a training error below it as 0
USUAL = f"at every scale but the {SMALLEST} smallest"


def _above(number: float) -> Callable[[float], Bound]:
    return lambda margin: Bound(number, math.inf)


def _below(number: float) -> Callable[[float], Bound]:
    return lambda margin: Bound(-math.inf, number)


NORM: Mapping[Claim, tuple[ClaimPart, ...]] = {
    "bounce": (
        ClaimPart(
            says="With L2 and a large rate the squared norm falls, has a minimum and rises.",
            rule=f"at a fixed rate it falls by more than {LEAST:g} % to its minimum and rises by more than that after it",
            bound=_above(LEAST),
            look=norm_evidence.bounce,
        ),
    ),
    "milestone": (
        ClaimPart(
            says="A tuned step-wise schedule decays after the norm has bounced.",
            rule="its first milestone is later than the norm's minimum",
            bound=above_zero,
            look=norm_evidence.milestone,
        ),
        ClaimPart(
            says="By then the growth of the norm has slowed.",
            rule="in the first half of the epochs from its minimum to the first milestone it rises more than in the second",
            bound=above_zero,
            look=norm_evidence.slower_growth,
        ),
    ),
    "again": (
        ClaimPart(
            says="After each decay after a bounce the norm falls again.",
            rule="after each of ABEL's decays after a bounce, before its last decay, it falls until the next decay",
            bound=above_zero,
            look=curve_evidence.falls_again,
        ),
        ClaimPart(
            says="Then a new minimum follows.",
            rule=f"after each of these decays it falls by more than {LEAST:g} % to a minimum and rises by more than that after "
            "it, until the next decay; a decay is left out if ABEL's last decay or the end comes before as many relaxation times "
            "as the norm took to its first minimum",
            bound=_above(LEAST),
            look=curve_evidence.new_minimum,
        ),
    ),
    "curves": (
        ClaimPart(
            says="ABEL's curves resemble those of step-wise decay.",
            rule="after the first decay of the two its test error differs less from step-wise's than from cosine's, on average "
            "over the epochs",
            bound=above_zero,
            look=curve_evidence.resemblance,
        ),
        ClaimPart(
            says="Cosine reaches a comparable error.",
            rule="its final error is less than {margin} points above ABEL's",
            bound=below_margin,
            look=curve_evidence.cosine_reaches,
        ),
        ClaimPart(
            says="It does so only very late.",
            rule=f"from ABEL's first decay on its test error is more than {{margin}} points above ABEL's until after "
            f"{curve_evidence.LATE:g} % of training, the time of ABEL's last decay",
            bound=_above(curve_evidence.LATE),
            look=curve_evidence.cosine_is_late,
        ),
    ),
    "no_l2": (
        ClaimPart(
            says="Without L2 the norm rises monotonically.",
            rule=f"at a fixed rate it never falls by more than {LEAST:g} %",
            bound=_below(LEAST),
            look=norm_evidence.fall_without_l2,
        ),
        ClaimPart(
            says="Without L2 ABEL makes no decay after a bounce.",
            rule="it makes fewer than one in two trials",
            bound=_below(0.5),
            look=norm_evidence.decays_without_l2,
        ),
    ),
    "slow_rate": (
        ClaimPart(
            says="At a small rate the norm does not bounce, however long the training.",
            rule=f"at the lowest rate it falls or rises by less than {LEAST:g} % around its minimum, in the longest trials",
            bound=_below(LEAST),
            look=norm_evidence.bounce_at_slowest,
        ),
    ),
    "l2_gap": (
        ClaimPart(
            says="A complex schedule gains more over simple decay with L2 than without.",
            rule=f"{SIMPLE} minus cosine's is larger with L2",
            bound=above_zero,
            look=gains.gain_with_l2,
        ),
        ClaimPart(
            says="Without L2 the schedule makes no difference.",
            rule="without L2 simple decay's and cosine's final errors differ by less than {margin} points",
            bound=within_margin,
            look=gains.gain_without_l2,
        ),
    ),
    "small_rate": (
        ClaimPart(
            says="With L2 a small fixed rate loses to a large one that decays, however long the training.",
            rule="at the lowest constant rate, in the longest trials, the final error is more than {margin} points above "
            f"{SIMPLE}, at a larger rate",
            bound=above_margin,
            look=gains.small_rate_loss,
        ),
        ClaimPart(
            says="A small fixed rate loses far more with L2 than without.",
            rule="what it loses to simple decay is more than {margin} points larger with L2",
            bound=above_margin,
            look=gains.small_rate_loss_with_l2,
        ),
    ),
    "easy": (
        ClaimPart(
            says="On an easy task simple decay reaches a training error of 0.",
            rule=f"its final training error is below {PRINTED_ZERO:g} %, in the longest trials",
            bound=_below(PRINTED_ZERO),
            look=gains.training_error,
        ),
        ClaimPart(
            says="On an easy task cosine is level with simple decay although the norm bounces.",
            rule=f"in the longest trials {SIMPLE} differs from cosine's by less than {{margin}} points",
            bound=within_margin,
            look=gains.gain,
        ),
        ClaimPart(
            says="On an easy task the norm still bounces.",
            rule=f"in the longest trials, at a fixed rate, it falls by more than {LEAST:g} % to its minimum and rises by more "
            "than that after it",
            bound=_above(LEAST),
            look=norm_evidence.bounce_in_longest,
        ),
    ),
    "short_run": (
        ClaimPart(
            says="On an easy task, in a run of a few epochs, the norm does not bounce.",
            rule=f"in the shortest trials, at a fixed rate, it falls or rises by less than {LEAST:g} % around its minimum",
            bound=_below(LEAST),
            look=norm_evidence.bounce_in_shortest,
        ),
        ClaimPart(
            says="Simple decay reaches a training error of 0 all the same.",
            rule=f"its final training error is below {PRINTED_ZERO:g} %, in the shortest trials",
            bound=_below(PRINTED_ZERO),
            look=gains.training_error_in_shortest,
        ),
        ClaimPart(
            says="And cosine is level with it.",
            rule=f"in the shortest trials {SIMPLE} differs from cosine's by less than {{margin}} points",
            bound=within_margin,
            look=gains.gain_in_shortest,
        ),
    ),
    "scale": (
        ClaimPart(
            says="The final norm does not depend on the scale of the initial weights over a range.",
            rule=f"{USUAL} it differs from that at scale 1 by less than {SAME:g} %",
            bound=lambda margin: ALIKE,
            look=norm_evidence.norms_by_scale,
        ),
        ClaimPart(
            says="Nor does the error.",
            rule=f"{USUAL} the final error differs from that at scale 1 by less than {{margin}} points",
            bound=within_margin,
            look=norm_evidence.errors_by_scale,
        ),
        ClaimPart(
            says="At these scales the norm clearly bounces.",
            rule=f"{USUAL} it falls by more than {CLEAR:g} % and then rises by more than that",
            bound=lambda margin: DEEP,
            look=norm_evidence.bounces_by_scale,
        ),
        ClaimPart(
            says="Also if it begins below the minimum that it has at scale 1.",
            rule=f"{USUAL}, where it is below that minimum after the first epoch, it falls by more than {CLEAR:g} % and then "
            "rises by more than that",
            bound=lambda margin: DEEP,
            look=norm_evidence.bounce_from_below,
        ),
        ClaimPart(
            says="At very small scales the norm does not bounce.",
            rule=f"at each of the {SMALLEST} smallest scales it falls by less than {CLEAR:g} % before it rises, or rises by less "
            "than that after it falls",
            bound=lambda margin: SHALLOW,
            look=norm_evidence.smallest_scale_bounces,
        ),
        ClaimPart(
            says="At very small scales the final error is larger.",
            rule=f"at each of the {SMALLEST} smallest scales it is more than {{margin}} points above that at scale 1",
            bound=above_margin,
            look=norm_evidence.smallest_scale_errors,
        ),
    ),
    "plateau": (
        ClaimPart(
            says="A plateau schedule decays more often than ABEL.",
            rule="it makes more decays",
            bound=above_zero,
            look=gains.extra_decays_of_plateau,
        ),
    ),
    "no_plateau": (
        ClaimPart(
            says="Where the loss keeps falling slightly, a plateau schedule never decays.",
            rule="it makes fewer than one decay in two trials",
            bound=_below(0.5),
            look=gains.decays_of_plateau,
        ),
        ClaimPart(
            says="So its error is far above ABEL's.",
            rule="its final error is more than {margin} points above ABEL's",
            bound=above_margin,
            look=gains.plateau_loss,
        ),
    ),
    "layers": (
        ClaimPart(
            says=f"The {TOP} layers with the largest norms hold about half of the squared norm.",
            rule="their share, averaged over the epochs, is 40 to 60 %",
            bound=lambda margin: Bound(40.0, 60.0),
            look=norm_evidence.share_of_top_layers,
        ),
        ClaimPart(
            says="Their share stays the same during training.",
            rule="over the epochs it has a standard deviation below 5 points",
            bound=_below(5.0),
            look=norm_evidence.change_of_share,
        ),
    ),
}
