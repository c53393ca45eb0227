"""The identities of programs, which name the states of their trials: data, code and numerics as a worker here has them.

``python -m sweeps.processes.inspection [FD]`` reads ``{"programs": [...], "data_dir": folder or null, "hosts": number}`` from
standard input, with the hosts of a worker. It writes ``{"identities": [...]}``, or ``{"fault": message, "missing": whether data
are missing}``, to a file descriptor, by default standard output. The driver runs it in a process with a worker's environment.
"""

import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

from sweeps.errors import ConfigError
from sweeps.processes.fitting import check_state
from sweeps.spec.programs import program_from_dict
from workers.config import variants_of
from workers.data import DataError, DataMissing
from workers.plugins import blamed
from workers.trajectory import identify


def main(target: IO[str]) -> None:
    """Answer one question from standard input."""
    json.dump(answer(json.load(sys.stdin)), target)


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
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
            return data.load(data_dir)

    found = []
    for program in map(program_from_dict, question["programs"]):
        with blamed(*variants_of(program)):
            training = program.task.build(program, load)
            check_state(training)
            identity = identify(program, training).over(question["hosts"])
            program.check_batch(program.batch_size, int(identity.numerics["devices"]))
            found.append(identity.to_dict())
    return found


if __name__ == "__main__":
    with open(int(sys.argv[1]) if sys.argv[1:] else sys.stdout.fileno(), "w", encoding="utf-8") as stream:
        main(stream)
