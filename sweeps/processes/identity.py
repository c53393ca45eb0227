"""Identities of programs for the state keys (data, code and numerics), from a process with a worker's environment."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

from workers.checkpoints import StoreError
from workers.config import Program, to_dict
from workers.trajectory import Identity

TRIES = 3
LOOK_SECONDS = 0.5
LOOKS_STOPPED = 60  # polls, not seconds: Ctrl-Z stops this process as well, and `fg` continues both
SAID_BYTES = 2000

# Variables that limit libtpu to some of a machine's chips; Ray sets the same ones for its workers (jax#14977).
TPU_BOUNDS: Mapping[int, Mapping[str, str]] = {
    chips: {"TPU_CHIPS_PER_HOST_BOUNDS": f"1,{chips},1", "TPU_HOST_BOUNDS": "1,1,1"} for chips in (1, 2)
}


class IdentityError(Exception):
    """A program cannot be trained here: data are missing or do not fit task or model, or resources are missing."""


class DataAbsent(IdentityError):
    """A program's data are not on this machine."""


class IdentityLost(Exception):
    """A process that was asked was killed or stopped; the spec itself may be fine."""


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment:
    """Environment of a worker process; JAX's CPU client reads its thread count from it at start-up."""

    threads: int
    cache: Path
    gpu: bool = False
    gpus: int | None = None  # number of GPUs that a worker has; None for all of its machine
    tpus: int | None = None  # the same for TPU chips

    def variables(self) -> dict[str, str]:
        """Return the environment variables to add for a worker."""
        variables = {
            "NPROC": str(self.threads),
            "OMP_NUM_THREADS": str(self.threads),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache.absolute()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        return variables if self.gpu else variables | {"JAX_PLATFORMS": "cpu"}

    def visible(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that show a process as many devices as Ray shows a worker, whose number is in the state keys."""
        return _first("CUDA_VISIBLE_DEVICES", self.gpus, environ) | (
            _first("TPU_VISIBLE_CHIPS", self.tpus, environ) | dict(TPU_BOUNDS.get(self.tpus or 0, {}))
        )


def _first(name: str, devices: int | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable for the first so many of the visible devices."""
    if not devices:
        return {}
    shown = environ.get(name)
    known = shown.split(",") if shown is not None else [str(number) for number in range(devices)]
    return {name: ",".join(known[:devices])}


def workers_at_once(threads: int, cpu: float) -> int:
    """Return the number of workers that fit on this process's cores, at least one.

    In measurements, one-thread workers on all cores are faster than one worker with all threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(cores / max(threads, cpu)))


def identities_here(
    programs: Sequence[Program], environment: WorkerEnvironment, data_dir: Path | None
) -> dict[Program, Identity]:
    """Return the identity of each program on this machine.

    Raises:
        DataAbsent: a data set is missing.
        IdentityError: a data set is of the wrong kind, or does not fit the model or batch size; the model does not fit into
            memory; or a plug-in failed.
        IdentityLost: the data inspection process was killed or stopped three times.
    """
    distinct = list(dict.fromkeys(programs))
    given = [to_dict(program) for program in distinct]
    question = {"programs": given, "data_dir": data_dir and str(data_dir), "hosts": 1}
    answer = ask_worker("sweeps.processes.inspection", question, environment, "the data inspection process")
    return {program: Identity.from_dict(values) for program, values in zip(distinct, answer["identities"], strict=True)}


def ask_worker(
    module: str, question: Mapping[str, Any], environment: WorkerEnvironment, process: str
) -> Mapping[str, Any]:
    """Return what a module's ``main`` answers to a question, in JSON both, in a process with a worker's environment.

    Args:
        process: what the process is, for messages.

    Raises:
        IdentityError: the process answers with a fault, or does not answer.
        StoreError: it answers that an object store, or reading or writing files, failed.
        IdentityLost: the process was killed or stopped three times.
    """
    asked = partial(_asked_once, module, json.dumps(question).encode(), environment, process)
    for _ in range(TRIES - 1):
        try:
            return asked()
        except IdentityLost:
            continue
    return asked()


def _asked_once(module: str, question: bytes, environment: WorkerEnvironment, what: str) -> Mapping[str, Any]:
    """Use files instead of pipes: they never block on a stopped process, and plug-in output does not mix with the answer."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        environ = os.environ | environment.variables()
        asked.write(question)
        asked.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "sweeps.processes", module, str(answer.fileno())],
            stdin=asked,
            stdout=said,
            stderr=said,
            pass_fds=[answer.fileno()],
            env=environ | environment.visible(environ),
        ) as process:
            try:
                _wait(process, what)
            finally:
                process.kill()
        if process.returncode < 0:
            raise IdentityLost(f"{what} was killed by {_signal(-process.returncode)}")
        answer.seek(0)
        try:
            found: Mapping[str, Any] = json.load(answer)
        except ValueError:
            code = process.returncode
            raise IdentityError(f"a worker process must start here, but ended with code {code}: {_end(said)}") from None
    if "fault" in found:
        raise fault_in(found)
    return found


def fault_in(answer: Mapping[str, Any]) -> Exception:
    """Return the error that a process answers with, by what the answer says of its cause."""
    if answer.get("store"):
        return StoreError(answer["fault"])
    return (DataAbsent if answer.get("missing") else IdentityError)(answer["fault"])


def _wait(process: subprocess.Popen[bytes], what: str) -> None:
    """Wait for a process to end, without a limit unless it is stopped and not continued."""
    stopped = 0
    while stopped < LOOKS_STOPPED:
        try:
            process.wait(LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            stopped = stopped + 1 if _is_stopped(process.pid) else 0
    raise IdentityLost(f"{what} was stopped for {LOOKS_STOPPED * LOOK_SECONDS:.0f} s and not continued")


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:  # if SIGCHLD is ignored, an ended process leaves no zombie
        return False


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name


def _end(said: IO[bytes]) -> str:
    """Return the end of a process's output."""
    said.seek(-min(SAID_BYTES, said.seek(0, os.SEEK_END)), os.SEEK_END)
    return said.read().decode(errors="replace").strip() or "it printed nothing"
