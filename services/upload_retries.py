"""Retries through faults: growing pauses, one message per outage, a rule for giving up, and a way to stop.

It knows nothing of the work it repeats: the tracking projector passes the step and the exceptions that count as faults.
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
LOOK_SECONDS = 0.5  # how often a rest checks whether to end
REFUSALS = 3  # a server that refuses this many times in a row is not down: the request is wrong


class Ending(Enum):
    """Why :func:`persist` returned."""

    DONE = "done"
    GAVE_UP = "gave up"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to keep trying and how long to pause.

    A rest between steps lets work accumulate into one step. After faults, pauses double up to the longest; the time until
    giving up runs only once no more work is expected.
    """

    rest_seconds: float = 5.0
    longest_pause_seconds: float = 10.0
    give_up_after_seconds: float = 20.0


@dataclass
class Fault:
    """A run of failed attempts so far."""

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
    """Call ``step`` until no work is waiting and none is expected.

    Args:
        step: does a piece of work and returns whether more is waiting; raises one of ``faults`` if it cannot.
        more_expected: whether more work may come; called before each step, so no work is missed in between.
        refused: whether a fault is a refusal, which waiting does not cure.
        say: receives the lines for the user: the start, the end and the consequence of an outage.
        stopped: whether to stop after the current step.
    """
    fault: Fault | None = None
    more = True
    while True:
        try:
            more = more_expected()
            waiting = step()
            if fault is not None:
                say(f"reachable again after {time.monotonic() - fault.since:.0f} s")
                fault = None
            if not (waiting or more):
                return Ending.DONE
            if not waiting:
                _rest(patience.rest_seconds, lambda: more_expected() and not stopped(), sleep)
        except faults as error:
            fault = _again(fault, error, more, refused, say)
            if _hopeless(fault, patience):
                say(f"gave up: {reason(error)}; unsent data is kept in the ledger")
                return Ending.GAVE_UP
            _rest(_pause(fault, patience), lambda: not stopped(), sleep)
        if stopped():
            return Ending.STOPPED


def _pause(fault: Fault, patience: Patience) -> float:
    """The seconds until the next attempt, with jitter, so many clients do not return at once."""
    pause = min(patience.longest_pause_seconds, FIRST_PAUSE_SECONDS * 2.0 ** min(fault.tries, 20))
    return pause * random.uniform(0.5, 1.0)


def _rest(seconds: float, calm: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    until = time.monotonic() + seconds
    while calm() and (left := until - time.monotonic()) > 0:
        sleep(min(left, LOOK_SECONDS))


def _again(
    fault: Fault | None, error: Exception, more: bool, refused: Callable[[Exception], bool], say: Callable[[str], None]
) -> Fault:
    if fault is None:
        fault = Fault(since=time.monotonic())
        say(f"unreachable: {reason(error)}; retrying" + (", training continues" if more else ""))
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
    """The error in one line without credentials; its root cause, if a long chain hides it."""
    text = " ".join(str(error).split()).partition(" [SQL: ")[0]
    cause = re.search(r"Caused by (.+)", text)
    text = masked(cause[1].removesuffix(")") if cause else text)
    return text if len(text) <= 240 else f"{text[:240]}…"


@contextmanager
def sole(path: Path) -> Iterator[bool]:
    """Hold a lock file; yield False if another process holds it. The kernel releases it when its holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Termination:
    """When to stop: on SIGTERM or, for a follower, when the process that started it is gone.

    A follower ignores SIGINT: Ctrl-C in a terminal reaches it too, while the sweep's last events are still to come.
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
        """Whether SIGTERM was received."""
        return self._told

    @property
    def alone(self) -> bool:
        """Whether a follower's starter is gone, so nothing more comes whatever the ledger says."""
        return self._starter is not None and os.getppid() != self._starter
