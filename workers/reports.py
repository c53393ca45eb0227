"""Input and output of a worker: cohorts, and reports on their epochs. Imports neither JAX nor Orbax."""

from collections.abc import Mapping
from dataclasses import dataclass

from abel.schedules import Observation
from workers.config import Program
from workers.fold import Member, observation
from workers.trajectory import Identity

MEASURED_TIMES = frozenset({"seconds", "examples_per_second"})  # metrics in which a replay may differ


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Trials with a common history. ``observations`` are those of the recorded epochs, in order."""

    program: Program
    identity: Identity
    seed: int
    epochs: int
    members: tuple[Member, ...]
    observations: tuple[Observation, ...] = ()
    salt: str = ""  # set when sharing is off, so this trial's states have keys of their own

    @property
    def epoch(self) -> int:
        """Number of recorded epochs."""
        return len(self.observations)

    @property
    def root(self) -> str:
        """The key of the state before epoch 1."""
        return self.identity.root(self.seed, self.salt)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One trained epoch. A replay trains a recorded epoch again, to reach the state after it."""

    key: str
    parent: str
    epoch: int
    metrics: Mapping[str, float]
    finished_at_ms: int
    worker: str = ""  # host and process that trained it
    replay: bool = False

    @property
    def observation(self) -> Observation:
        """The numbers of the epoch that schedules observe."""
        return observation(self.metrics)


@dataclass(frozen=True, kw_only=True)
class Partway:
    """A stretch of a long epoch is trained; training can stop here and resume later."""

    epoch: int  # the epoch in training
    step: int  # steps of it that are trained
    steps: int  # of all of it


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint is durable under this key; writing it took ``seconds``."""

    key: str
    epoch: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A checkpoint failed verification and was removed; an earlier one is used instead."""

    key: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Forked:
    """The members' plans differ after this epoch: these groups of trials continue without this worker."""

    epoch: int
    siblings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """These members are done: all epochs are trained, their schedule has finished, or training has diverged."""

    trials: tuple[str, ...]
    epoch: int
    diverged: bool


Report = Record | Partway | Saved | Damaged | Forked | Ended
