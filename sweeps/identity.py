"""Asks a process that has a worker's environment what its programs are: data, code and numerics, for the state keys."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.config import Program, to_dict
from workers.trajectory import Identity


class IdentityError(Exception):
    """A program cannot be trained here: data are missing or do not fit task or model, or resources are not there."""


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment:
    """What a worker process runs with. The CPU client reads its thread count when it starts, hence the environment."""

    threads: int
    cache: Path
    gpu: bool = False

    def variables(self) -> dict[str, str]:
        """Environment variables to add to a worker's."""
        variables = {
            "NPROC": str(self.threads),
            "OMP_NUM_THREADS": str(self.threads),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache.absolute()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        return variables if self.gpu else variables | {"JAX_PLATFORMS": "cpu"}


def workers_at_once(threads: int, cpu: float) -> int:
    """Workers that the cores of this process can hold, at least one.

    Measured, one-thread workers on all cores beat one worker with all threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(cores / max(threads, cpu)))


def identify(
    programs: Sequence[Program], environment: WorkerEnvironment, data_dir: Path | None
) -> dict[Program, Identity]:
    """The identity of each program on this machine.

    Raises:
        IdentityError: a data set is missing, is of the wrong kind, or does not fit the model or batch size.
    """
    distinct = list(dict.fromkeys(programs))
    question = {"programs": [to_dict(program) for program in distinct], "data_dir": data_dir and str(data_dir)}
    answered = subprocess.run(
        [sys.executable, "-P", "-m", "workers.trajectory"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env=os.environ | environment.variables(),
        check=False,
    )
    if answered.returncode != 0:
        raise IdentityError(f"a worker process must start here, but ended with: {answered.stderr.strip()[-2000:]}")
    answer: Mapping[str, object] = json.loads(answered.stdout)
    if "fault" in answer:
        raise IdentityError(str(answer["fault"]))
    identities = answer["identities"]
    assert isinstance(identities, list)
    return {program: Identity(**values) for program, values in zip(distinct, identities, strict=True)}
