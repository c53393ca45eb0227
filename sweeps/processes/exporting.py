"""The weights of a recorded state as files, written by its task (`export` of `workers.contracts.Training`).

The question is ``{"checkpoints": folder, "store": URL or null, "data_dir": folder or null, "program", "data": sha256, "key",
"folder"}``: the recorded program, data and key of the state, and where to write. The answer is ``{}``, or
``{"fault": message, "store": whether the machine failed: an object store, or reading or writing files}``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.errors import ConfigError
from sweeps.spec.programs import program_from_dict
from workers.checkpoints import CheckpointDamaged, StoreError
from workers.config import variants_of
from workers.data import DataError
from workers.plugins import blamed
from workers.randomness import epoch_key
from workers.workshop import Workshop


def main(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a question."""
    try:
        _export(question)
    except FileNotFoundError:
        return {"fault": f"checkpoint {question['key']}: must be in {_place(question)}, which lacks it", "store": False}
    except (ConfigError, DataError, ValueError, CheckpointDamaged) as error:
        return {"fault": str(error), "store": False}
    except StoreError as error:
        return {"fault": str(error), "store": True}
    except OSError as error:
        what = f"checkpoint {question['key']} in {_place(question)}: cannot be read, or its weights not be written"
        return {"fault": f"{what}: {error}", "store": True}
    return {}


def _export(question: Mapping[str, Any]) -> None:
    """Restore the state, every byte of which is verified, and let its task write it.

    Raises:
        FileNotFoundError: the checkpoint is not there.
        ConfigError, DataError: the program or its data cannot be used, or the data differ.
        ValueError: the task exports nothing, or its parts do not fit.
        CheckpointDamaged, StoreError, OSError: the checkpoint cannot be restored, or a file not be written.
    """
    program = program_from_dict(question["program"])
    data_dir = None if question["data_dir"] is None else Path(question["data_dir"])
    workshop = Workshop(checkpoints=Path(question["checkpoints"]), store=question["store"], data_dir=data_dir)
    with blamed(*variants_of(program)):
        training = workshop.training(program)
        export = getattr(training, "export", None)
        if export is None:
            raise ValueError(f"task {program.task.kind}: must be one that exports weights, which this task does not")
        # What is exported beside the weights, such as a vocabulary, comes from the data.
        if training.fingerprint != question["data"]:
            found = f"{question['data'][:12]} was trained, got {training.fingerprint[:12]}"
            raise DataError(f"data: must be those that the state was trained on, sha256 {found}")
        like = training.init(epoch_key(0, 0))
    state = workshop.checkpoints.restore(question["key"], like=like)
    with blamed(*variants_of(program)):
        export(state, Path(question["folder"]))


def _place(question: Mapping[str, Any]) -> str:
    return str(question["store"] or question["checkpoints"])
