"""The identities of programs, which name the states of their trials: data, code and numerics as a worker here has them.

The question is ``{"programs": [...], "data_dir": folder or null, "hosts": number}``, with the hosts of a worker. The answer is
``{"identities": [...]}``, or ``{"fault": message, "missing": whether data are missing}``.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sweeps.errors import ConfigError
from sweeps.processes.fitting import check_dataset, check_state
from sweeps.spec.programs import program_from_dict
from workers.config import variants_of
from workers.data import DataError, DataMissing
from workers.plugins import blamed
from workers.trajectory import identify


def main(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a question."""
    try:
        return {"identities": _identities(question)}
    except (ConfigError, DataError, ValueError, MemoryError) as error:
        return {"fault": str(error), "missing": isinstance(error, DataMissing)}


def _identities(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the identities of the question's programs.

    Raises:
        ConfigError, DataError, ValueError: a program does not fit its data, or a variant failed.
    """
    data_dir = None if question["data_dir"] is None else Path(question["data_dir"])

    @cache
    def load(data: Any) -> Any:
        with blamed(data):
            found = data.load(data_dir)
            check_dataset(found)
            return found

    identities = []
    for program in map(program_from_dict, question["programs"]):
        with blamed(*variants_of(program)):
            training = program.task.build(program, load)
            check_state(training)
            identity = identify(program, training).over(question["hosts"])
            program.check_batch(program.batch_size, int(identity.numerics["devices"]))
            identities.append(identity.to_dict())
    return identities
