"""The rules of the paper's claims on the shape of the squared norm, and on what schedules gain where it bounces."""

import math
from collections.abc import Callable, Mapping

from sweeps.results.claims import gains, norm_evidence
from sweeps.results.claims.layers import TOP
from sweeps.results.claims.norm_curves import LEAST_RISE
from sweeps.results.claims.robustness_claims import SIMPLE, ClaimPart, above_margin, above_zero, within_margin
from sweeps.results.claims.robustness_evidence import Bound
from sweeps.spec.sections import Claim

LEAST = 100 * LEAST_RISE  # percent of the norm
SAME = 10.0  # percent: norms that differ by less are taken as equal


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
        ClaimPart(
            says="A tuned step-wise schedule decays after the norm has bounced.",
            rule="its first milestone is later than the norm's minimum",
            bound=above_zero,
            look=norm_evidence.milestone,
        ),
        ClaimPart(
            says="After a bounce and its decay the norm falls again.",
            rule="after ABEL's first decay after a bounce it falls, until the next decay",
            bound=above_zero,
            look=norm_evidence.falls_again,
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
            says="On an easy task cosine is level with simple decay although the norm bounces.",
            rule=f"{SIMPLE} differs from cosine's by less than {{margin}} points",
            bound=within_margin,
            look=gains.gain,
        ),
        ClaimPart(
            says="On an easy task the norm still bounces.",
            rule=f"at a fixed rate it falls by more than {LEAST:g} % to its minimum and rises by more than that after it",
            bound=_above(LEAST),
            look=norm_evidence.bounce,
        ),
    ),
    "scale": (
        ClaimPart(
            says="The final norm does not depend on the scale of the initial weights.",
            rule=f"at scales above 1 it differs from that at scale 1 by less than {SAME:g} %",
            bound=_below(SAME),
            look=norm_evidence.norms_by_scale,
        ),
        ClaimPart(
            says="At a very small scale the norm does not bounce.",
            rule=f"at the smallest scale it falls or rises by less than {LEAST:g} % around its minimum",
            bound=_below(LEAST),
            look=norm_evidence.smallest_scale_bounce,
        ),
        ClaimPart(
            says="At a very small scale the error is larger.",
            rule="at the smallest scale the final error is more than {margin} points above that at scale 1",
            bound=above_margin,
            look=norm_evidence.smallest_scale_error,
        ),
    ),
    "plateau": (
        ClaimPart(
            says="A plateau schedule decays far more often than ABEL.",
            rule="it makes more decays",
            bound=above_zero,
            look=norm_evidence.extra_decays_of_plateau,
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
