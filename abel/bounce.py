"""ABEL's state machine, which detects a bounce of the weight norm (paper, Algorithm 1).

Pass the squared weight norm of the whole network at the end of every epoch:

>>> state, events = init(), []
>>> for weight_norm_sq in [10.0, 8.0, 6.0, 5.0, 6.0, 7.0, 8.0, 7.9]:
...     state, event = update(state, weight_norm_sq)
...     events.append(event)
>>> events
[0, 0, 0, 0, 1, 0, 0, 2]

The code uses only operators. Python floats therefore keep double precision on the host, and the same code runs on JAX
arrays under `jit`, `vmap` and `lax.scan`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from abel import checks

if TYPE_CHECKING:
    import jax

    Real = float | jax.Array
    Flag = bool | jax.Array

__all__ = ["DECAY", "MINIMUM", "NONE", "BounceState", "init", "update"]

NONE: Final = 0
MINIMUM: Final = 1
DECAY: Final = 2


class BounceState(NamedTuple):
    """State of Algorithm 1 between epochs; NaN marks a norm not seen yet."""

    previous: Real  # f[]
    before_previous: Real  # f[]
    reached_minimum: Flag  # bool[]
    has_fallen: Flag  # bool[]


def init() -> BounceState:
    """Return the state before the first norm, as Python floats and bools."""
    return BounceState(math.nan, math.nan, False, False)


def update(
    state: BounceState, weight_norm_sq: Real, *, ignore_until_falling: Flag = False
) -> tuple[BounceState, int | jax.Array]:
    """Add a squared norm and return the next state and NONE, MINIMUM or DECAY (paper, Algorithm 1).

    An event is a strict sign change of the norm's slope from one epoch to the next. The first change marks the minimum,
    the second triggers a decay, the third marks the next minimum, and so on. Ties and NaNs are not sign changes:
    comparisons with NaN are false on host and device. `Abel.update` rejects norms that are not finite.

    Args:
        state: from `init` or the last `update`.
        weight_norm_sq: squared L2 norm of all weights at the end of this epoch.
        ignore_until_falling: ignore sign changes until the norm has fallen once. The paper counts them, so if the norm
            rises first, it takes the maximum for the minimum.

    Returns:
        The next state, and the event as an integer.
    """
    state = checks.instance("state", state, BounceState, "from init or the last update")
    if type(weight_norm_sq) is bool or not hasattr(weight_norm_sq, "__sub__"):
        weight_norm_sq = checks.number("weight_norm_sq", weight_norm_sq)
    if type(ignore_until_falling) is not bool and not hasattr(ignore_until_falling, "dtype"):
        ignore_until_falling = checks.flag("ignore_until_falling", ignore_until_falling)
    slope = weight_norm_sq - state.previous
    slope_before = state.previous - state.before_previous
    # Not slope * slope_before < 0: the product of two tiny slopes underflows to zero.
    changed_sign = ((slope > 0) & (slope_before < 0)) | ((slope < 0) & (slope_before > 0))
    counted = changed_sign & (state.has_fallen | (ignore_until_falling ^ True))
    decay = counted & state.reached_minimum
    minimum = counted & (state.reached_minimum ^ True)
    following = BounceState(
        previous=weight_norm_sq,
        before_previous=state.previous,
        reached_minimum=state.reached_minimum ^ counted,
        has_fallen=state.has_fallen | (slope < 0),
    )
    return following, MINIMUM * minimum + DECAY * decay
