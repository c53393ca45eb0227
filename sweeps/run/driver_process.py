"""The driver as a separate process: gets a job from the command that started it and reports progress and outcome.

    python -P -m sweeps.run.driver_process

Standard input is the command's: the pickled job, later a line as the wish to stop; its end means that the command is gone, and
ends this process at once. Standard output takes pickled messages. What Ray and others print goes to standard error. Nobody but
the command can write into these pipes.
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
    """Runs one job, and speaks for it."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._speaking = threading.Lock()
        self._spoke_at = time.monotonic()
        self.stop = threading.Event()

    def run(self, job: Job) -> Outcome:
        """Take the sweep and run it to its end."""
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # Ray Tune imports it, where it is, to count its users
        from sweeps.run import driver  # takes seconds, in which this process gives signs of life already

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
        """End at once: a driver whose Ray is gone may hang, or be ended by Ray at any moment."""
        self._send(DriverLost(why))
        os._exit(1)

    def beat(self) -> None:
        """Give signs of life, for ever."""
        while True:
            self._send(Alive(time.monotonic() - self._spoke_at))
            time.sleep(RENEW_SECONDS)

    def listen(self, inbox: BinaryIO) -> None:
        """Wait for the wish to stop, and for the end of the command."""
        while inbox.readline():
            self.stop.set()
        os._exit(1)

    def hold_signals(self) -> None:
        """Take SIGTERM and SIGINT as the wish to stop; ``ray.init`` replaces these handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())

    def _progress(self, progress: Progress) -> None:
        self.hold_signals()
        self.say(progress)

    def _send(self, message: Any) -> None:
        with self._speaking, suppress(BrokenPipeError):  # the command is gone, and in a moment this process too
            self._channel.send(message)


def main() -> None:
    """Drive one job."""
    with suppress(OSError, AttributeError):  # even when stopped it dies with the command, where the kernel sees to it
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
    """The error with its traceback as a note; of a class that the command may lack, or that cannot be sent, its text."""
    note = f"In the driver's process:\n{traceback.format_exc()}"
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
