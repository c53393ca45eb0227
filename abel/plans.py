"""Types exchanged between a schedule and a training loop: plans, observations and events."""

from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from abel import bounce

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DECAYS", "EpochPlan", "Event", "Observation", "Schedule", "ScheduleState"]


class Event(IntFlag):
    """What a schedule did after an epoch; a bounce and the last decay can fall in the same epoch.

    >>> Event.DECAY | Event.LAST_DECAY
    <Event.DECAY|LAST_DECAY: 6>
    """

    NONE = bounce.NONE
    MINIMUM = bounce.MINIMUM
    DECAY = bounce.DECAY
    LAST_DECAY = 4
    MILESTONE = 8
    PLATEAU = 16


# Events that count as decays. GrowBatch reports its growths as milestones, so they count too.
DECAYS: Final = Event.DECAY | Event.LAST_DECAY | Event.MILESTONE | Event.PLATEAU


class Observation(NamedTuple):
    """What a schedule observes at the end of an epoch.

    >>> Observation(weight_norm_sq=9.0, train_loss=0.1)
    Observation(weight_norm_sq=9.0, train_loss=0.1)
    """

    weight_norm_sq: float  # of all weights, at the end of the epoch
    train_loss: float  # mean over the epoch


class EpochPlan(NamedTuple):
    """How to train one epoch: a learning rate for every step, and the batch size."""

    learning_rates: "NDArray[np.float32]"  # f32[steps]
    batch_size: int

    def token(self) -> bytes:
        """Return bytes that are equal exactly for plans that train identically.

        >>> import numpy as np
        >>> plan = EpochPlan(np.full(2, 0.5, np.float32), batch_size=16)
        >>> plan.token() == EpochPlan(np.array([0.5, 0.5], np.float32), batch_size=16).token()
        True
        >>> plan.token() == plan._replace(batch_size=32).token()
        False
        """
        import numpy as np

        return np.asarray(self.learning_rates).astype("<f4").tobytes() + int(self.batch_size).to_bytes(8, "little")


class ScheduleState(Protocol):
    """Attributes that the states of all schedules have."""

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
        """Whether the schedule asks to stop; most leave that to the training loop."""


class Schedule(Protocol):
    """Chooses the learning rates and batch size of each epoch from observations of earlier epochs."""

    @property
    def kind(self) -> str:
        """Name of the schedule in a spec."""

    def init(self) -> ScheduleState:
        """Return the state before the first epoch."""

    def plan(self, state: Any, epoch: int, examples: int, batch_size: int) -> EpochPlan:
        """Plan `epoch`, the next after the last observed one; the plan may change the program's `batch_size`."""

    def update(self, state: Any, observation: Observation) -> ScheduleState:
        """Process the observation of the epoch just trained; called once after every epoch."""
