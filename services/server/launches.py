"""What the place of jobs says of launches that have not taken their submissions yet."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress

from services.server.jobs import JobPlace, JobsAway, JobState
from services.server.reconciling import is_starting
from sweeps.ledger.submissions.rows import Submission

KEPT_SECONDS = 10.0  # a place is not asked again for the same launch before that
MOST_KEPT = 1000  # launches

_Launch = tuple[str, int]


class LaunchStates:
    """The last answer for each launch. While the place is away, the last answers stand.

    A place may take half a minute to answer or to be given up, and Kueue has a job wait for hours.
    """

    def __init__(self, jobs: JobPlace) -> None:
        self._jobs = jobs
        self._answers: OrderedDict[_Launch, tuple[JobState | None, float]] = OrderedDict()  # None before the first
        self._due: OrderedDict[_Launch, None] = OrderedDict()
        self._changing, self._is_asking = threading.Lock(), False

    def asked(self, ones: Sequence[Submission]) -> Mapping[str, JobState]:
        """Return the states of the last launches by submission; wait for the answers that are not known."""
        found, is_away = dict[str, JobState](), False
        for one in ones:
            state = None
            if _matters(one):
                if not is_away and self._is_old(_of(one)):  # once, as each answer that does not come is waited for
                    is_away = not self._ask(_of(one))
                state = self._known(_of(one))
            found[one.id] = state or JobState.UNKNOWN
        return found

    def latest(self, one: Submission) -> JobState:
        """Return the state of the last launch without waiting; a thread asks for an old one.

        Until the first answer a launch counts as alive: it is not queued again before its place has answered.
        """
        if not _matters(one):
            return JobState.UNKNOWN
        if self._is_old(_of(one)):
            self._ask_later(_of(one))
        return self._known(_of(one)) or JobState.ALIVE

    def _known(self, launch: _Launch) -> JobState | None:
        return self._answers.get(launch, (None, 0.0))[0]

    def _is_old(self, launch: _Launch) -> bool:
        found = self._answers.get(launch)
        return found is None or time.monotonic() - found[1] >= KEPT_SECONDS

    def _ask(self, launch: _Launch) -> bool:
        """Ask the place, and note what it says; return whether it answered."""
        state: JobState | None = None
        with suppress(JobsAway):
            state = self._jobs.observe(*launch)
        with self._changing:
            self._answers[launch] = state or self._known(launch), time.monotonic()
            self._answers.move_to_end(launch)
            while len(self._answers) > MOST_KEPT:
                self._answers.popitem(last=False)
        return state is not None

    def _ask_later(self, launch: _Launch) -> None:
        with self._changing:
            self._due[launch] = None
            if self._is_asking:
                return
            self._is_asking = True
        threading.Thread(target=self._ask_all, name="launch-states", daemon=True).start()

    def _next(self) -> _Launch | None:
        with self._changing:
            return next(iter(self._due), None)

    def _ask_all(self) -> None:
        try:
            while launch := self._next():
                self._ask(launch)
                with self._changing:
                    del self._due[launch]
        finally:  # what becomes due at this instant, or after a bug of the place, is asked at the next look
            self._is_asking = False


def _of(one: Submission) -> _Launch:
    return one.id, one.launches


def _matters(one: Submission) -> bool:
    """Whether the row of a submission does not tell where it is: its last launch is taking long."""
    waits = one.outcome is None and not one.is_held and one.launched_ms is not None
    return waits and not is_starting(one, JobState.UNKNOWN)
