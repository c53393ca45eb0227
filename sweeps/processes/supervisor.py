"""The command's side of a driver: starts it in a separate process and detects its loss, whatever the cause."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeps.ledger.leases import LEASE_SECONDS
from sweeps.processes.job import Alive, Begun, DriverLost, Job, Outcome, Progress

COMMAND = (sys.executable, "-P", "-m", "sweeps.run.driver_process")
LOOK_SECONDS = 0.5
START_SECONDS = 120.0  # to import everything, on a busy machine
SILENT_SECONDS = LEASE_SECONDS  # without a heartbeat, which comes every few seconds
ENDING_SECONDS = 10.0  # from closing its channel to its end
HUNG_SECONDS = 600.0  # without a message of the main thread, which usually sends two per second
LONGEST_REASON = 300  # characters of the log's last line


def drive(job: Job, *, stop: threading.Event, log: Path) -> Generator[Begun | Progress | Outcome, None, None]:
    """Run a driver process for the job and yield its messages, the outcome last; closing the generator ends the process.

    Args:
        stop: once set, the driver finishes the current epochs and saves.
        log: receives the output of the process, its Ray cluster and their libraries.

    Raises:
        DriverLost: the process ended without an outcome, its Ray cluster failed, or it hangs.
        Exception: any other exception of the driver, unchanged.
    """
    already = log.stat().st_size if log.exists() else 0
    with _process(log) as process:
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for work in (lambda: _listen(process, heard), lambda: _tell(process, job, stop)):
            threading.Thread(target=work, daemon=True).start()
        for message in _messages(heard):
            match message:
                case None:
                    raise DriverLost(f"its process {_how(process, log, already)}")
                case BaseException():
                    raise message
                case Outcome():
                    yield message
                    return
                case _:
                    yield message


@contextmanager
def _process(log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches only the command, which stops this process gracefully
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _tell(process: "subprocess.Popen[bytes]", job: Job, stop: threading.Event) -> None:
    """Send the job, and later the request to stop. Runs in its own thread, as a stopped process would block the writes."""
    assert process.stdin is not None
    asked = False
    with suppress(OSError), process.stdin as pipe:  # the process has ended, which the listener detects
        pickle.dump(job, pipe)
        pipe.flush()
        while process.returncode is None:
            if stop.is_set() and not asked:
                pipe.write(b"\n")
                pipe.flush()
                asked = True
            time.sleep(LOOK_SECONDS)


def _listen(process: "subprocess.Popen[bytes]", heard: "queue.SimpleQueue[Any]") -> None:
    """Pass on every message, then None; an unreadable message counts as the loss of the driver."""
    assert process.stdout is not None
    try:
        with process.stdout as pipe, Connection(os.dup(pipe.fileno())) as connection:
            while True:
                heard.put(connection.recv())
    except (EOFError, OSError):
        heard.put(None)
    except Exception as error:  # unpickling can raise anything
        heard.put(DriverLost(f"its process sent an unreadable message ({type(error).__name__}: {error})"))


def _messages(heard: "queue.SimpleQueue[Any]") -> Iterator[Any]:
    """Yield every message except heartbeats; raise DriverLost when these fail to come.

    Silence is counted in polls of this process, which may have been stopped itself.
    """
    silent, patience = 0.0, START_SECONDS
    while True:
        try:
            message = heard.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            silent += LOOK_SECONDS
            if silent > patience:
                raise DriverLost(f"its process gave no sign of life for {patience:.0f} s") from None
            continue
        silent, patience = 0.0, SILENT_SECONDS
        if not isinstance(message, Alive):
            yield message
        elif message.quiet_seconds > HUNG_SECONDS:
            raise DriverLost(f"its process did nothing for {message.quiet_seconds:.0f} s")


def _how(process: "subprocess.Popen[bytes]", log: Path, already: int) -> str:
    """Describe how a process ended without an outcome; the log had ``already`` bytes before it started."""
    try:
        code = process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its channel and did not end"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    printed = log.read_bytes()[already:].decode(errors="replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    return f"ended with {code}" + (f": {lines[-1].strip()[:LONGEST_REASON]}" if lines else "")
