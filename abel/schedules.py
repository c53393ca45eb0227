"""ABEL and its baselines: frozen values with pure `init`, `plan` and `update`.

Plan an epoch, train it, tell the schedule what came of it:

>>> schedule = Abel(learning_rate=0.5, decay_factor=0.25, last_decay_epoch=None)
>>> state = schedule.init()
>>> for epoch, weight_norm_sq in enumerate([9.0, 8.0, 7.0, 8.0, 9.0, 8.5], start=1):
...     plan = schedule.plan(state, epoch, examples=1000, batch_size=500)
...     state = schedule.update(state, Observation(weight_norm_sq, train_loss=0.1))
>>> state.event
<Event.DECAY: 2>
>>> plan.learning_rates.tolist(), schedule.plan(state, 7, 1000, 500).learning_rates.tolist()
([0.5, 0.5], [0.125, 0.125])

Epochs count from 1. A decay at epoch t acts after epoch t: t + 1 is the first epoch at the new rate.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from abel import bounce, checks, rates
from abel.baselines import Constant, Cosine, DecayAt, Decaying, Simple, State, Step
from abel.plans import EpochPlan, Event, Observation, Schedule, ScheduleState

__all__ = [
    "SCHEDULES",
    "Abel",
    "AbelState",
    "Constant",
    "Cosine",
    "DecayAt",
    "EpochPlan",
    "Event",
    "Observation",
    "Schedule",
    "ScheduleState",
    "Simple",
    "State",
    "Step",
    "last_epoch_named",
    "replay",
]


class AbelState(NamedTuple):
    """State of `Abel`: the counters, the memory of Algorithm 1, and the norms of the window that is still open."""

    epoch: int
    decays: int
    event: Event
    bounce: bounce.BounceState
    window: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Abel(Decaying):
    """A decay whenever the weight norm has bounced, and one last decay (paper, Algorithm 1).

    The two are independent: in one epoch they multiply twice, and there is no floor.

    Args:
        learning_rate: base rate, reached at the end of the warm-up.
        decay_factor: that of the reference step-wise schedule; the paper takes 0.2 for CIFAR and 0.1 elsewhere.
        last_decay_epoch: the epoch of the forced decay, 85 % of training in the paper, rounded up; None for never.
        warmup_epochs: linear warm-up; its norms are not observed, as they say nothing of equilibration.
        norm_window_epochs: observe the mean over each block of so many epochs (supplement: 5, for PyramidNet only).
        ignore_until_falling: observe no bounce before the norm has fallen once; the paper does observe it.

    >>> schedule = Abel(learning_rate=0.5, decay_factor=0.25, last_decay_epoch=0.85 * 6)
    >>> norms_sq = [9.0, 8.0, 9.0, 10.0, 9.5, 9.0]
    >>> [state.decays for state in replay(schedule, [Observation(norm_sq, train_loss=0.1) for norm_sq in norms_sq])]
    [0, 0, 0, 0, 0, 1, 2]
    """

    last_decay_epoch: float | None
    norm_window_epochs: int = 1
    ignore_until_falling: bool = False
    kind: Literal["abel"] = "abel"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_decay_epoch is not None:
            self._set("last_decay_epoch", checks.fractional_epoch("last_decay_epoch", self.last_decay_epoch))
        self._set("norm_window_epochs", checks.whole("norm_window_epochs", self.norm_window_epochs, at_least=1))
        self._set("ignore_until_falling", checks.flag("ignore_until_falling", self.ignore_until_falling))

    def init(self) -> AbelState:
        """Return the state before the first epoch."""
        return AbelState(epoch=0, decays=0, event=Event.NONE, bounce=bounce.init(), window=())

    def update(self, state: AbelState, observation: Observation) -> AbelState:
        """Observe the norm at the end of an epoch, then see whether the last decay is due."""
        epoch = state.epoch + 1
        memory, window, event = state.bounce, state.window, Event.NONE
        if epoch > self.warmup_epochs:
            window += (float(observation.weight_norm_sq),)
        if len(window) == self.norm_window_epochs:
            mean = math.fsum(window) / len(window)
            memory, bounced = bounce.update(memory, mean, ignore_until_falling=self.ignore_until_falling)
            window, event = (), Event(int(bounced))
        if self.last_decay_epoch is not None and epoch == rates.rounded_up(self.last_decay_epoch):
            event |= Event.LAST_DECAY
        decays = state.decays + bool(event & Event.DECAY) + bool(event & Event.LAST_DECAY)
        return AbelState(epoch, decays, event, memory, window)


SCHEDULES: Final[dict[str, type[Abel | Constant | Cosine | DecayAt | Simple | Step]]] = {
    schedule.kind: schedule for schedule in (Abel, Constant, Cosine, DecayAt, Simple, Step)
}


def last_epoch_named(schedule: Schedule) -> int | None:
    """Return the largest epoch that the schedule names, or None; no training should end before it.

    >>> last_epoch_named(Simple(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=76.5))
    77
    """
    match schedule:
        case Simple(last_decay_epoch=last) | Abel(last_decay_epoch=float(last)):
            return rates.rounded_up(last)
        case DecayAt(decay_epoch=epoch) | Cosine(epochs=epoch):
            return epoch
        case Step(decay_epochs=epochs):
            return epochs[-1]
        case _:
            return None


def replay(schedule: Schedule, observations: Iterable[Observation]) -> list[ScheduleState]:
    """Return the states before and after each observation, one more than there are observations.

    >>> [state.epoch for state in replay(Constant(learning_rate=0.1), [Observation(9.0, 0.1), Observation(8.0, 0.1)])]
    [0, 1, 2]
    """
    return list(accumulate(observations, schedule.update, initial=schedule.init()))
