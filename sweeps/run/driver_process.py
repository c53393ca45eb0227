"""The driver as a separate process: receives a job from the command that started it, and reports progress and outcome.

    python -P -m sweeps.run.driver_process

On standard input the command sends the pickled job, and later a line as a request to stop. End of file means that the command
is gone, and ends this process at once. Messages are pickled to standard output. Output of Ray and other libraries goes to
standard error. Only the command can write to these pipes.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from sweeps.ledger.leases import RENEW_SECONDS, hold_for
from sweeps.ledger.ledger import Ledger
from sweeps.processes.job import Alive, Begun, DriverLost, Job, Outcome, Progress

OURS = ("builtins", "sweeps", "workers")
PR_SET_PDEATHSIG = 1


class Driver:
    """Runs one job and reports to the command."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._speaking = threading.Lock()
        self._spoke_at = time.monotonic()
        self.stop = threading.Event()

    def run(self, job: Job) -> Outcome:
        """Take the sweep and run it to its end."""
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # Ray Tune imports it if installed, for usage statistics
        from sweeps.run import driver  # takes seconds to import, while this process already sends heartbeats

        with closing(Ledger.open(job.ledger_url)) as ledger:
            invocation = ledger.begin_invocation(job.sweep_id)
            self.say(Begun(invocation))
            return driver.run_sweep(
                *(ledger, job.sweep_id, invocation, job.trials, job.identities, job.options),
                forecast=job.forecast,
                on_progress=self._progress,
                stop=self.stop,
                lost=self.lose,
            )

    def say(self, message: Any) -> None:
        """Send a message."""
        self._spoke_at = time.monotonic()
        self._send(message)

    def lose(self, why: str) -> None:
        """Exit at once: without its Ray cluster a driver may hang, or be killed by Ray at any moment."""
        self._send(DriverLost(why))
        os._exit(1)

    def beat(self) -> None:
        """Send heartbeats forever."""
        while True:
            self._send(Alive(time.monotonic() - self._spoke_at))
            time.sleep(RENEW_SECONDS)

    def listen(self, inbox: BinaryIO) -> None:
        """Wait for requests to stop, and for the end of the command."""
        while inbox.readline():
            self.stop.set()
        os._exit(1)

    def hold_signals(self) -> None:
        """Treat SIGTERM and SIGINT as requests to stop; ``ray.init`` replaces these handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())

    def _progress(self, progress: Progress) -> None:
        self.hold_signals()
        self.say(progress)

    def _send(self, message: Any) -> None:
        with self._speaking, suppress(BrokenPipeError):  # the command is gone, and this process ends in a moment
            self._channel.send(message)


def main() -> None:
    """Drive one job."""
    with suppress(OSError, AttributeError):  # where the kernel supports it, this process dies with the command
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    inbox, channel = os.fdopen(os.dup(0), "rb"), Connection(os.dup(1), readable=False)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    talker = Driver(channel)
    talker.hold_signals()
    threading.Thread(target=talker.beat, daemon=True).start()
    job: Job = pickle.load(inbox)
    hold_for(os.getppid())
    threading.Thread(target=talker.listen, args=(inbox,), daemon=True).start()
    try:
        talker.say(talker.run(job))
    except SystemExit:  # by Ray's own handler of SIGTERM, while it starts
        talker.say(DriverLost("its process was terminated while Ray started"))
    except Exception as error:
        traceback.print_exc()  # for the log
        talker.say(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note; as a RuntimeError if the command may be unable to unpickle it."""
    note = f"In the driver process:\n{traceback.format_exc()}"
    if type(error).__module__.partition(".")[0] in OURS:
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            error.add_note(note)
            return error
    known = RuntimeError(f"{type(error).__name__}: {error}")
    known.add_note(note)
    return known


if __name__ == "__main__":
    main()
