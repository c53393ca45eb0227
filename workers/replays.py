"""Replays of recorded epochs, which show whether other code still computes the states of their records.

``python -m workers.replays [FD]`` reads ``{"checkpoints": folder, "data_dir": folder or null, "epochs": [...]}`` from standard
input and writes ``{"metrics": [...]}`` in the same order, or ``{"fault": message}``, to a file descriptor, by default standard
output. An epoch is ``{"program", "seed", "epoch", "parent", "learning_rates", "batch_size"}``: ``parent`` is the key of the
checkpoint to start from, null for the initialisation. Metrics are null if that checkpoint is no state of this code.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from abel.schedules import EpochPlan
from workers.checkpoints import CheckpointDamaged
from workers.cohort import train_epoch
from workers.config import ConfigError, from_dict
from workers.data import DataError
from workers.randomness import epoch_key
from workers.workshop import Workshop


def replay_epoch(epoch: Mapping[str, Any], workshop: Workshop) -> dict[str, float] | None:
    """Return the metrics of an epoch trained by this code, or None if its checkpoint does not fit this code.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    training = workshop.training(from_dict(epoch["program"]))
    state = training.init(epoch_key(epoch["seed"], 0))
    if epoch["parent"] is not None:
        try:
            state = workshop.checkpoints.restore(epoch["parent"], like=state)
        except CheckpointDamaged:
            return None
    plan = EpochPlan(np.asarray(epoch["learning_rates"], np.float32), epoch["batch_size"])
    _, metrics = train_epoch(training, state, plan, epoch["seed"], epoch["epoch"])
    return metrics


def main(target: IO[str]) -> None:
    """Answer one question from standard input."""
    question = json.load(sys.stdin)
    data_dir = None if question["data_dir"] is None else Path(question["data_dir"])
    workshop = Workshop(checkpoints=Path(question["checkpoints"]), data_dir=data_dir)
    try:
        answer: dict[str, Any] = {"metrics": [replay_epoch(epoch, workshop) for epoch in question["epochs"]]}
    except (ConfigError, DataError, ValueError, MemoryError, FileNotFoundError) as error:
        answer = {"fault": str(error)}
    json.dump(answer, target)


if __name__ == "__main__":
    with open(int(sys.argv[1]) if sys.argv[1:] else sys.stdout.fileno(), "w", encoding="utf-8") as stream:
        main(stream)
