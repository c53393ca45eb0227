"""Submissions and tokens as frozen dataclasses, with JSON columns decoded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sweeps.ledger import leases
from sweeps.ledger.holding import now_ms


class Wanted(StrEnum):
    """What a submission's owner wants of it."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Where a submission is: the first five may change, the others are outcomes."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # on the way to being paused or cancelled
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"  # its data, its resources or its settings are not there

    @property
    def final(self) -> bool:
        """Whether it is an outcome."""
        return self in (Phase.FINISHED, Phase.FAILED, Phase.CANCELLED, Phase.REFUSED)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A sweep that somebody asked for. ``options`` are fields of a request, such as its priority over results.

    ``sweep_id`` is known once a driver has asked a worker's node what it computes with; before that, no key is known.
    """

    id: str
    owner: str
    idempotency: str | None
    body: str
    name: str
    spec: Mapping[str, Any]
    options: Mapping[str, Any]
    priority: int
    wanted: Wanted
    outcome: str | None
    error: str | None
    sweep_id: str | None
    workers: int | None
    launches: int
    failures: int
    launched_ms: int | None
    holder: str | None
    lease_until_ms: int
    created_ms: int
    changed_ms: int

    @property
    def is_held(self) -> bool:
        """Whether a process carries it out now; see :func:`sweeps.ledger.leases.is_held`."""
        return leases.is_held(self)

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "Submission":
        """Decode a row of the table."""
        decoded = {name: json.loads(row[name]) for name in ("spec", "options")} | {"wanted": Wanted(row["wanted"])}
        return cls(**{field.name: row[field.name] for field in fields(cls)} | decoded)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without its secret, of which only a digest exists."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    @property
    def is_valid(self) -> bool:
        """Whether it was not revoked and has not expired."""
        return self.revoked_ms is None and (self.expires_ms is None or self.expires_ms > now_ms())

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "Token":
        """Decode a row of the table."""
        scopes = tuple(row["scopes"].split(" "))
        return cls(**{field.name: row[field.name] for field in fields(cls)} | {"scopes": scopes})


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One entry of the audit log: who did what to what, and when (ms since 1970)."""

    id: int
    at_ms: int
    actor: str
    action: str
    target: str
    detail: str

    @classmethod
    def read(cls, row: Mapping[Any, Any]) -> "AuditRow":
        """Decode a row of the table."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})
