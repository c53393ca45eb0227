"""The Ray side of a worker: one Tune trial is one cohort, trained by :func:`workers.cohort.train`; alone, or as a gang's leader.

A report carries every epoch since the last one. Failures in training are returned (``failure`` and its class) instead of raised,
as Tune keeps only a flag of an exception. SIGTERM means that the machine is being taken away: the current epoch is finished, its
state saved, and the result is ``preempted``; the next call ends the process.
"""

import os
import signal
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune
from ray._private.worker import global_worker

from sweeps.files import OWNER_ONLY
from sweeps.processes.job import Options
from sweeps.processes.memory import GIB, in_use
from sweeps.run.failures import FailureClass, classify
from sweeps.run.placement.gangs import Gang, OtherPeer
from workers.cohort import OtherDevice, WorkerMismatch, train
from workers.reports import Cohort, Forked, Report
from workers.workshop import Workshop

LINGER_SECONDS = 0.2  # between an idle worker's reports
LESS_MEMORY = (
    "; image classification needs less with program.micro_batches above 1 or, if its model has it, model.remat: true"
)
PREEMPTED = "the machine was taken away: the worker received SIGTERM, saved its state and exited"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings shared by all workers of a sweep."""

    checkpoints: Path
    store: str | None
    data_dir: Path | None
    save_every_seconds: float
    report_every_seconds: float
    allow_nondeterminism: bool
    hosts: int = 1

    @classmethod
    def of(cls, options: Options) -> "WorkerSettings":
        """Return the workers' part of a sweep's options, with absolute paths, as workers have another working directory."""
        return cls(
            checkpoints=options.checkpoints.absolute(),
            store=options.store,
            data_dir=options.data_dir and options.data_dir.absolute(),
            save_every_seconds=options.save_every_seconds,
            report_every_seconds=options.report_every_seconds,
            allow_nondeterminism=options.allow_nondeterminism,
            hosts=options.hosts,
        )


class Payload:
    """A cohort in Ray's object store, for the configuration of a Tune trial.

    Tune also pickles configurations into its own files, and Ray never frees an object whose reference was pickled outside of its
    own messages. There a payload leaves its reference out.
    """

    def __init__(self, reference: "ray.ObjectRef | None") -> None:
        self._reference = reference

    @classmethod
    def of(cls, cohort: Cohort) -> "Payload":
        """Put a cohort in the object store."""
        return cls(ray.put(cohort))

    def get(self) -> Cohort:
        """Return the cohort."""
        cohort: Cohort = ray.get(self._reference)
        return cohort

    def __deepcopy__(self, memo: object) -> "Payload":
        return self

    def __reduce__(self) -> tuple[type["Payload"], tuple["ray.ObjectRef | None"]]:
        context = global_worker.get_serialization_context()
        return Payload, (self._reference if context.is_in_band_serialization() else None,)


class CohortTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the cohort in its configuration; a process trains one cohort after another."""

    _is_done: bool

    def setup(self, config: dict[str, Any]) -> None:
        """Open the workshop, which keeps compiled epochs and data between cohorts."""
        os.umask(OWNER_ONLY)  # on another node the driver's umask is not inherited
        settings: WorkerSettings = config["settings"]
        self._gang = Gang(settings.checkpoints, settings.data_dir, self._leave) if settings.hosts > 1 else None
        self._workshop = Workshop(
            checkpoints=settings.checkpoints,
            store=settings.store,
            data_dir=settings.data_dir,
            save_every_seconds=settings.save_every_seconds,
            allow_nondeterminism=settings.allow_nondeterminism,
            led=self._gang.led if self._gang else None,
        )
        self._report_every_seconds = settings.report_every_seconds
        self._ends = False
        signal.signal(signal.SIGTERM, self._leave)  # replaces Ray's handler, which ends the process at once
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next cohort, in the same process."""
        self._reports.close()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a short time, at least one epoch."""
        if self._ends:
            ray.actor.exit_actor()  # not earlier: Tune would give the next cohort to a process that it considers idle
        if self._is_done:
            time.sleep(LINGER_SECONDS)
            return {"reports": [], "done": False, "idle": True}
        reports: list[Report] = []
        until = time.monotonic() + self._report_every_seconds
        try:
            for report in self._reports:
                reports.append(report)
                if isinstance(report, Forked) or time.monotonic() >= until:  # siblings may find a free worker
                    return {"reports": reports, "done": False}
        except Exception as error:
            return {"reports": reports} | self._failed(error)
        self._ends = self._workshop.leaving.is_set()
        if self._ends:
            taken = {"failure": PREEMPTED, "failure_class": FailureClass.PREEMPTED}
            return {"reports": reports, "preempted": True, "done": False} | taken
        self._is_done = True
        return {"reports": reports, "done": not self._lingers}

    def cleanup(self) -> None:
        """Save the current state, if training was stopped early."""
        self._reports.close()
        if self._gang is not None:
            self._gang.end()

    def _failed(self, error: Exception) -> dict[str, Any]:
        """Return the result for an error. It also ends a gang, whose processes may be at different steps."""
        if self._gang is None:
            return {"done": True} | _failure(error)
        self._ends = True
        return {"done": False} | _failure(self._gang.explained(error))

    def _leave(self, *_: object) -> None:
        self._workshop.leaving.set()

    def _begin(self, config: dict[str, Any]) -> None:
        try:
            cohort = config["cohort"].get()
        except Exception as error:
            self._reports = _unreadable(error)
        else:
            self._reports = train(cohort, self._workshop)
        self._lingers: bool = config["lingers"]
        self._is_done = False


def _unreadable(error: Exception) -> Generator[Report, None, None]:
    """Fail where training would begin: a worker without a plug-in cannot read its cohort, and a retry would not help."""
    yield from ()
    if isinstance(error, ray.exceptions.ObjectLostError):
        raise error
    last = str(error).strip().splitlines()[-1:] or [repr(error)]
    raise WorkerMismatch(f"this worker cannot read its cohort; are the plug-ins installed here? {last[0]}") from error


def _failure(error: Exception) -> dict[str, Any]:
    """Return the result for an error: its first line, with figures and a remedy if memory ran out, and its traceback."""
    kind = classify(error)
    line, *more = f"{type(error).__name__}: {error}".splitlines()
    if kind is FailureClass.OUT_OF_MEMORY:
        line += f" ({in_use()}; the worker has {psutil.Process().memory_info().rss / GIB:.1f} GiB)"
        line += LESS_MEMORY if "RESOURCE_EXHAUSTED" in str(error) else ""
    failure = {"failure": "\n".join([line, *more, traceback.format_exc()]), "failure_class": kind}
    if not isinstance(error, OtherDevice):
        return failure
    node = error.node if isinstance(error, OtherPeer) else ray.get_runtime_context().get_node_id()
    return failure | {"foreign_node": node}
