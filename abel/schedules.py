"""ABEL and its baselines: frozen dataclasses with pure `init`, `plan` and `update`.

Plan an epoch, train it, update the schedule with the observation:

>>> schedule = Abel(learning_rate=0.5, decay_factor=0.25, last_decay_epoch=None)
>>> state = schedule.init()
>>> for epoch, weight_norm_sq in enumerate([9.0, 8.0, 7.0, 8.0, 9.0, 8.5], start=1):
...     plan = schedule.plan(state, epoch, examples=1000, batch_size=500)
...     state = schedule.update(state, Observation(weight_norm_sq, train_loss=0.1))
>>> state.event
<Event.DECAY: 2>
>>> plan.learning_rates.tolist(), schedule.plan(state, 7, 1000, 500).learning_rates.tolist()
([0.5, 0.5], [0.125, 0.125])

Epochs count from 1. A decay at epoch t takes effect after it: epoch t + 1 is the first at the new rate.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple, get_args

from abel import bounce, checks, rates
from abel.annealing import Annealed, Cosine, InverseSqrt, Linear, OneCycle, WarmupStableDecay
from abel.baselines import Constant, DecayAt, GrowBatch, Milestones, Simple, Step
from abel.bounce import BounceState
from abel.planning import OBSERVED, Decaying, State, counters, is_ours
from abel.plans import DECAYS, EpochPlan, Event, Observation, Schedule, ScheduleState
from abel.plateau import Plateau, PlateauState

__all__ = [
    "DECAYS",
    "SCHEDULES",
    "Abel",
    "AbelState",
    "Constant",
    "Cosine",
    "DecayAt",
    "EpochPlan",
    "Event",
    "GrowBatch",
    "InverseSqrt",
    "Linear",
    "Observation",
    "OneCycle",
    "Plateau",
    "PlateauState",
    "Schedule",
    "ScheduleState",
    "Simple",
    "State",
    "Step",
    "WarmupStableDecay",
    "last_epoch_named",
    "replay",
]


_METHODS: Final = ("init", "plan", "update")


class AbelState(NamedTuple):
    """State of `Abel`: the counters, the state of Algorithm 1, the norms in the window, the losses around the last decay.

    `AbelState(**json.loads(json.dumps(state._asdict())))` is equivalent to the state itself.

    `loss_before` and `loss_since` are the lowest training losses before and since the last decay by a bounce, or infinity
    before there are any.
    """

    epoch: int
    decays: int
    event: Event
    bounce: bounce.BounceState
    window: tuple[float, ...]
    loss_before: float = math.inf
    loss_since: float = math.inf
    stop_epoch: int | None = None  # the last epoch of training, set by `gain_threshold`

    @property
    def finished(self) -> bool:
        """Whether training should stop; only `gain_threshold` asks for that."""
        return self.stop_epoch is not None and self.epoch >= self.stop_epoch


@dataclass(frozen=True, kw_only=True)
class Abel(Decaying):
    """A decay whenever the weight norm has bounced, and one last decay (paper, Algorithm 1).

    The two are independent: if both fall in one epoch, the rate is multiplied twice. There is no floor. The defaults
    follow the paper; each argument from `warmup_epochs` on says how other values depart from it.

    Without a fixed budget, on a norm that bounces every other epoch and a loss that does not improve:

    >>> free = {"last_decay_epoch": None, "gain_threshold": 0.01, "epochs_after_last_decay": 2}
    >>> schedule = Abel(learning_rate=0.1, decay_factor=0.1, **free)
    >>> states = replay(schedule, (Observation(2.0 + epoch % 2, train_loss=0.5) for epoch in range(8)))
    >>> {state.epoch: state.event.name for state in states if state.event & DECAYS}
    {4: 'DECAY', 6: 'LAST_DECAY'}
    >>> [state.finished for state in states[6:]]
    [False, False, True]

    Args:
        learning_rate: base rate, reached at the end of the warm-up.
        decay_factor: factor of each decay, in the paper as for the step-wise reference: 0.2 for CIFAR, 0.1 elsewhere.
        last_decay_epoch: the epoch of the forced decay, 85 % of training in the paper, rounded up; None for never.
        warmup_epochs: length of the linear warm-up; its norms are ignored, as they say nothing about equilibration.
        norm_window_epochs: number of epochs to average the norm over (supplement: 5, for PyramidNet only).
        norm_window: "block" observes the mean of each block of epochs once; "sliding" observes the mean of the last
            epochs at every epoch. The supplement's "averaged every five epochs" suggests "block"; "sliding" is a
            departure.
        ignore_until_falling: ignore bounces until the norm has fallen once, for norms that rise first. A departure: the
            paper counts such bounces, and then decays at minima.
        gain_threshold: train without a fixed budget (paper, end of section 2), and so without a `last_decay_epoch`. A
            bounce triggers the last decay if the decay before it gained too little: no training loss since then was
            below `(1 - gain_threshold)` times the lowest loss before it. The paper looks at the accuracy and gives no
            threshold; watching the training loss is a departure, since the test set must not decide anything. None
            disables it.
        epochs_after_last_decay: number of epochs between that decay and the end of training; "a few" in the paper.

    >>> schedule = Abel(learning_rate=0.5, decay_factor=0.25, last_decay_epoch=0.85 * 6)
    >>> norms_sq = [9.0, 8.0, 9.0, 10.0, 9.5, 9.0]
    >>> [state.decays for state in replay(schedule, [Observation(norm_sq, train_loss=0.1) for norm_sq in norms_sq])]
    [0, 0, 0, 0, 0, 1, 2]
    """

    last_decay_epoch: float | None
    norm_window_epochs: int = 1
    norm_window: Literal["block", "sliding"] = "block"
    ignore_until_falling: bool = False
    gain_threshold: float | None = None
    epochs_after_last_decay: int = 5
    kind: Literal["abel"] = "abel"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_decay_epoch is not None:
            self._set("last_decay_epoch", checks.fractional_epoch("last_decay_epoch", self.last_decay_epoch))
        self._set("norm_window_epochs", checks.whole("norm_window_epochs", self.norm_window_epochs, at_least=1))
        self._set("norm_window", checks.choice("norm_window", self.norm_window, ("block", "sliding")))
        self._set("ignore_until_falling", checks.flag("ignore_until_falling", self.ignore_until_falling))
        if self.gain_threshold is not None:
            self._set("gain_threshold", checks.share("gain_threshold", self.gain_threshold))
            if self.last_decay_epoch is not None:
                rule = f"must be None where last_decay_epoch is given, {self.last_decay_epoch}"
                raise ValueError(f"gain_threshold {rule}, got {self.gain_threshold}")
        after = checks.whole("epochs_after_last_decay", self.epochs_after_last_decay, at_least=1)
        self._set("epochs_after_last_decay", after)

    def _checked(self, given: Any) -> AbelState:
        """Return the state; one restored from JSON has an int for its event and lists for its tuples."""
        state = checks.instance("state", given, AbelState, "from init or the last update")
        memory = state.bounce
        if is_ours(state) and type(memory) is BounceState and type(state.window) is tuple:
            return state
        if not isinstance(memory, list | tuple) or len(memory) != len(BounceState._fields):
            raise ValueError(f"state.bounce must be a BounceState, got {memory!r}")
        epoch, decays, event = counters(state)
        return AbelState(
            epoch,
            decays,
            event,
            BounceState(
                checks.number("state.bounce.previous", memory[0]),
                checks.number("state.bounce.before_previous", memory[1]),
                checks.flag("state.bounce.reached_minimum", memory[2]),
                checks.flag("state.bounce.has_fallen", memory[3]),
            ),
            tuple(checks.curve("state.window", state.window)),
            checks.number("state.loss_before", state.loss_before),
            checks.number("state.loss_since", state.loss_since),
            None if state.stop_epoch is None else checks.whole("state.stop_epoch", state.stop_epoch, at_least=1),
        )

    def init(self) -> AbelState:
        """Return the state before the first epoch."""
        return AbelState(epoch=0, decays=0, event=Event.NONE, bounce=bounce.init(), window=())

    def update(self, state: AbelState, observation: Observation) -> AbelState:
        """Observe the norm at the end of an epoch, then check whether the last decay is due.

        Raises:
            ValueError: the norm is negative, NaN or infinite, even in an epoch that would not be observed: the run has
                diverged. (`bounce.update` and `scale_by_abel` cannot raise under `jit`; NaN is no turning point there.)
        """
        state = self._checked(state)
        observation = checks.instance("observation", observation, Observation, OBSERVED)
        epoch = state.epoch + 1
        if state.stop_epoch is not None:
            return state._replace(epoch=epoch, event=Event.NONE)
        weight_norm_sq = checks.number("weight_norm_sq", observation.weight_norm_sq)
        if not 0 <= weight_norm_sq < math.inf:
            raise ValueError(f"weight_norm_sq must be finite and >= 0, got {weight_norm_sq!r} at epoch {epoch}")
        state = self._observed(state._replace(epoch=epoch, event=Event.NONE), weight_norm_sq)
        if self.gain_threshold is not None:
            state = self._weighed(state, checks.number("train_loss", observation.train_loss), self.gain_threshold)
        if self.last_decay_epoch is not None and epoch == rates.rounded_up(self.last_decay_epoch):
            state = state._replace(event=state.event | Event.LAST_DECAY)
        return state._replace(decays=state.decays + (state.event & DECAYS).bit_count())

    def _observed(self, state: AbelState, weight_norm_sq: float) -> AbelState:
        """Apply Algorithm 1's bounce test once the window is full."""
        if state.epoch <= self.warmup_epochs:
            return state
        window = (*state.window, weight_norm_sq)
        if len(window) < self.norm_window_epochs:
            return state._replace(window=window)
        mean = math.fsum(window) / len(window)
        memory, bounced = bounce.update(state.bounce, mean, ignore_until_falling=self.ignore_until_falling)
        kept = window[1:] if self.norm_window == "sliding" else ()
        return state._replace(bounce=memory, window=kept, event=Event(int(bounced)))

    def _weighed(self, state: AbelState, train_loss: float, gain_threshold: float) -> AbelState:
        """Update the lowest losses; make a decay the last one if the decay before it gained too little."""
        since = min(state.loss_since, train_loss)
        if state.event is not Event.DECAY:
            return state._replace(loss_since=since)
        if state.decays and not since < state.loss_before * (1.0 - gain_threshold):
            stop_epoch = state.epoch + self.epochs_after_last_decay
            return state._replace(event=Event.LAST_DECAY, stop_epoch=stop_epoch)
        return state._replace(loss_before=min(state.loss_before, since), loss_since=math.inf)


_Known = (
    Abel
    | Constant
    | Cosine
    | DecayAt
    | GrowBatch
    | InverseSqrt
    | Linear
    | OneCycle
    | Plateau
    | Simple
    | Step
    | WarmupStableDecay
)
SCHEDULES: Final[dict[str, type[_Known]]] = {schedule.kind: schedule for schedule in get_args(_Known)}


def last_epoch_named(schedule: Schedule) -> int | None:
    """Return the last epoch that the schedule's arguments name, or None; training should not end before it.

    >>> last_epoch_named(Simple(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=76.5))
    77
    """
    match _schedule(schedule):
        case Simple(last_decay_epoch=last) | Abel(last_decay_epoch=float(last)):
            return rates.rounded_up(last)
        case DecayAt(decay_epoch=epoch) | Annealed(epochs=epoch):
            return epoch
        case Milestones(decay_epochs=epochs):
            return epochs[-1]
        case _:
            return None


def replay(schedule: Schedule, observations: Iterable[Observation]) -> list[ScheduleState]:
    """Return the initial state and the state after each observation.

    >>> [state.epoch for state in replay(Constant(learning_rate=0.1), [Observation(9.0, 0.1), Observation(8.0, 0.1)])]
    [0, 1, 2]
    """
    _schedule(schedule)
    if not isinstance(observations, Iterable):
        raise ValueError(f"observations must be an iterable of Observation, got {observations!r}")
    return list(accumulate(observations, schedule.update, initial=schedule.init()))


def _schedule(schedule: Any) -> Schedule:
    """Return a schedule, ours or any instance with the three methods; a class is not a schedule."""
    if isinstance(schedule, type) or not all(callable(getattr(schedule, name, None)) for name in _METHODS):
        raise ValueError(f"schedule must have the methods {', '.join(_METHODS)}, got {schedule!r}")
    found: Schedule = schedule
    return found
