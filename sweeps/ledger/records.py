"""The ledger's rows as frozen dataclasses, with JSON columns decoded."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from workers.contracts import Metric
from workers.trajectory import Identity

Row = TypeVar("Row")


class TrialStatus(StrEnum):
    """Status of a trial; the last five are final outcomes."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # at a rung of its arm, where other settings were better

    @property
    def final(self) -> bool:
        """Whether the trial has an outcome."""
        return self not in (TrialStatus.WAITING, TrialStatus.RUNNING)


class SweepStatus(StrEnum):
    """Status of a sweep after its latest invocation."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"  # on request: its driver drains, and none starts until it is resumed
    NO_SPACE = "no_space"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A sweep: a set of trials under a name. The same name with other trials, data or numerics is a different sweep."""

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
        """Return the possible keys of the state before epoch 1 of a trial: one for each identity of its program."""
        salt = "" if self.sharing else trial.id
        return {one.root(trial.seed, salt) for one in self.identities if one.program == trial.program}

    @property
    def metric(self) -> Metric:
        """What the sweep's trials are compared by; all of them have one task."""
        return self.identities[0].metric

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "SweepRow":
        """Decode a row of the table."""
        return cls(
            id=row["id"],
            name=row["name"],
            spec=json.loads(row["spec"]),
            sharing=bool(row["sharing"]),
            status=SweepStatus(row["status"]),
            created_ms=row["created_ms"],
            forecast=None if row["forecast"] is None else json.loads(row["forecast"]),
            identities=tuple(Identity.from_dict(values) for values in json.loads(row["identities"])),
            holder=row["holder"],
            lease_until_ms=row["lease_until_ms"],
        )


@dataclass(frozen=True, kw_only=True)
class CurveResult:
    """What a trial's curve comes to: errors in percent, and the epochs after which its schedule decayed the rate.

    ``minimum`` is the lowest finite error, ``final`` the last measured one, and ``selected`` the one at the epoch with the lowest
    finite training loss, which is ``lowest_loss``. A value is None while no epoch has one, and
    ``selected`` also if the metric is not measured in its epoch.
    """

    minimum: float | None = None
    final: float | None = None
    selected: float | None = None
    lowest_loss: float | None = None
    decays: tuple[int, ...] = ()

    def after(self, epoch: int, error: float | None, train_loss: float, *, decayed: bool) -> "CurveResult":
        """Return the result after another epoch, whose error is None if the metric is not measured in it."""
        is_lower = error is not None and math.isfinite(error) and (self.minimum is None or error < self.minimum)
        fits_better = math.isfinite(train_loss) and (self.lowest_loss is None or train_loss < self.lowest_loss)
        return CurveResult(
            minimum=error if is_lower else self.minimum,
            final=self.final if error is None else error,
            selected=error if fits_better else self.selected,
            lowest_loss=train_loss if fits_better else self.lowest_loss,
            decays=(*self.decays, epoch) if decayed else self.decays,
        )

    def to_text(self) -> str:
        """Encode it for a column."""
        return encode(vars(self))

    @classmethod
    def read(cls, text: str) -> "CurveResult":
        """Decode it."""
        values = json.loads(text)
        return cls(**values | {"decays": tuple(values["decays"])})


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial and its progress: ``epoch`` epochs are recorded, the last one under the key ``head``.

    ``result`` is None before the first epoch, and where an older version recorded the trial; its curve tells it then.
    """

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
    result: CurveResult | None = None

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "TrialRow":
        """Decode a row of the table."""
        values = _given(row)
        for name in ("settings", "program", "schedule"):
            values[name] = _decoded(values[name])
        values["status"] = TrialStatus(values["status"])
        if values["result"] is not None:
            values["result"] = CurveResult.read(values["result"])
        return _filled(cls, values)


class Place(NamedTuple):
    """Where a trial is: ``epoch`` of its ``epochs`` are recorded, the lowest error of these is ``minimum``, if it is kept."""

    status: TrialStatus
    epoch: int
    epochs: int
    minimum: float | None

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "Place":
        """Decode these columns of a row of the table of trials."""
        result = row["result"]
        minimum = None if result is None else CurveResult.read(result).minimum
        return cls(TrialStatus(row["status"]), int(row["epoch"]), int(row["epochs"]), minimum)

    @classmethod
    def of(cls, trial: TrialRow) -> "Place":
        """Return where a trial is."""
        return cls(trial.status, trial.epoch, trial.epochs, None if trial.result is None else trial.result.minimum)


@dataclass(frozen=True, kw_only=True)
class StateRow:
    """One recorded epoch: metrics as the worker measured them, time (ms since 1970) and worker; never changed."""

    key: str
    parent: str
    epoch: int
    metrics: Mapping[str, float]
    finished_at_ms: int
    worker: str

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "StateRow":
        """Decode a row of the table."""
        return _filled(cls, _given(row) | {"metrics": json.loads(row["metrics"])})


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """One entry of the append-only log that the tracking projector tails."""

    id: int
    sweep_id: str
    kind: str
    payload: Mapping[str, Any]
    at_ms: int
    previous: int = 0  # id of the sweep's previous event

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "EventRow":
        """Decode a row of the table."""
        return _filled(cls, _given(row) | {"payload": json.loads(row["payload"])})


@dataclass(frozen=True, kw_only=True)
class Work:
    """Total work for a sweep over all its invocations, with epochs and forks counted from the workers' reports.

    ``seconds_training`` and ``seconds_saving`` (checkpoints) are summed over workers; ``seconds_committing`` (ledger) and
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


@lru_cache(maxsize=4096)
def _decoded(text: str) -> Mapping[str, Any]:
    """Return what many trials of a sweep share, decoded once."""
    found: Mapping[str, Any] = json.loads(text)
    return found


def _given(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = dict(row)
    del values["digest"]
    return values


def _filled(kind: type[Row], values: Mapping[str, Any]) -> Row:
    """Return a row with these fields. The constructor of a frozen class takes longer than all else of a read."""
    row = object.__new__(kind)
    vars(row).update(values)
    return row


def storable(text: str) -> str:
    """Return a text that every database and terminal accepts: paths in errors may contain bytes that are not characters."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


def encode(value: Any, *, sort_keys: bool = True) -> str:
    """Encode a JSON column; every float64 survives bit for bit, including NaN and infinities."""
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"))
