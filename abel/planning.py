"""Base classes of all schedules: counters, base rate with warm-up, and the plan of an epoch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from abel import checks, rates
from abel.plans import EpochPlan, Event, ScheduleState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class State(NamedTuple):
    """State of a schedule that depends only on the epoch."""

    epoch: int = 0
    decays: int = 0
    event: Event = Event.NONE

    @property
    def finished(self) -> bool:
        """Always False: the training loop decides when to stop."""
        return False


OBSERVED: Final = "the norm and the training loss of an epoch"


def is_ours(state: ScheduleState) -> bool:
    """Whether the counters have the types that `update` gives them, so per-field checks can be skipped."""
    return type(state.epoch) is type(state.decays) is int and type(state.event) is Event


def counters(state: ScheduleState) -> tuple[int, int, Event]:
    """Return epoch, decays and event with their types restored: JSON has no `Event`."""
    epoch, decays = (checks.whole(f"state.{name}", getattr(state, name), at_least=0) for name in ("epoch", "decays"))
    event = checks.whole("state.event", state.event, at_least=0)
    return epoch, decays, Event(event)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Base class of all schedules: base rate, warm-up and `plan`."""

    learning_rate: float  # base rate, reached at the end of the warm-up
    warmup_epochs: int = 0  # length of the linear warm-up

    def __post_init__(self) -> None:
        self._set("learning_rate", checks.learning_rate("learning_rate", self.learning_rate))
        self._set("warmup_epochs", checks.whole("warmup_epochs", self.warmup_epochs, at_least=0))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _rate(self, decays: int) -> float:
        return self.learning_rate

    def _batch_size(self, decays: int, examples: int, batch_size: int) -> int:
        return batch_size

    def _shape(self, position: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return rates.warmup(position, self.warmup_epochs)

    def _checked(self, state: Any) -> ScheduleState:
        """Return the state, or raise if it is not one of this schedule."""
        raise NotImplementedError

    def plan(self, state: ScheduleState, epoch: int, examples: int, batch_size: int) -> EpochPlan:
        """Plan `epoch`, the next after the last observed one, with `examples // batch_size` steps."""
        state = self._checked(state)
        if checks.plain(epoch) != state.epoch + 1:
            raise ValueError(f"epoch must be the one after the last observed, {state.epoch + 1}, got {epoch!r}")
        epoch = checks.whole("epoch", epoch, at_least=1)
        batch_size = checks.whole("batch_size", batch_size, at_least=1)
        batch_size = self._batch_size(state.decays, examples, batch_size)
        position = rates.positions(epoch, rates.steps_per_epoch(examples, batch_size))
        return rates.epoch_plan(self._rate(state.decays), self._shape(position), batch_size)


@dataclass(frozen=True, kw_only=True)
class Decaying(Planned):
    """A schedule that multiplies its rate by `decay_factor` at each decay."""

    decay_factor: float  # of each decay

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("decay_factor", checks.decay_factor("decay_factor", self.decay_factor))

    def _rate(self, decays: int) -> float:
        return self.learning_rate * self.decay_factor**decays
