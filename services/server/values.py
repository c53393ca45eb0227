"""What the service takes and gives: frozen values of plain types, the same for its API and its client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.schemas import SweepDetail, SweepOverview

LOCAL = "local"  # the owner of what a home does without a service, and of the token that a service makes for its own machine


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for a sweep, checked: a spec as JSON types, and how to run it.

    Args:
        hours: accelerator-hours that the sweep may use; None for no limit of its own.
        priority: sweeps of higher priority start first.
    """

    spec: Mapping[str, Any]
    sharing: bool = True
    workers: int | None = None
    threads: int = 1
    tracking: bool = True
    allow_nondeterminism: bool = False
    save_every_seconds: float = 120.0
    hours: float | None = None
    priority: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the spec and the priority."""
        names = ("sharing", "workers", "threads", "tracking", "allow_nondeterminism", "save_every_seconds", "hours")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A submission in one line; times are ms since 1970.

    Args:
        phase: queued, starting, running, stopping, paused, finished, failed, cancelled or refused; of a sweep that was run
            without a service also interrupted, stopped (its process was lost) or no_space.
        sweep_id: of the sweep in the ledger; known once a worker's node was asked what it computes with.
        workers: the most workers at once, as granted at the last start; None for as many as the cluster has.
        launches: how often a process was started for it.
        why: what it waits for, or why it ended.
        ended: whether the phase is an outcome.
        best: the lowest error of any trial so far, in ``unit``.
    """

    id: str
    owner: str
    name: str
    title: str
    phase: str
    wanted: str
    priority: int
    created_ms: int
    sweep_id: str | None
    workers: int | None
    launches: int
    why: str | None
    sweep: SweepOverview | None = None
    best: float | None = None
    unit: str = "%"
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class SubmittedDetail:
    """A submission with its spec, and its sweep once there is one."""

    submission: Submitted
    spec: Mapping[str, Any]
    options: Mapping[str, Any]
    detail: SweepDetail | None = None


@dataclass(frozen=True, kw_only=True)
class SubmittedPage:
    """Submissions, newest first; ``next`` is the cursor of the following page, if there is one."""

    items: tuple[Submitted, ...]
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class Happening:
    """An event of a sweep's log, under its id in the ledger; times are ms since 1970. ``trial`` is the name of its trial."""

    id: int
    kind: str
    at_ms: int
    trial: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
