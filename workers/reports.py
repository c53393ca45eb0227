"""What a worker is given and what it reports: cohorts, and the reports on their epochs. Imports neither JAX nor Orbax."""

from collections.abc import Mapping
from dataclasses import dataclass

from abel.schedules import Observation
from workers.fold import Member, observation
from workers.trajectory import Identity


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Trials with one history. ``observations`` are those of the epochs already recorded, first epoch first."""

    identity: Identity
    seed: int
    epochs: int
    members: tuple[Member, ...]
    observations: tuple[Observation, ...] = ()
    salt: str = ""  # set where sharing is off: keeps the states of this trial to itself

    @property
    def epoch(self) -> int:
        """How many epochs are recorded."""
        return len(self.observations)

    @property
    def root(self) -> str:
        """The key of the state before epoch 1."""
        return self.identity.root(self.seed, self.salt)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One trained epoch. A replay trains an epoch that the ledger holds already, to reach the state behind it."""

    key: str
    parent: str
    epoch: int
    metrics: Mapping[str, float]
    finished_at_ms: int
    worker: str = ""  # host and process that trained it
    replay: bool = False

    @property
    def observation(self) -> Observation:
        """What schedules see of the epoch."""
        return observation(self.metrics)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint is durable under this key, after so many seconds of writing."""

    key: str
    epoch: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A checkpoint did not verify and was removed; the one before it is used."""

    key: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Forked:
    """The members parted after this epoch: these groups of trials go on without this worker."""

    epoch: int
    siblings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """These members are done: by the epochs, by their schedule, or because the loss is no longer finite. Others go on."""

    trials: tuple[str, ...]
    epoch: int
    diverged: bool


Report = Record | Saved | Damaged | Forked | Ended
