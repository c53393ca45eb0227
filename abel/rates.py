"""The learning-rate formula: `base * factor**decays * shape(position)` in float64, rounded once to float32.

Every schedule plans through this module, on the host. A second implementation could differ in the last bit, and trials
that train identically would no longer share their training.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from abel import checks
from abel.plans import EpochPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "COOLDOWNS",
    "cosine",
    "epoch_plan",
    "inverse_sqrt",
    "linear",
    "one_cycle",
    "one_minus_sqrt",
    "positions",
    "rounded_up",
    "steps_per_epoch",
    "warmup",
]


def rounded_up(epoch: float) -> int:
    """Return a fractional epoch rounded up to a whole one.

    >>> rounded_up(0.85 * 90)
    77
    >>> rounded_up(0.55 * 100)
    55
    """
    # 0.55 * 100 is 55.00000000000001 in floating point, but 55 is meant.
    return max(1, math.ceil(round(epoch, 9)))


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the number of whole batches in an epoch, at least one."""
    examples = checks.whole("examples", examples, at_least=1)
    if checks.whole("batch_size", batch_size, at_least=1) > examples:
        raise ValueError(f"batch_size must be at most the {examples} examples of an epoch, got {batch_size!r}")
    return examples // batch_size


def positions(epoch: int, steps: int) -> "NDArray[np.float64]":
    """Return the start of each step of `epoch`, in epochs since training began, f64[steps].

    >>> positions(epoch=3, steps=4).tolist()
    [2.0, 2.25, 2.5, 2.75]
    """
    import numpy as np

    return (epoch - 1) + np.arange(steps) / steps


def warmup(position: "NDArray[np.float64]", warmup_epochs: int) -> "NDArray[np.float64]":
    """Return the linear warm-up from 0 to 1, `min(1, position / warmup_epochs)`, f64[steps]."""
    import numpy as np

    return np.minimum(1.0, position / warmup_epochs) if warmup_epochs else np.ones_like(position)


def cosine(position: "NDArray[np.float64]", start: float, end: float) -> "NDArray[np.float64]":
    """Return 1 up to the epoch `start`, half a cosine from there to 0 at the epoch `end`, then 0, f64[steps]."""
    import numpy as np

    return 0.5 * (1.0 + np.cos(np.pi * _progress(position, start, end)))


def linear(position: "NDArray[np.float64]", start: float, end: float) -> "NDArray[np.float64]":
    """Return 1 up to the epoch `start`, a line from there to 0 at the epoch `end`, then 0, f64[steps].

    >>> linear(positions(epoch=3, steps=4), start=1, end=5).tolist()
    [0.75, 0.6875, 0.625, 0.5625]
    """
    return 1.0 - _progress(position, start, end)


def one_minus_sqrt(position: "NDArray[np.float64]", start: float, end: float) -> "NDArray[np.float64]":
    """Return 1 up to the epoch `start`, then 1 - sqrt(progress) to 0 at the epoch `end`, then 0, f64[steps].

    >>> one_minus_sqrt(positions(epoch=2, steps=4), start=1, end=2).tolist()
    [1.0, 0.5, 0.2928932188134524, 0.1339745962155614]
    """
    import numpy as np

    return 1.0 - np.sqrt(_progress(position, start, end))


def inverse_sqrt(position: "NDArray[np.float64]", timescale: float) -> "NDArray[np.float64]":
    """Return 1 up to the epoch `timescale`, then `sqrt(timescale / position)`, f64[steps]."""
    import numpy as np

    return np.sqrt(timescale / np.maximum(position, timescale))


def one_cycle(
    position: "NDArray[np.float64]", peak: float, end: float, first: float, last: float
) -> "NDArray[np.float64]":
    """Return half a cosine from `first` up to 1 at the epoch `peak`, and one down to `last` at the epoch `end`, f64[steps]."""
    import numpy as np

    up = first + (1.0 - first) * (1.0 - cosine(position, 0.0, peak))
    return np.where(position < peak, up, last + (1.0 - last) * cosine(position, peak, end))


COOLDOWNS: Final[dict[str, Callable[["NDArray[np.float64]", float, float], "NDArray[np.float64]"]]] = {
    "linear": linear,
    "1-sqrt": one_minus_sqrt,
    "cosine": cosine,
}


def _progress(position: "NDArray[np.float64]", start: float, end: float) -> "NDArray[np.float64]":
    import numpy as np

    return np.clip((position - start) / (end - start), 0.0, 1.0)


def epoch_plan(rate: float, shape: "NDArray[np.float64]", batch_size: int) -> EpochPlan:
    """Return the plan whose rates are `rate * shape`, rounded to float32 here and nowhere else."""
    import numpy as np

    learning_rates = (rate * shape).astype(np.float32)
    learning_rates.setflags(write=False)
    return EpochPlan(learning_rates, batch_size)
