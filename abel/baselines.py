"""The schedules that ABEL is compared with, which look at the clock alone, and what they share with it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from abel import checks, rates
from abel.plans import EpochPlan, Event, Observation, ScheduleState

__all__ = ["Constant", "Cosine", "DecayAt", "Decaying", "Planned", "Simple", "State", "Step", "Timed"]


class State(NamedTuple):
    """State of a schedule that looks at the clock alone."""

    epoch: int = 0
    decays: int = 0
    event: Event = Event.NONE


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Base rate and warm-up, and the one way to a plan, which all schedules share."""

    learning_rate: float
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        self._set("learning_rate", checks.learning_rate("learning_rate", self.learning_rate))
        self._set("warmup_epochs", checks.whole("warmup_epochs", self.warmup_epochs, at_least=0))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _rate(self, decays: int) -> float:
        return self.learning_rate

    def _shape(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        return rates.warmup(position, self.warmup_epochs)

    def plan(self, state: ScheduleState, epoch: int, examples: int, batch_size: int) -> EpochPlan:
        """Plan `epoch`, the one after the last observed, with `examples // batch_size` steps."""
        if epoch != state.epoch + 1:
            raise ValueError(f"epoch must be the one after the last observed, {state.epoch + 1}, got {epoch!r}")
        position = rates.positions(epoch, rates.steps_per_epoch(examples, batch_size))
        return rates.epoch_plan(self._rate(state.decays), self._shape(position), batch_size)


@dataclass(frozen=True, kw_only=True)
class Decaying(Planned):
    """A schedule that now and then multiplies its rate by a factor."""

    decay_factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_factor", checks.decay_factor("decay_factor", self.decay_factor))

    def _rate(self, decays: int) -> float:
        return self.learning_rate * self.decay_factor**decays


@dataclass(frozen=True, kw_only=True)
class Timed(Planned):
    """A schedule that looks at the clock alone."""

    def _event(self, epoch: int) -> Event:
        return Event.NONE

    def init(self) -> State:
        """Return the state before the first epoch."""
        return State()

    def update(self, state: State, observation: Observation) -> State:
        """Count one more epoch, whatever was observed of it."""
        event = self._event(state.epoch + 1)
        return State(state.epoch + 1, state.decays + bool(event), event)


@dataclass(frozen=True, kw_only=True)
class Constant(Timed):
    """One rate throughout, after a warm-up: `learning_rate * min(1, epochs_passed / warmup_epochs)`.

    >>> schedule = Constant(learning_rate=0.5, warmup_epochs=1)
    >>> schedule.plan(schedule.init(), epoch=1, examples=4, batch_size=1).learning_rates.tolist()
    [0.0, 0.125, 0.25, 0.375]
    """

    kind: Literal["constant"] = "constant"


@dataclass(frozen=True, kw_only=True)
class Simple(Timed, Decaying):
    """One decay near the end, usually at 85 % of training; the simple decay of the paper (table 2).

    A fractional `last_decay_epoch` is rounded up: of 90 epochs, 76.5 becomes 77.

    >>> schedule = Simple(learning_rate=1.0, decay_factor=0.5, last_decay_epoch=0.85 * 2)
    >>> schedule.plan(State(epoch=2, decays=1), epoch=3, examples=4, batch_size=2).learning_rates.tolist()
    [0.5, 0.5]
    """

    last_decay_epoch: float
    kind: Literal["simple"] = "simple"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("last_decay_epoch", checks.fractional_epoch("last_decay_epoch", self.last_decay_epoch))

    def _event(self, epoch: int) -> Event:
        return Event.LAST_DECAY if epoch == rates.rounded_up(self.last_decay_epoch) else Event.NONE


@dataclass(frozen=True, kw_only=True)
class DecayAt(Timed, Decaying):
    """One decay after a chosen epoch; what the paper varies in figure S6a.

    >>> schedule = DecayAt(learning_rate=1.0, decay_factor=0.5, decay_epoch=1)
    >>> schedule.update(schedule.init(), Observation(weight_norm_sq=9.0, train_loss=0.1))
    State(epoch=1, decays=1, event=<Event.MILESTONE: 8>)
    """

    decay_epoch: int
    kind: Literal["decay_at"] = "decay_at"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_epoch", checks.whole("decay_epoch", self.decay_epoch, at_least=1))

    def _event(self, epoch: int) -> Event:
        return Event.MILESTONE if epoch == self.decay_epoch else Event.NONE


@dataclass(frozen=True, kw_only=True)
class Step(Timed, Decaying):
    """A decay after each of some epochs; the paper's step-wise reference (supplement B.1).

    `learning_rate * decay_factor**decays`, where `decays` counts the decay epochs passed.

    >>> schedule = Step(learning_rate=1.0, decay_factor=0.5, decay_epochs=(1, 3))
    >>> state = schedule.update(schedule.init(), Observation(weight_norm_sq=9.0, train_loss=0.1))
    >>> schedule.plan(state, epoch=2, examples=4, batch_size=2).learning_rates.tolist()
    [0.5, 0.5]
    """

    decay_epochs: tuple[int, ...]
    kind: Literal["step"] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_epochs", checks.increasing_epochs("decay_epochs", self.decay_epochs))

    def _event(self, epoch: int) -> Event:
        return Event.MILESTONE if epoch in self.decay_epochs else Event.NONE


@dataclass(frozen=True, kw_only=True)
class Cosine(Timed):
    """A cosine from the base rate, at the end of the warm-up, to 0 after `epochs`; a new rate at every step.

    `learning_rate * (1 + cos(pi * progress)) / 2`, where `progress` goes from 0 to 1. The paper gives no formula; this is
    that of the Flax examples which the supplement says its code came from.

    >>> schedule = Cosine(learning_rate=1.0, epochs=1)
    >>> schedule.plan(schedule.init(), epoch=1, examples=2, batch_size=1).learning_rates.tolist()
    [1.0, 0.5]
    """

    epochs: int
    kind: Literal["cosine"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("epochs", checks.whole("epochs", self.epochs, at_least=1))
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be < epochs, {self.epochs}, got {self.warmup_epochs}")

    def _shape(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        return rates.warmup(position, self.warmup_epochs) * rates.cosine(position, self.warmup_epochs, self.epochs)
