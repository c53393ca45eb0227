"""Persisting through faults: try again with growing pauses, say so once, give up by rule, stop when told to.

Knows nothing of what it repeats; the tracking projector brings its step and says which errors are faults.
"""

import fcntl
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sweeps.urls import masked

FIRST_PAUSE_SECONDS = 0.5
LOOK_SECONDS = 0.5  # how often a rest looks whether it should end
REFUSALS = 3  # something that answers "no" this many times in a row is not down, it is wrong


class Ending(Enum):
    """Why :func:`persist` came back."""

    DONE = "done"
    GAVE_UP = "gave up"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on and how long to rest.

    Between steps there is a rest, so that work gathers and is done together. After faults, pauses double up to the
    longest; the time to give up runs only once no more work is expected.
    """

    rest_seconds: float = 5.0
    longest_pause_seconds: float = 10.0
    give_up_after_seconds: float = 20.0


@dataclass
class Fault:
    """A run of failed attempts that is not over."""

    since: float
    tries: int = 0
    refusals: int = 0
    hopeless_since: float | None = None


def persist(
    step: Callable[[], bool],
    more_expected: Callable[[], bool],
    *,
    faults: tuple[type[Exception], ...],
    refused: Callable[[Exception], bool],
    say: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
    patience: Patience = Patience(),
    sleep: Callable[[float], None] = time.sleep,
) -> Ending:
    """Call ``step`` until nothing waits and no more is expected.

    Args:
        step: does a piece of work and says whether more is waiting; raises one of ``faults`` where it cannot.
        more_expected: whether work may still come; asked before a step, so that nothing slips in between.
        refused: whether a fault is a refusal, which waiting does not cure.
        say: takes the lines that a person should see: the start, the end and the consequence of an outage.
        stopped: whether to end after the current step.
    """
    fault: Fault | None = None
    more = True
    while True:
        try:
            more = more_expected()
            waiting = step()
            if fault is not None:
                say(f"back after {time.monotonic() - fault.since:.0f} s")
                fault = None
            if not (waiting or more):
                return Ending.DONE
            if not waiting:
                _rest(patience.rest_seconds, lambda: more_expected() and not stopped(), sleep)
        except faults as error:
            fault = _again(fault, error, more, refused, say)
            if _hopeless(fault, patience):
                say(f"gave up: {reason(error)}; what is missing is kept")
                return Ending.GAVE_UP
            pause = min(patience.longest_pause_seconds, FIRST_PAUSE_SECONDS * 2 ** min(fault.tries, 20))
            pause *= random.uniform(0.5, 1.0)  # spread, so that many clients do not come back at once
            _rest(pause, lambda: not stopped(), sleep)
        if stopped():
            return Ending.STOPPED


def _rest(seconds: float, calm: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    until = time.monotonic() + seconds
    while calm() and (left := until - time.monotonic()) > 0:
        sleep(min(left, LOOK_SECONDS))


def _again(
    fault: Fault | None, error: Exception, more: bool, refused: Callable[[Exception], bool], say: Callable[[str], None]
) -> Fault:
    if fault is None:
        fault = Fault(since=time.monotonic())
        say(f"out of reach: {reason(error)}; trying again" + (", training goes on" if more else ""))
    fault.tries += 1
    fault.refusals = fault.refusals + 1 if refused(error) else 0
    if more:
        fault.hopeless_since = None
    elif fault.hopeless_since is None:
        fault.hopeless_since = time.monotonic()
    return fault


def _hopeless(fault: Fault, patience: Patience) -> bool:
    waited = 0.0 if fault.hopeless_since is None else time.monotonic() - fault.hopeless_since
    return fault.refusals >= REFUSALS or waited > patience.give_up_after_seconds


def reason(error: Exception) -> str:
    """The error in one line without credentials, its cause first where a long chain hides it."""
    text = " ".join(str(error).split()).partition(" [SQL: ")[0]
    cause = re.search(r"Caused by (.+)", text)
    text = masked(cause[1].removesuffix(")") if cause else text)
    return text if len(text) <= 240 else f"{text[:240]}…"


@contextmanager
def sole(path: Path) -> Iterator[bool]:
    """Hold a lock file, or yield False where another process holds it; the kernel drops it when its holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Termination:
    """Says when to stop: on SIGTERM, or, for a follower, when the process that started it is gone.

    A follower ignores SIGINT: Ctrl-C in a terminal reaches it too, and the sweep's last events are still to come.
    """

    def __init__(self, *, follow: bool) -> None:
        self._starter = os.getppid() if follow else None
        self._told = False
        signal.signal(signal.SIGTERM, self._tell)
        if follow:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _tell(self, *_: object) -> None:
        self._told = True

    @property
    def told(self) -> bool:
        """Whether SIGTERM came."""
        return self._told

    @property
    def alone(self) -> bool:
        """Whether a follower's starter is gone, so that nothing more comes whatever the ledger says."""
        return self._starter is not None and os.getppid() != self._starter
