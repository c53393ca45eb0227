"""Ctrl-C, SIGTERM and a closed terminal while a sweep runs: the first asks for an orderly end, the second ends at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = "Finishing the running epochs and saving; press Ctrl-C again to stop at once."


class Stop(threading.Event):
    """Set once the sweep is to end in order. Where :func:`on_signals` made it, signals set it."""

    def __init__(self) -> None:
        super().__init__()
        self.handler: Callable[[int, FrameType | None], None] | None = None

    def hold(self) -> None:
        """Take the signals."""
        if self.handler is not None:
            for number in SIGNALS:
                if not _is_ignored(number):
                    signal.signal(number, self.handler)


def _is_ignored(number: signal.Signals) -> bool:
    """Whether the terminal may close without a word, as under nohup; the other signals are always heard."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """A stop that, once it holds the signals, is set by the first; a second raises KeyboardInterrupt.

    Until then there is nothing to save, and a signal ends the command as it ends any other.
    """
    stop = Stop()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            if number == signal.SIGHUP:  # the kernel and the shell each send one: that is no impatience
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
