"""Asks a process that has a worker's environment what its programs are: data, code and numerics, for the state keys."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from workers.config import Program, to_dict
from workers.trajectory import Identity

TRIES = 3
LOOK_SECONDS = 0.5
LOOKS_STOPPED = 60  # looks, not seconds: Ctrl-Z stops this process as well, and `fg` continues both
SAID_BYTES = 2000


class IdentityError(Exception):
    """A program cannot be trained here: data are missing or do not fit task or model, or resources are not there."""


class IdentityLost(Exception):
    """The machine ended the data inspection process; nothing is known to be wrong with the spec."""


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


def identities_here(
    programs: Sequence[Program], environment: WorkerEnvironment, data_dir: Path | None
) -> dict[Program, Identity]:
    """The identity of each program on this machine.

    Raises:
        IdentityError: a data set is missing, is of the wrong kind, or does not fit the model or batch size; or a plug-in failed.
        IdentityLost: the process that was asked was killed or stopped, three times.
    """
    distinct = list(dict.fromkeys(programs))
    question = {"programs": [to_dict(program) for program in distinct], "data_dir": data_dir and str(data_dir)}
    answer = _ask(json.dumps(question).encode(), environment)
    if "fault" in answer:
        raise IdentityError(answer["fault"])
    return {program: Identity(**values) for program, values in zip(distinct, answer["identities"], strict=True)}


def _ask(question: bytes, environment: WorkerEnvironment) -> Mapping[str, Any]:
    for _ in range(TRIES - 1):
        try:
            return _asked_once(question, environment)
        except IdentityLost:
            continue
    return _asked_once(question, environment)


def _asked_once(question: bytes, environment: WorkerEnvironment) -> Mapping[str, Any]:
    """Files, not pipes: nothing here waits for a process that is stopped, and what a plug-in prints is no answer."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        asked.write(question)
        asked.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.trajectory", str(answer.fileno())],
            stdin=asked,
            stdout=said,
            stderr=said,
            pass_fds=[answer.fileno()],
            env=os.environ | environment.variables(),
        ) as process:
            try:
                _wait(process)
            finally:
                process.kill()
        if process.returncode < 0:
            raise IdentityLost(f"the data inspection process was killed by {_signal(-process.returncode)}")
        answer.seek(0)
        try:
            found: Mapping[str, Any] = json.load(answer)
        except ValueError:
            code = process.returncode
            raise IdentityError(f"a worker process must start here, but ended with code {code}: {_end(said)}") from None
        return found


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process, however long it takes; but not for one that was stopped and is not continued."""
    stopped = 0
    while stopped < LOOKS_STOPPED:
        try:
            process.wait(LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            stopped = stopped + 1 if _is_stopped(process.pid) else 0
    raise IdentityLost(
        f"the data inspection process was stopped for {LOOKS_STOPPED * LOOK_SECONDS:.0f} s and not continued"
    )


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:  # where SIGCHLD is ignored the kernel keeps nothing of a process that ended
        return False


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name


def _end(said: IO[bytes]) -> str:
    """The last lines of what a process has printed."""
    said.seek(-min(SAID_BYTES, said.seek(0, os.SEEK_END)), os.SEEK_END)
    return said.read().decode(errors="replace").strip() or "it printed nothing"
