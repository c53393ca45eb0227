"""Ctrl-C, SIGTERM and a closed terminal while a sweep runs: the first stops in order, the second at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = "Finishing the running epochs and saving; press Ctrl-C again to stop at once."


class Stop(threading.Event):
    """An event set once the sweep must stop in order; signals set it if :func:`on_signals` created it."""

    def __init__(self) -> None:
        super().__init__()
        self.handler: Callable[[int, FrameType | None], None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether signals set it."""
        return self.handler is not None and signal.getsignal(signal.SIGTERM) is self.handler

    def hold(self) -> None:
        """Install the signal handlers."""
        if self.handler is not None:
            for number in SIGNALS:
                if not _is_ignored(number):
                    signal.signal(number, self.handler)


def _is_ignored(number: signal.Signals) -> bool:
    """Whether SIGHUP is ignored, as under nohup; the other signals are always handled."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """Yield a stop event. Once it holds the signals, the first one sets it, and a second raises KeyboardInterrupt.

    Until then there is nothing to save, and a signal ends the command as usual.
    """
    stop = Stop()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            if number == signal.SIGHUP:  # the kernel and the shell each send one: not a second request
                return
            raise KeyboardInterrupt
        stop.set()
        say(STOPPING)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    stop.handler = handle
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
