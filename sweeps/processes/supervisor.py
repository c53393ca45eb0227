"""The command's side of a driver: starts it in a separate process and notices its loss, whatever the cause."""

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
SILENT_SECONDS = LEASE_SECONDS  # without a sign of life; one comes every few seconds
ENDING_SECONDS = 10.0  # from the end of what it says to its own
HUNG_SECONDS = 600.0  # of a main thread that says nothing; it usually speaks twice a second
LONGEST_REASON = 300  # characters of the log's last line


def drive(job: Job, *, stop: threading.Event, log: Path) -> Generator[Begun | Progress | Outcome, None, None]:
    """Run a driver process for the job; yields what it says, its outcome last. Ends the process when it is left.

    Args:
        stop: once set, the driver finishes the epochs under way and saves.
        log: takes what the process, its Ray and their libraries print.

    Raises:
        DriverLost: the process ended without an outcome, its Ray did, or it hangs.
        Exception: what the driver raised otherwise, as it raised it.
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
            start_new_session=True,  # a Ctrl-C at the terminal is for the command, which has this end in order
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _tell(process: "subprocess.Popen[bytes]", job: Job, stop: threading.Event) -> None:
    """Hand over the job and later the wish to stop. Not in the main thread: a process that is stopped reads nothing."""
    assert process.stdin is not None
    asked = False
    with suppress(OSError), process.stdin as pipe:  # it has ended, which the listener notices
        pickle.dump(job, pipe)
        pipe.flush()
        while process.returncode is None:
            if stop.is_set() and not asked:
                pipe.write(b"\n")
                pipe.flush()
                asked = True
            time.sleep(LOOK_SECONDS)


def _listen(process: "subprocess.Popen[bytes]", heard: "queue.SimpleQueue[Any]") -> None:
    """Pass on every message, then None, or the loss that a message which cannot be read is."""
    assert process.stdout is not None
    try:
        with process.stdout as pipe, Connection(os.dup(pipe.fileno())) as connection:
            while True:
                heard.put(connection.recv())
    except (EOFError, OSError):
        heard.put(None)
    except Exception as error:  # whatever comes out of a pickle
        heard.put(DriverLost(f"its process sent an unreadable message ({type(error).__name__}: {error})"))


def _messages(heard: "queue.SimpleQueue[Any]") -> Iterator[Any]:
    """Every message but signs of life; raises DriverLost where these stay out.

    Silence is counted in looks of this process, which may have been stopped itself.
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
    """How a process ended that said nothing of it itself; the log had so many bytes before it."""
    try:
        code = process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its channel and did not end"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    printed = log.read_bytes()[already:].decode(errors="replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    return f"ended with {code}" + (f": {lines[-1].strip()[:LONGEST_REASON]}" if lines else "")
