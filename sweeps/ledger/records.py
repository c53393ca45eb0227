"""What the ledger hands to its readers: frozen rows, with JSON columns already decoded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workers.trajectory import Identity


class TrialStatus(StrEnum):
    """Where a trial stands; the last five are outcomes and final."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # at a rung of its arm, where other settings were better

    @property
    def final(self) -> bool:
        """Whether the trial has its outcome."""
        return self not in (TrialStatus.WAITING, TrialStatus.RUNNING)


class SweepStatus(StrEnum):
    """Where a sweep stands after its latest invocation."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    NO_SPACE = "no_space"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A sweep: one set of trials under a name. The same name with other trials, data or numerics is another sweep."""

    id: str
    name: str
    spec: Mapping[str, Any]
    sharing: bool
    status: SweepStatus
    created_ms: int
    forecast: Mapping[str, Any] | None
    identities: tuple[Identity, ...]
    holder: str | None = None
    lease_until_ms: int = 0

    def roots(self, trial: "TrialRow") -> set[str]:
        """The keys that the state before epoch 1 of a trial may have: one for each identity of its program."""
        salt = "" if self.sharing else trial.id
        return {one.root(trial.seed, salt) for one in self.identities if one.program == trial.program}

    @classmethod
    def read(cls, row: Any) -> "SweepRow":
        """From a row of the table."""
        return cls(
            id=row.id,
            name=row.name,
            spec=json.loads(row.spec),
            sharing=bool(row.sharing),
            status=SweepStatus(row.status),
            created_ms=row.created_ms,
            forecast=None if row.forecast is None else json.loads(row.forecast),
            identities=tuple(Identity(**values) for values in json.loads(row.identities)),
            holder=row.holder,
            lease_until_ms=row.lease_until_ms,
        )


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial and how far it has come: ``epoch`` epochs are recorded, the last of them under the key ``head``."""

    id: str
    sweep_id: str
    number: int
    name: str
    arm: str
    seed: int
    settings: Mapping[str, Any]
    program: Mapping[str, Any]
    schedule: Mapping[str, Any]
    epochs: int
    status: TrialStatus
    epoch: int
    head: str | None
    error: str | None
    final_epoch: int = 0
    failure: str | None = None
    attempts: int = 0
    cancel_asked_ms: int | None = None

    @classmethod
    def read(cls, row: Any) -> "TrialRow":
        """From a row of the table."""
        texts = {name: json.loads(row._mapping[name]) for name in ("settings", "program", "schedule")}
        return cls(**_given(row) | texts | {"status": TrialStatus(row.status)})


@dataclass(frozen=True, kw_only=True)
class StateRow:
    """One recorded epoch: its metrics as the worker measured them, when (ms since 1970, kept for ever) and where."""

    key: str
    parent: str
    epoch: int
    metrics: Mapping[str, float]
    finished_at_ms: int
    worker: str

    @classmethod
    def read(cls, row: Any) -> "StateRow":
        """From a row of the table."""
        return cls(**_given(row) | {"metrics": json.loads(row.metrics)})


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """One line of the append-only log that the tracking projector tails."""

    id: int
    sweep_id: str
    kind: str
    payload: Mapping[str, Any]
    at_ms: int
    previous: int = 0  # id of the sweep's event before it

    @classmethod
    def read(cls, row: Any) -> "EventRow":
        """From a row of the table."""
        return cls(**_given(row) | {"payload": json.loads(row.payload)})


@dataclass(frozen=True, kw_only=True)
class Work:
    """What was done for a sweep over all its invocations; epochs and forks are counted by the workers themselves.

    ``seconds_training`` and ``seconds_saving`` (checkpoints) are summed over workers, ``seconds_committing`` (ledger) and
    ``seconds_starting`` (Ray) are the driver's.
    """

    invocations: int
    trained: int
    replayed: int
    forks: int
    seconds_training: float
    seconds_saving: float
    seconds_committing: float
    seconds_starting: float
    seconds_wall: float


def _given(row: Any) -> dict[str, Any]:
    values = dict(row._mapping)
    del values["digest"]
    return values


def storable(text: str) -> str:
    """A text that every database and terminal takes: a path in an error may hold bytes that are no characters."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


def encode(value: Any) -> str:
    """The text of a JSON column: gives every float64 back bit for bit, NaN and the infinities included."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
