"""Decay on plateaus of the training loss: the paper's ReduceLROnPlateau (supplement B.3), which is PyTorch's."""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from abel import checks
from abel.planning import OBSERVED, Decaying, counters, is_ours
from abel.plans import Event, Observation

__all__ = ["Plateau", "PlateauState"]


class PlateauState(NamedTuple):
    """State of `Plateau`: the counters, and PyTorch's best, num_bad_epochs and cooldown_counter."""

    epoch: int = 0
    decays: int = 0
    event: Event = Event.NONE
    best: float = math.inf
    bad_epochs: int = 0
    cooldown_epochs: int = 0

    @property
    def finished(self) -> bool:
        """Always False: the training loop decides when to stop."""
        return False


@dataclass(frozen=True, kw_only=True)
class Plateau(Decaying):
    """A decay when the training loss has not improved for more than `patience` epochs, as in PyTorch 2.13.

    An epoch is good if its mean loss is below `best * (1 - threshold)`; its loss becomes the new best. Any other epoch
    is bad, including one with a NaN loss. Bad epoch `patience + 1` triggers a decay and resets the count. A constant loss
    decays after epochs 12, 23 and 34:

    >>> schedule = Plateau(learning_rate=0.1, decay_factor=0.1)
    >>> state, decays = schedule.init(), []
    >>> for epoch in range(1, 40):
    ...     state = schedule.update(state, Observation(weight_norm_sq=9.0, train_loss=1.0))
    ...     decays += [epoch] if state.event is Event.PLATEAU else []
    >>> decays
    [12, 23, 34]

    `optax.contrib.reduce_on_plateau` decays at bad epoch `patience`, so its 11 corresponds to 10 here and in PyTorch.

    The rate after k decays is `learning_rate * decay_factor**k`, as for all schedules. PyTorch multiplies repeatedly; the
    two differ by rounding. Like PyTorch, this schedule skips a decay that would lower the rate by no more than `eps`:
    with the defaults, a factor of 0.1 does not decay rates below 1.1e-8. A skipped decay resets the count but reports
    no event, as the rate does not change.

    The paper does not say which loss it watches. Warm-up epochs count like all others.

    Args:
        decay_factor: the paper uses 0.1 for ImageNet and 0.2 for CIFAR; its other settings are PyTorch's defaults.
        patience: number of bad epochs without a decay, 0 for none.
        threshold: relative decrease of the loss that counts as an improvement (PyTorch's threshold_mode "rel").
        cooldown: number of epochs after a decay during which bad epochs are not counted.
        min_learning_rate: lower bound of the rate.
        eps: a decay that lowers the rate by no more than this is skipped.
    """

    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_learning_rate: float = 0.0
    eps: float = 1e-8
    kind: Literal["plateau"] = "plateau"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("patience", checks.whole("patience", self.patience, at_least=0))
        self._set("threshold", checks.share("threshold", self.threshold))
        self._set("cooldown", checks.whole("cooldown", self.cooldown, at_least=0))
        self._set("min_learning_rate", checks.not_negative("min_learning_rate", self.min_learning_rate))
        if self.min_learning_rate >= self.learning_rate:
            rule = f"must be < learning_rate, {self.learning_rate}"
            raise ValueError(f"min_learning_rate {rule}, got {self.min_learning_rate}")
        self._set("eps", checks.not_negative("eps", self.eps))

    def _rate(self, decays: int) -> float:
        return max(super()._rate(decays), self.min_learning_rate)

    def _checked(self, given: Any) -> PlateauState:
        state = checks.instance("state", given, PlateauState, "from init or the last update")
        if is_ours(state) and type(state.best) is float:
            return state
        best = checks.number("state.best", state.best)
        bad, cooldown = (
            checks.whole(f"state.{name}", getattr(state, name), at_least=0)
            for name in ("bad_epochs", "cooldown_epochs")
        )
        return PlateauState(*counters(state), best, bad, cooldown)

    def init(self) -> PlateauState:
        """Return the state before the first epoch."""
        return PlateauState()

    def update(self, state: PlateauState, observation: Observation) -> PlateauState:
        """Judge the mean training loss of the epoch just trained."""
        state = self._checked(state)
        observation = checks.instance("observation", observation, Observation, OBSERVED)
        loss, epoch = checks.number("train_loss", observation.train_loss), state.epoch + 1
        good = loss < state.best * (1.0 - self.threshold)
        best = loss if good else state.best
        if state.cooldown_epochs:
            return PlateauState(epoch, state.decays, best=best, cooldown_epochs=state.cooldown_epochs - 1)
        bad_epochs = 0 if good else state.bad_epochs + 1
        if bad_epochs <= self.patience:
            return PlateauState(epoch, state.decays, best=best, bad_epochs=bad_epochs)
        decays = state.decays + (self._rate(state.decays) - self._rate(state.decays + 1) > self.eps)
        event = Event.PLATEAU if decays > state.decays else Event.NONE
        return PlateauState(epoch, decays, event, best, cooldown_epochs=self.cooldown)
