"""What is entered in the ledger: the identity of a sweep, and new rows of trials, states and checkpoints."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweeps.ledger import tables
from sweeps.ledger.holding import now_ms
from sweeps.ledger.records import TrialStatus, encode
from sweeps.ledger.sealing import seal
from sweeps.spec.trial import Trial
from workers.cohort import Record
from workers.config import Program, to_dict
from workers.trajectory import Identity


def sweep_identity(name: str, trials: Sequence[Trial], identities: Mapping[Program, Identity], *, sharing: bool) -> str:
    """The id of a sweep: twelve hex digits of a hash of its name, its trials, their roots and whether they share."""
    paths = [(trial.name, trial.id, identities[trial.program].root(trial.seed)) for trial in trials]
    competing = {trial.arm: trial.halving.model_dump() for trial in trials if trial.halving}
    given = {"name": name, "sharing": sharing, "trials": paths} | ({"halving": competing} if competing else {})
    content = encode(given)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def trial_row(sweep_id: str, trial: Trial) -> dict[str, Any]:
    """The row of a trial of which nothing is trained yet."""
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
    """The row of a checkpoint that is there now."""
    return seal(tables.checkpoints, {"key": key, "epoch": epoch, "saved_at_ms": now_ms()})


def state_row(record: Record) -> dict[str, Any]:
    """The row of a state that was just recorded."""
    values = {
        "key": record.key,
        "parent": record.parent,
        "epoch": record.epoch,
        "metrics": encode(record.metrics),
        "finished_at_ms": record.finished_at_ms,
        "worker": record.worker,
    }
    return seal(tables.states, values)
