"""The loop that makes true what is wanted: a sweep that is wanted running and has no process gets one.

It has no memory: what it decides follows from the ledger's rows and the clock. So it may be killed at any instant, and two of
them do no harm: a launch is counted before it happens, the process takes its submission by that number, and the fences of
the submission and of the sweep let one write.
"""

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from services.server.jobs import JobPlace, JobsAway, JobState
from services.server.shares import ServiceLimits, to_launch
from services.traces import spanned
from sweeps.ledger import leases
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.holding import now_ms
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Submission, Wanted

TICK_SECONDS = 1.0
START_SECONDS = 60.0  # a job that has not taken its submission by then is lost
FORGOTTEN_SECONDS = 40.0  # one that its place does not know; a request that starts one is given up earlier
SLOW_START_SECONDS = 600.0  # one whose place says that it is alive
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0  # after launches in a row that came to nothing
MOST_FAILURES = 6
Answer = TypeVar("Answer")
LOST = (JobState.ENDED, JobState.FORGOTTEN)  # of a process that holds a submission
HOUR_SECONDS = 3600.0


@dataclass
class Reconciler:
    """One loop over the open submissions of a ledger."""

    ledger: Ledger
    jobs: JobPlace
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self._queue = Submissions.of(self.ledger)
        self._away: JobsAway | None = None  # why the place is asked nothing more in this look

    def run(self, stop: threading.Event) -> None:
        """Repeat until ``stop`` is set. An unreachable ledger or cluster, or a bug, is reported once and ends nothing."""
        told = ""
        while not stop.wait(TICK_SECONDS):
            try:
                with spanned("reconcile"):
                    self.tick()
                told = ""
            except (LedgerError, JobsAway) as error:
                if str(error) != told:
                    self.say(told := str(error))
            except Exception as error:
                if repr(error) != told:
                    told = repr(error)
                    self.say(f"the loop of the service has a bug, and goes on:\n{traceback.format_exc()}")

    def tick(self) -> None:
        """Look at every open submission once, and do the next thing for it.

        Raises:
            JobsAway: the place does not answer, or refuses; what needs only the ledger was done.
        """
        self._away = None
        waiting, running = [], []
        sweeps = {row.id: row for row in self.ledger.intact_sweeps()}
        ones = self._queue.open_ones()
        for one in ones:
            if self._is_busy(one):
                running.append(one)
            elif one.wanted is Wanted.CANCELLED:
                self._cancel(one, ones, sweeps)
            elif one.wanted is Wanted.RUNNING and self._may_start(one, sweeps):
                waiting.append(one)
        used = self._used({one.owner for one in (*waiting, *running)}, sweeps)
        waiting = [one for one in waiting if not self._ends_over_budget(one, used, sweeps)]
        for one in running:
            self._ends_over_budget(one, used, sweeps)
        for one, workers in to_launch(waiting, running, self.limits):
            self._launch(one, workers)
        if self._away is not None:
            raise self._away

    def _asked(self, verb: Callable[[str, int], Answer], one: Submission) -> Answer | None:
        """Ask the place about the last launch; None if it is away, and in the rest of the look."""
        if self._away is None:  # each answer that does not come is waited for
            try:
                return verb(one.id, one.launches)
            except JobsAway as error:
                self._away = error
        return None

    def _launch(self, one: Submission, workers: int | None) -> None:
        state = self._asked(self.jobs.observe, one)
        is_slow = state is JobState.ALIVE and one.launched_ms is not None
        if is_slow or state is JobState.WAITING:  # as of a job that lost its place: it would find itself replaced
            self._asked(self.jobs.stop, one)
        if self._away is not None or (number := self._queue.count_launch(one, workers)) is None:
            return
        try:
            with spanned("launch", submission=one.id, launch=number):
                self.jobs.launch(one.id, number)
        except JobsAway as error:
            self._queue.excuse_launch(one.id, number, str(error))
            self._away = error

    def _is_busy(self, one: Submission) -> bool:
        """Whether a process carries a submission out, or was started and may still take it.

        One that waits for room at its place is called back if its submission is no longer wanted running.
        """
        if one.is_held:
            self._give_up_if_lost(one)
            return True  # until the next look, even if it was given up
        if one.launched_ms is None:
            return False
        state = self._asked(self.jobs.observe, one)
        if one.wanted is not Wanted.RUNNING and state is JobState.WAITING:
            self._asked(self.jobs.stop, one)
            return self._away is not None  # then it is called back at the next look
        return state is None or is_starting(one, state)

    def _give_up_if_lost(self, one: Submission) -> None:
        """Free the leases of a process that renews them no more and has ended, as its place says.

        They would run out by themselves: this saves most of their 30 s where a process or the head of a cluster is killed.
        """
        if leases.is_silent(one.lease_until_ms) and self._asked(self.jobs.observe, one) in LOST:
            with suppress(LedgerDamaged):  # `abel repair` tells of it; the other submissions go on
                self._queue.give_up(one)

    def _may_start(self, one: Submission, sweeps: Mapping[str, SweepRow]) -> bool:
        if one.failures >= MOST_FAILURES:
            text = f"It was started {one.failures} times in a row and ended each time before it trained anything"
            self._queue.settle(one.id, Phase.FAILED, text + (f"; the last time: {one.error}" if one.error else "."))
            return False
        # Another submission, or a command, may be running the same sweep.
        row = sweeps.get(one.sweep_id or "")
        return now_ms() >= next_start_ms(one) and not (row is not None and leases.is_held(row))

    def _cancel(self, one: Submission, ones: Sequence[Submission], sweeps: Mapping[str, SweepRow]) -> None:
        """End a submission that no process carries out, and its trials, unless another submission wants them."""
        sweep = sweeps.get(one.sweep_id or "")
        if sweep is not None and not is_shared(one, ones):
            with suppress(LedgerDamaged):  # `abel repair` tells of it; the other submissions go on
                trials = self.ledger.trials(sweep.id)
                self.ledger.cancel_trials(sweep.id, [trial.id for trial in trials])
        self._queue.settle(one.id, Phase.CANCELLED)

    # Budgets

    def _used(self, owners: set[str], sweeps: Mapping[str, SweepRow]) -> dict[str, float]:
        """The accelerator-hours that each owner's sweeps have used."""
        if self.limits.owner_hours is None:
            return {}
        return {
            owner: sum(hours_of(self.ledger, sweeps[id]) for id in self._queue.sweeps_of(owner) if id in sweeps)
            for owner in owners
        }

    def _ends_over_budget(self, one: Submission, used: Mapping[str, float], sweeps: Mapping[str, SweepRow]) -> bool:
        text = None
        if self.limits.owner_hours is not None and used[one.owner] >= self.limits.owner_hours:
            text = f"{one.owner} has used {used[one.owner]:.2f} of {self.limits.owner_hours:g} accelerator-hours"
        own, row = one.options.get("hours"), sweeps.get(one.sweep_id or "")
        if own is not None and row is not None and (spent := hours_of(self.ledger, row)) >= own:
            text = f"the sweep has used {spent:.2f} of its {own:g} accelerator-hours"
        if text is not None and one.wanted is Wanted.RUNNING:
            self._queue.want(one.id, Wanted.PAUSED, f"over budget: {text}")
        return text is not None


def is_starting(one: Submission, state: JobState) -> bool:
    """Whether the process that was started for a submission may still take it, as its place says.

    Args:
        state: of the last launch, which has not taken the submission yet.
    """
    if one.launched_ms is None or state is JobState.ENDED:
        return False
    if state is JobState.WAITING:
        return True
    # A busy machine takes its time.
    patience = {JobState.ALIVE: SLOW_START_SECONDS, JobState.FORGOTTEN: FORGOTTEN_SECONDS}.get(state, START_SECONDS)
    return now_ms() - one.launched_ms < patience * 1000


def phase_of(one: Submission, state: JobState = JobState.UNKNOWN) -> Phase:
    """Where a submission is, from its row, the clock, and what the place of its last launch says."""
    if one.outcome is not None:
        return Phase(one.outcome)
    wanted = one.wanted is Wanted.RUNNING
    if one.is_held:
        return Phase.RUNNING if wanted else Phase.STOPPING
    if is_starting(one, state):
        return Phase.STARTING if wanted else Phase.STOPPING
    return Phase.PAUSED if one.wanted is Wanted.PAUSED else Phase.QUEUED


def next_start_ms(one: Submission) -> int:
    """When a submission may be started again (ms since 1970): later the more launches in a row came to nothing."""
    if not one.failures:
        return 0
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (one.failures - 1))
    return one.changed_ms + round(pause * 1000)


def hours_of(ledger: Ledger, sweep: SweepRow) -> float:
    """The accelerator-hours that a sweep has used; workers without an accelerator use none."""
    resources = sweep.spec.get("resources") or {}
    accelerators = float(resources.get("gpu") or 0) + float(resources.get("tpu") or 0)
    if not accelerators:
        return 0.0
    try:
        seconds = ledger.work(sweep.id).seconds_training
    except LedgerDamaged:
        return 0.0  # `abel repair` tells of it; the other submissions go on
    return accelerators * int(resources.get("hosts") or 1) * seconds / HOUR_SECONDS


def is_shared(one: Submission, ones: Sequence[Submission]) -> bool:
    """Whether another open submission that is not being cancelled refers to the same sweep."""
    return any(
        other.sweep_id == one.sweep_id and other.id != one.id and other.wanted is not Wanted.CANCELLED for other in ones
    )
