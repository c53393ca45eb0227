"""Annealed schedules: baselines with a new rate at every step that name the end of training.

Cosine and linear decay are the paper's. The others are what the field has used since: they say whether ABEL is simpler than
its rivals, not only than the paper's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from abel import checks, rates
from abel.baselines import Timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Annealed", "Cosine", "InverseSqrt", "Linear", "OneCycle", "WarmupStableDecay"]


@dataclass(frozen=True, kw_only=True)
class Annealed(Timed):
    """A schedule with a new rate at every step, up to the end of training after `epochs`; then the last one."""

    epochs: int  # length of the schedule, usually that of training

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("epochs", checks.whole("epochs", self.epochs, at_least=1))
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be < epochs, {self.epochs}, got {self.warmup_epochs}")


@dataclass(frozen=True, kw_only=True)
class Cosine(Annealed):
    """Cosine decay from the base rate at the end of the warm-up to 0 after `epochs`; a new rate at every step.

    `learning_rate * (1 + cos(pi * progress)) / 2`, where `progress` goes from 0 to 1. The paper gives no formula; this
    one is from the Flax examples, on which the paper's code is based according to the supplement.

    >>> schedule = Cosine(learning_rate=1.0, epochs=1)
    >>> schedule.plan(schedule.init(), epoch=1, examples=2, batch_size=1).learning_rates.tolist()
    [1.0, 0.5]
    """

    kind: Literal["cosine"] = "cosine"

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return rates.warmup(position, self.warmup_epochs) * rates.cosine(position, self.warmup_epochs, self.epochs)


@dataclass(frozen=True, kw_only=True)
class Linear(Annealed):
    """Linear decay from the base rate at the end of the warm-up to 0 after `epochs`; a new rate at every step.

    The paper's complex schedule for language and reinforcement learning; it prints no formula. ALBERT's code, which the
    paper's GLUE runs use, starts the decay at the first step, so its rate drops where the warm-up ends. Without a
    warm-up the two agree.

    >>> schedule = Linear(learning_rate=1.0, epochs=3, warmup_epochs=1)
    >>> state = schedule.init()._replace(epoch=1)
    >>> schedule.plan(state, epoch=2, examples=4, batch_size=1).learning_rates.tolist()
    [1.0, 0.875, 0.75, 0.625]
    """

    kind: Literal["linear"] = "linear"

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return rates.warmup(position, self.warmup_epochs) * rates.linear(position, self.warmup_epochs, self.epochs)


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Annealed):
    """Warm-up, a constant rate, and a cooldown to 0 in the last epochs (WSD: Hu et al., arXiv 2404.06395).

    Before its cooldown it has the rates of `Constant`, so trials of different lengths share one trunk. The cooldown is
    a function of the progress p through it: 1 - p ("linear"), 1 - sqrt(p) ("1-sqrt", the best one of Haegele et al.,
    arXiv 2405.18392, over the last 20 % of training), or (1 + cos(pi * p)) / 2 ("cosine").

    >>> schedule = WarmupStableDecay(learning_rate=1.0, epochs=2, cooldown_epochs=1, cooldown="linear")
    >>> start = schedule.init()
    >>> [schedule.plan(start._replace(epoch=epoch), epoch + 1, 4, 2).learning_rates.tolist() for epoch in (0, 1)]
    [[1.0, 1.0], [1.0, 0.5]]
    """

    cooldown_epochs: int  # length of the cooldown
    cooldown: Literal["linear", "1-sqrt", "cosine"] = "1-sqrt"  # its shape
    kind: Literal["wsd"] = "wsd"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("cooldown_epochs", checks.whole("cooldown_epochs", self.cooldown_epochs, at_least=1))
        self._set("cooldown", checks.choice("cooldown", self.cooldown, tuple(rates.COOLDOWNS)))
        if self.warmup_epochs + self.cooldown_epochs > self.epochs:
            rule = f"must be <= epochs - warmup_epochs, {self.epochs - self.warmup_epochs}"
            raise ValueError(f"cooldown_epochs {rule}, got {self.cooldown_epochs}")

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        start = self.epochs - self.cooldown_epochs
        return rates.warmup(position, self.warmup_epochs) * rates.COOLDOWNS[self.cooldown](position, start, self.epochs)


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Annealed):
    """Decay with the inverse square root of the time, after a linear warm-up to the base rate.

    `learning_rate * min(1, t / w) * sqrt(w / max(t, w))` at time t after a warm-up of w: the schedule of the Transformer
    (Vaswani et al., arXiv 1706.03762, equation 3) and "rsqrt" of the Flax examples, whose constant is
    `learning_rate * sqrt(w)` with w in steps. The paper names it and does not run it.

    >>> schedule = InverseSqrt(learning_rate=1.0, epochs=5, warmup_epochs=1)
    >>> schedule.plan(schedule.init()._replace(epoch=4), epoch=5, examples=4, batch_size=4).learning_rates.tolist()
    [0.5]
    """

    warmup_epochs: int = 1
    kind: Literal["inverse_sqrt"] = "inverse_sqrt"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("warmup_epochs", self.warmup_epochs, at_least=1)

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        import numpy as np

        time = np.minimum(position, self.epochs)
        return rates.warmup(time, self.warmup_epochs) * rates.inverse_sqrt(time, self.warmup_epochs)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Annealed):
    """One rise to the base rate and one longer fall far below the start (Smith and Topin, arXiv 1708.07120).

    Both are half cosines, as by default in PyTorch's OneCycleLR and in `optax.cosine_onecycle_schedule`; momentum is not
    cycled. The cycle is its own warm-up.

    >>> schedule = OneCycle(learning_rate=1.0, epochs=4, peak_share=0.5, div_factor=4.0)
    >>> start = schedule.init()
    >>> [schedule.plan(start._replace(epoch=epoch), epoch + 1, 1, 1).learning_rates.item() for epoch in (0, 1, 2)]
    [0.25, 0.625, 1.0]

    Args:
        learning_rate: the highest rate, reached after `peak_share` of training.
        div_factor: the base rate over the first one.
        final_div_factor: the first rate over the last one.
    """

    peak_share: float = 0.3  # share of training before the highest rate
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    kind: Literal["one_cycle"] = "one_cycle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs:
            raise ValueError(f"warmup_epochs must be 0, as the cycle starts with a rise, got {self.warmup_epochs}")
        self._set("peak_share", checks.decay_factor("peak_share", self.peak_share))
        self._set("div_factor", checks.at_least_one("div_factor", self.div_factor))
        self._set("final_div_factor", checks.at_least_one("final_div_factor", self.final_div_factor))

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        peak, first = self.peak_share * self.epochs, 1.0 / self.div_factor
        return rates.one_cycle(position, peak, self.epochs, first, first / self.final_div_factor)
