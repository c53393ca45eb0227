"""What passes between a schedule and a training loop: plans go down, observations come up, events tell why."""

from enum import IntFlag
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from abel import bounce

__all__ = ["DECAYS", "EpochPlan", "Event", "Observation", "Schedule", "ScheduleState"]


class Event(IntFlag):
    """What a schedule did with an epoch; a bounce and the last decay can fall in one epoch.

    >>> Event.DECAY | Event.LAST_DECAY
    <Event.DECAY|LAST_DECAY: 6>
    """

    NONE = bounce.NONE
    MINIMUM = bounce.MINIMUM
    DECAY = bounce.DECAY
    LAST_DECAY = 4
    MILESTONE = 8
    PLATEAU = 16


# What counts as a decay; a growth of the batch, which stands for one, is a milestone.
DECAYS: Final = Event.DECAY | Event.LAST_DECAY | Event.MILESTONE | Event.PLATEAU


class Observation(NamedTuple):
    """What a schedule sees of an epoch when it has ended.

    >>> Observation(weight_norm_sq=9.0, train_loss=0.1)
    Observation(weight_norm_sq=9.0, train_loss=0.1)
    """

    weight_norm_sq: float  # of all weights, at the end of the epoch
    train_loss: float  # mean over the epoch


class EpochPlan(NamedTuple):
    """How to train one epoch: a learning rate for every step, and the batch size."""

    learning_rates: NDArray[np.float32]  # f32[steps]
    batch_size: int

    def token(self) -> bytes:
        """Return bytes that are equal for exactly the plans that train alike.

        >>> plan = EpochPlan(np.full(2, 0.5, np.float32), batch_size=16)
        >>> plan.token() == EpochPlan(np.array([0.5, 0.5], np.float32), batch_size=16).token()
        True
        >>> plan.token() == plan._replace(batch_size=32).token()
        False
        """
        return np.asarray(self.learning_rates).astype("<f4").tobytes() + int(self.batch_size).to_bytes(8, "little")


class ScheduleState(Protocol):
    """What the state of every schedule tells, whatever else it remembers."""

    @property
    def epoch(self) -> int:
        """Epochs observed so far."""

    @property
    def decays(self) -> int:
        """Decays so far, the exponent of the decay factor."""

    @property
    def event(self) -> Event:
        """What the last update did."""

    @property
    def finished(self) -> bool:
        """Whether the schedule wants no more epochs; most leave the end of training to the loop."""


class Schedule(Protocol):
    """Chooses the learning rates and batch size of each epoch from what it saw of the epochs before."""

    @property
    def kind(self) -> str:
        """Name of the schedule in a spec."""

    def init(self) -> ScheduleState:
        """Return the state before the first epoch."""

    def plan(self, state: Any, epoch: int, examples: int, batch_size: int) -> EpochPlan:
        """Plan `epoch`, the one after the last observed; `batch_size` is the program's, the plan's may differ."""

    def update(self, state: Any, observation: Observation) -> ScheduleState:
        """Take what was observed of the epoch just trained; called once after every epoch."""
