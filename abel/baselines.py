"""Baselines for ABEL: schedules that depend only on the epoch, not on observations."""

from dataclasses import dataclass
from typing import Any, Literal

from abel import checks, rates
from abel.planning import OBSERVED, Decaying, Planned, State, counters, is_ours
from abel.plans import Event, Observation

__all__ = [
    "Constant",
    "DecayAt",
    "GrowBatch",
    "Milestones",
    "Simple",
    "Step",
    "Timed",
]


@dataclass(frozen=True, kw_only=True)
class Timed(Planned):
    """A schedule that depends only on the epoch."""

    def _event(self, epoch: int) -> Event:
        return Event.NONE

    def _checked(self, state: Any) -> State:
        state = checks.instance("state", state, State, "from init or the last update")
        return state if is_ours(state) else State(*counters(state))

    def init(self) -> State:
        """Return the state before the first epoch."""
        return State()

    def update(self, state: State, observation: Observation) -> State:
        """Advance by one epoch; the observation has no effect."""
        state = self._checked(state)
        checks.instance("observation", observation, Observation, OBSERVED)
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
    """One decay near the end, usually at 85 % of training: the paper's simple decay (table 2).

    A fractional `last_decay_epoch` is rounded up: 85 % of 90 epochs is 76.5, so the decay follows epoch 77.

    >>> schedule = Simple(learning_rate=1.0, decay_factor=0.5, last_decay_epoch=0.85 * 2)
    >>> schedule.plan(State(epoch=2, decays=1), epoch=3, examples=4, batch_size=2).learning_rates.tolist()
    [0.5, 0.5]
    """

    last_decay_epoch: float  # the epoch after which it decays, rounded up; usually 85 % of training
    kind: Literal["simple"] = "simple"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("last_decay_epoch", checks.fractional_epoch("last_decay_epoch", self.last_decay_epoch))

    def _event(self, epoch: int) -> Event:
        return Event.LAST_DECAY if epoch == rates.rounded_up(self.last_decay_epoch) else Event.NONE


@dataclass(frozen=True, kw_only=True)
class DecayAt(Timed, Decaying):
    """One decay after a given epoch, which the paper varies in figure S6a.

    >>> schedule = DecayAt(learning_rate=1.0, decay_factor=0.5, decay_epoch=1)
    >>> schedule.update(schedule.init(), Observation(weight_norm_sq=9.0, train_loss=0.1))
    State(epoch=1, decays=1, event=<Event.MILESTONE: 8>)
    """

    decay_epoch: int  # the epoch after which it decays
    kind: Literal["decay_at"] = "decay_at"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_epoch", checks.whole("decay_epoch", self.decay_epoch, at_least=1))

    def _event(self, epoch: int) -> Event:
        return Event.MILESTONE if epoch == self.decay_epoch else Event.NONE


@dataclass(frozen=True, kw_only=True)
class Milestones(Timed):
    """A schedule that acts after each of the listed epochs."""

    decay_epochs: tuple[int, ...]  # the epochs after which it acts

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_epochs", checks.increasing_epochs("decay_epochs", self.decay_epochs))

    def _event(self, epoch: int) -> Event:
        return Event.MILESTONE if epoch in self.decay_epochs else Event.NONE


@dataclass(frozen=True, kw_only=True)
class Step(Milestones, Decaying):
    """A decay after each of the listed epochs: the paper's step-wise reference (supplement B.1).

    `learning_rate * decay_factor**decays`, where `decays` counts the decay epochs passed. After a decay at epoch t, the
    first step of epoch t + 1 uses the new rate, as with `optax.piecewise_constant_schedule` and the boundary `t * steps`.
    Flax's stepped schedule of 2021 switches one step later.

    >>> schedule = Step(learning_rate=1.0, decay_factor=0.5, decay_epochs=(1, 3))
    >>> state = schedule.update(schedule.init(), Observation(weight_norm_sq=9.0, train_loss=0.1))
    >>> schedule.plan(state, epoch=2, examples=4, batch_size=2).learning_rates.tolist()
    [0.5, 0.5]
    """

    kind: Literal["step"] = "step"


@dataclass(frozen=True, kw_only=True)
class GrowBatch(Milestones, Decaying):
    """A larger batch wherever `Step` would decay (Smith, Kindermans, Ying and Le, arXiv 1711.00489); not in the paper.

    The rate stays constant. After k growths the batch has `batch_size / decay_factor**k` examples, rounded to the
    nearest integer (halves to even) and capped at the size of an epoch. At the cap neither batch nor rate changes any
    more. The number of updates per epoch falls by the same factor. Growths are milestone events and count as decays.

    >>> schedule = GrowBatch(learning_rate=0.1, decay_factor=0.2, decay_epochs=(1, 2))
    >>> state = schedule.update(schedule.init(), Observation(weight_norm_sq=9.0, train_loss=0.1))
    >>> plan = schedule.plan(state, epoch=2, examples=1000, batch_size=50)
    >>> plan.batch_size, len(plan.learning_rates)
    (250, 4)
    >>> [schedule.grown(50, growths, examples=1000) for growths in (0, 1, 2)]
    [50, 250, 1000]

    Args:
        decay_factor: factor of the step-wise schedule it replaces; each growth divides the batch size by it.
        decay_epochs: the epochs after which the batch grows.
    """

    kind: Literal["grow_batch"] = "grow_batch"

    def grown(self, batch_size: int, growths: int, examples: int) -> int:
        """Return the batch size after `growths` growths, in an epoch of `examples` examples."""
        batch_size = checks.whole("batch_size", batch_size, at_least=1)
        growths = checks.whole("growths", growths, at_least=0)
        examples = checks.whole("examples", examples, at_least=1)
        shrunk = self.decay_factor**growths
        # Compare before dividing: after many growths the quotient is infinite or the divisor 0.
        return round(batch_size / shrunk) if batch_size < examples * shrunk else max(batch_size, examples)

    def _batch_size(self, decays: int, examples: int, batch_size: int) -> int:
        return self.grown(batch_size, decays, examples)

    def _rate(self, decays: int) -> float:
        return self.learning_rate
