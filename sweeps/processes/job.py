"""Messages between a command and its driver: the job, its progress and its outcome. Does not need Ray."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.ledger.records import SweepStatus
from sweeps.processes.identity import WorkerEnvironment, workers_at_once
from sweeps.spec.trial import Trial
from workers.config import Program
from workers.trajectory import Identity

ACCELERATOR_LABEL = "ray.io/accelerator-type"  # set by Ray, where it detects an accelerator


class DriverLost(Exception):
    """The driver's process or its Ray cluster is gone; another driver can continue from the ledger."""


class ClusterAway(DriverLost):
    """The Ray cluster at the given address cannot be joined. A retry may help only if a driver has joined it before."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sweep is executed. Never affects results, except ``threads``, which is part of the state keys, and
    ``allow_nondeterminism``: if a replayed epoch differs from its record, the record is kept and training continues.

    Workers run only on nodes with all ``labels``. On a cluster, ``kind`` is the processor or accelerator of these nodes, and
    ``avoid`` has the Ray ids of nodes known to be of another kind. ``custom`` has amounts of the cluster's own resources.
    A worker is a gang of ``hosts`` processes, each with all these resources on a node of its own.
    """

    checkpoints: Path  # their folder, or its cache if they lie in a store
    cache: Path
    store: str | None = None
    data_dir: Path | None = None
    sharing: bool = True
    workers: int | None = None
    threads: int = 1
    cpu: float = 1
    gpu: float = 0
    tpu: float = 0
    hosts: int = 1
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = None
    avoid: tuple[str, ...] = ()
    address: str | None = None
    save_every_seconds: float = 120.0
    report_every_seconds: float = 2.0
    allow_nondeterminism: bool = False
    cohorts_per_tuner: int = 5000  # Ray Tune keeps about 46 kB of every trial until its tuner ends

    @property
    def environment(self) -> WorkerEnvironment:
        """Environment of each worker process."""
        return WorkerEnvironment(
            threads=self.threads,
            cache=self.cache,
            gpu=self.is_accelerated,
            gpus=math.ceil(self.gpu) or None,
            tpus=math.ceil(self.tpu) or None,
        )

    @property
    def is_accelerated(self) -> bool:
        """Whether a worker computes on an accelerator."""
        return self.gpu > 0 or self.tpu > 0

    @property
    def demand(self) -> Mapping[str, float]:
        """Resources that a worker takes on each of its nodes, by Ray's names."""
        wanted = {"CPU": self.cpu, "GPU": self.gpu, "TPU": self.tpu, **self.custom}
        return {name: amount for name, amount in wanted.items() if amount}

    def path_of(self, name: str) -> str:
        """Return the path in a spec's resources of one with this name in Ray."""
        return f"custom.{name}" if name in self.custom else name.lower()

    @property
    def slots(self) -> int:
        """Number of concurrent workers on this machine."""
        return self.workers or workers_at_once(self.threads, self.cpu)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One invocation of a sweep, as sent to a driver; ``forecast`` bounds the epochs still to be trained."""

    ledger_url: str
    sweep_id: str
    trials: Sequence[Trial]
    identities: Mapping[Program, Identity]
    options: Options
    forecast: tuple[int, int]


@dataclass(frozen=True)
class Begun:
    """The driver has taken the sweep's lease, with this invocation number."""

    invocation: int


@dataclass(frozen=True)
class Alive:
    """A heartbeat of the driver's process, with the seconds since the last message of its main thread."""

    quiet_seconds: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a sweep. ``covered`` and ``total`` count every trial's epochs; ``trained`` counts epochs that workers trained.

    ``room`` is False if nothing runs and no node of the Ray cluster is large enough for a worker. ``joined`` says whether the
    driver is connected to its Ray cluster.
    """

    trials: int
    ended: int
    diverged: int
    failed: int
    cancelled: int
    stopped: int
    running: int
    waiting: int
    trained: int
    replayed: int
    covered: int
    total: int
    forecast_low: int
    forecast_high: int
    elapsed_seconds: float
    eta_seconds: float | None
    room: bool = True
    joined: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an invocation ended. ``seconds`` has its wall time and the parts spent on Ray, the first report and the ledger."""

    status: SweepStatus
    trained: int
    replayed: int
    seconds: Mapping[str, float]
    error: str | None = None
