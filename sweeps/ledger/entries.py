"""Entries of the ledger: the id of a sweep, new rows, and the batch that one report of a worker adds."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.ledger import tables
from sweeps.ledger.holding import now_ms
from sweeps.ledger.records import CurveResult, TrialStatus, encode, storable
from sweeps.ledger.sealing import seal
from workers.config import to_dict

if TYPE_CHECKING:  # a reader of the ledger, such as `abel status`, needs no spec
    from sweeps.spec.trial import Trial
    from workers.config import Program
    from workers.reports import Record
    from workers.trajectory import Identity


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one report of a worker adds to the ledger, in one transaction.

    ``heads`` moves trials along their paths: trial id to (state key, epoch); ``results`` says what their curves come to there.
    ``final`` is the last epoch of a trial whose record is covered by a checkpoint. ``failures`` maps trials to the class of their
    failure and the number of attempts since. ``events`` are (kind, payload) pairs.
    """

    records: Sequence[Record] = ()
    heads: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    results: Mapping[str, CurveResult] = field(default_factory=dict)
    final: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Sequence[tuple[str, int]] = ()
    failures: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    ended: Mapping[str, tuple[TrialStatus, str | None]] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    replayed: int = 0
    forks: int = 0
    seconds_saving: float = 0.0


def moved(batch: Batch) -> dict[str, dict[str, Any]]:
    """Return the changes of a batch to each trial's row."""
    moved: dict[str, dict[str, Any]] = defaultdict(dict)
    for trial, (key, epoch) in batch.heads.items():
        result = batch.results.get(trial)
        moved[trial] |= {"head": key, "epoch": epoch, "status": TrialStatus.RUNNING}
        moved[trial] |= {"result": result and result.to_text()}
    for trial, epoch in batch.final.items():
        moved[trial] |= {"final_epoch": epoch}
    for trial, (failure, attempts) in batch.failures.items():
        moved[trial] |= {"failure": failure, "attempts": attempts}
    for trial, (status, error) in batch.ended.items():
        moved[trial] |= {"status": status, "error": error and storable(error)}
    return moved


def spent(row: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    """Return the changes of a batch to the row of its invocation."""
    return {
        "trained": row["trained"] + len(batch.records),
        "replayed": row["replayed"] + batch.replayed,
        "forks": row["forks"] + batch.forks,
        "seconds_saving": row["seconds_saving"] + batch.seconds_saving,
        "seconds_training": row["seconds_training"] + sum(record.metrics["seconds"] for record in batch.records),
    }


def sweep_identity(name: str, trials: Sequence[Trial], identities: Mapping[Program, Identity], *, sharing: bool) -> str:
    """Return the id of a sweep: twelve hex digits of a hash of its name, trials, their roots, sharing and halving."""
    paths = [(trial.name, trial.id, identities[trial.program].root(trial.seed)) for trial in trials]
    competing = {trial.arm: trial.halving.model_dump() for trial in trials if trial.halving}
    given = {"name": name, "sharing": sharing, "trials": paths} | ({"halving": competing} if competing else {})
    content = encode(given)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def trial_row(sweep_id: str, trial: Trial) -> dict[str, Any]:
    """Return the row of a new trial."""
    values = {
        "id": hashlib.sha256(f"{sweep_id}/{trial.id}".encode()).hexdigest()[:16],
        "sweep_id": sweep_id,
        "number": trial.number,
        "name": trial.name,
        "arm": trial.arm,
        "seed": trial.seed,
        "settings": encode(trial.settings),
        "program": encode(to_dict(trial.program)),
        "schedule": encode(asdict(trial.schedule)),  # type: ignore[call-overload]
        "epochs": trial.epochs,
        "status": TrialStatus.WAITING,
        "epoch": 0,
    }
    return seal(tables.trials, values)


def checkpoint_row(key: str, epoch: int) -> dict[str, Any]:
    """Return the row of a checkpoint that was just saved."""
    return seal(tables.checkpoints, {"key": key, "epoch": epoch, "saved_at_ms": now_ms()})


def state_row(record: Record) -> dict[str, Any]:
    """Return the row of a state that was just recorded."""
    values = {
        "key": record.key,
        "parent": record.parent,
        "epoch": record.epoch,
        "metrics": encode(record.metrics),
        "finished_at_ms": record.finished_at_ms,
        "worker": record.worker,
    }
    return seal(tables.states, values)
