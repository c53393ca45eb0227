"""Replays of recorded epochs, which show whether other code still computes the states of their records.

The question is ``{"checkpoints": folder, "store": URL or null, "data_dir": folder or null, "ways": [...]}``. The answer is
``{"metrics": [...]}`` in the same order, or ``{"fault": message}``. A way is ``{"program", "seed", "epoch", "parent", "plans"}``:
``plans`` are those of consecutive epochs from ``epoch`` on, each ``{"learning_rates", "batch_size"}``; ``parent`` is the key of
the checkpoint to start from, null for the initialisation. Its metrics are a list, an epoch each, or null if that checkpoint is
no state of this code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abel.schedules import EpochPlan
from sweeps.errors import ConfigError
from sweeps.spec.programs import program_from_dict
from workers.checkpoints import CheckpointDamaged
from workers.config import variants_of
from workers.plugins import blamed
from workers.randomness import epoch_key
from workers.segments import train_segment
from workers.workshop import Workshop


class ReplayError(Exception):
    """An epoch could not be replayed."""


def replay_way(way: Mapping[str, Any], workshop: Workshop) -> list[dict[str, float]] | None:
    """Return the metrics of consecutive epochs trained by this code, or None if their checkpoint does not fit this code.

    Raises:
        ReplayError: an epoch cannot be trained; the message says which one and why.
    """
    program, first = program_from_dict(way["program"]), way["epoch"]
    variants = variants_of(program)
    found: list[dict[str, float]] = []
    try:
        with blamed(*variants):
            training = workshop.training(program)
            state = training.init(epoch_key(way["seed"], 0))
        if way["parent"] is not None:
            state = workshop.checkpoints.restore(way["parent"], like=state)
        for epoch, given in enumerate(way["plans"], start=first):
            plan = EpochPlan(np.asarray(given["learning_rates"], np.float32), given["batch_size"])
            with blamed(*variants):
                state, metrics = train_segment(training, state, plan, way["seed"], epoch)
            found.append(metrics)
    except CheckpointDamaged:
        return None
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ReplayError(f"seed {way['seed']}, epoch {first + len(found)}: {why}") from error
    return found


def main(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a question."""
    data_dir = None if question["data_dir"] is None else Path(question["data_dir"])
    workshop = Workshop(checkpoints=Path(question["checkpoints"]), store=question["store"], data_dir=data_dir)
    try:
        return {"metrics": [replay_way(way, workshop) for way in question["ways"]]}
    except (ConfigError, ReplayError) as error:
        return {"fault": str(error)}
