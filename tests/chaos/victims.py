"""The processes of a run, found by what they are."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum

import psutil


class Victim(StrEnum):
    """A process, or all of them, that a fault hits."""

    WORKER = "worker"
    DRIVER = "driver"
    RAYLET = "raylet"
    GCS = "GCS"
    PROJECTOR = "projector"
    JANITOR = "janitor"
    IDENTITY = "identity process"
    LOG_MONITOR = "log monitor"
    COMMAND = "command"
    TREE = "whole tree"


# After their loss nothing is recorded before there is another one.
VITAL = frozenset((Victim.DRIVER, Victim.RAYLET, Victim.GCS))

ARGUMENTS = {
    Victim.DRIVER: "sweeps.run.driver_process",
    Victim.PROJECTOR: "services.tracking.uploading",
    Victim.JANITOR: "sweeps.processes.janitor",
    Victim.IDENTITY: "sweeps.processes.inspection",
}


def find(command: int, victim: Victim) -> list[psutil.Process]:
    """The processes of a command that a fault may hit; a tree's are all of them."""
    try:
        root = psutil.Process(command)
        children = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    match victim:
        case Victim.COMMAND:
            return [root]
        case Victim.TREE:
            return [root, *children]
        case _:
            return [process for process in children if _is(process, victim)]


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send a signal; False where the process has ended."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        return True
    return False


def kill_tree(command: int) -> None:
    """Kill a command and everything that it started; stopped first: nothing is started meanwhile."""
    for process in find(command, Victim.TREE):
        send(process, signal.SIGSTOP)
    for process in find(command, Victim.TREE):
        send(process, signal.SIGKILL)


def marked(variable: str, value: str) -> Iterator[psutil.Process]:
    """Live processes with an environment variable."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(variable) == value:
                yield process


def end_marked(variable: str, value: str) -> None:
    """Kill the live processes with an environment variable."""
    for process in marked(variable, value):
        send(process, signal.SIGKILL)


def described(process: psutil.Process) -> str:
    """A process as text."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        return f"{process.pid}"


def _is(process: psutil.Process, victim: Victim) -> bool:
    tests: dict[Victim, Callable[[], bool]] = {
        Victim.WORKER: lambda: process.cmdline()[0].startswith("ray::") and "Agent" not in process.cmdline()[0],
        Victim.RAYLET: lambda: process.name() == "raylet",
        Victim.GCS: lambda: process.name() == "gcs_server",
        Victim.LOG_MONITOR: lambda: any(part.endswith("log_monitor.py") for part in process.cmdline()),
    }
    try:
        return tests[victim]() if victim in tests else ARGUMENTS[victim] in process.cmdline()
    except (psutil.Error, IndexError):
        return False
