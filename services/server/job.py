"""The process of one launch: ``python -m services.server.job SUBMISSION LAUNCH``, both made by the service.

It takes the submission, reads its spec from the ledger, and runs the sweep as ``abel run`` does. While it runs it renews its
lease and looks at what is wanted; told to pause it drains, told to cancel it cancels the sweep's trials. It leaves without an
outcome when it must stop or something else is missing; then the service starts another.
"""

import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from services import ledgers, signals
from services.refusals import INPUT_ERRORS, MACHINE_ERRORS
from services.schemas import Request, RunResult
from services.server.reconciling import is_shared
from services.settings import Settings
from services.traces import spanned, traced
from services.verbs import notify
from services.verbs.running.preflight import PreflightError
from sweeps.ledger import leases
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.leases import Fenced, SweepPaused
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Submission, Wanted
from sweeps.processes.identity import IdentityError
from sweeps.processes.job import Progress

LOOK_SECONDS = 1.0
OPTIONS = ("sharing", "workers", "threads", "tracking", "allow_nondeterminism", "save_every_seconds")
# Another try may succeed: the machine, the cluster, the disk or the ledger is not there, or another process runs the sweep.
PASSING = (*MACHINE_ERRORS, LedgerError, PreflightError, ConnectionError)
PATIENT = 3  # starts in a row that count when it was such a fault: pauses grow to 40 s, and it is never given up


def say(text: object) -> None:
    """Print a line, unless the log cannot take it: its disk is full, or its reader is gone."""
    with suppress(OSError):
        print(text, flush=True)


class LogView:
    """A view that prints lines with the time in UTC; progress when it changed, at most every few seconds."""

    def __init__(self, trained: threading.Event) -> None:
        self._trained, self._shown_at, self._covered = trained, 0.0, -1

    def note(self, text: str) -> None:
        """Print the text."""
        say(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text)

    def news(self, trial: str, text: str) -> None:
        """Print what happened."""
        self.note(f"{trial}: {text}")

    def show(self, progress: Progress) -> None:
        """Print how far the sweep is."""
        if progress.trained:
            self._trained.set()
        if progress.covered != self._covered and time.monotonic() - self._shown_at >= 5:
            self._covered, self._shown_at = progress.covered, time.monotonic()
            self.note(f"{progress.covered:,} of {progress.total:,} epochs; {progress.running} trials are running")


class Assignment:
    """One launch of one submission, while this process carries it out."""

    def __init__(self, ledger: Ledger, id: str, number: int, stop: signals.Stop) -> None:
        self._queue, self._ledger = Submissions.of(ledger), ledger
        self._id, self._number, self._stop = id, number, stop
        self._sweep_id: str | None = None
        self._cancelled = self._cleared = False
        self.trained = threading.Event()
        self.taken = self._queue.take(id, number)

    def identified(self, sweep_id: str) -> None:
        """Record which sweep the submission turned out to be. Trials of it that somebody cancelled are wanted again."""
        self._sweep_id = sweep_id
        self._queue.renew(self._id, self._number, sweep_id=sweep_id)
        row = ledgers.intact_sweep(self._ledger, sweep_id)
        if row is not None and not leases.is_held(row):
            places = self._ledger.trials(sweep_id)
            cancelled = [trial.id for trial in places if trial.status is TrialStatus.CANCELLED]
            if cancelled:
                self._ledger.retry_trials(sweep_id, cancelled)

    def watch(self, ended: threading.Event) -> None:
        """Until ``ended``: renew the lease, and do what is wanted of the sweep."""
        while not ended.wait(LOOK_SECONDS):
            try:
                now = self._queue.renew(self._id, self._number)
                if self.trained.is_set() and not self._cleared and now.wanted is Wanted.RUNNING:
                    now = self._queue.renew(self._id, self._number, failures=0, error=None)
                    self._cleared = True
                self._obey(now)
            except Fenced:
                self._stop.set()
                return
            except LedgerError:
                continue  # it is away; the sweep's own fence protects the records

    def _obey(self, now: Submission) -> None:
        if now.wanted is Wanted.RUNNING or self._cancelled:
            return
        if not self._stop.is_held:  # nothing is trained yet, and nobody looks at `stop`: it may wait for a free worker
            interrupt_main()
        elif now.wanted is Wanted.PAUSED or is_shared(now, self._queue.open_ones()):
            self._stop.set()
        else:
            assert self._sweep_id is not None
            trials = self._ledger.trials(self._sweep_id)
            self._ledger.cancel_trials(self._sweep_id, [trial.id for trial in trials])
        self._cancelled = now.wanted is Wanted.CANCELLED

    def wait_for_resume(self, why: str) -> None:
        """Pause the submission, as its sweep is paused; `resume` ends both."""
        self._queue.want(self._id, Wanted.PAUSED, why)

    def release(self, outcome: Phase | None, error: str | None, *, passing: bool) -> None:
        """Give the submission back, with its outcome if there is one; a passing fault does not count against it for long."""
        changes: dict[str, Any] = {"outcome": outcome, "error": error} if outcome or error else {}
        if passing:
            changes["failures"] = 0 if self.trained.is_set() else min(self.taken.failures, PATIENT)
        self._queue.release(self._id, self._number, **changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one launch; return the exit code."""
    id, number = arguments or sys.argv[1:]
    settings = Settings.from_env()
    settings.lend_home()
    with signals.on_signals(say) as stop, ledgers.opened(settings.prepare()) as ledger, traced(settings, say):
        try:
            assignment = Assignment(ledger, id, int(number), stop)
        except Fenced as error:
            say(error)
            return 0
        with spanned("job", submission=id, launch=int(number)):
            return _carry_out(settings, assignment, stop)


def _carry_out(settings: Settings, assignment: Assignment, stop: signals.Stop) -> int:
    ended = threading.Event()
    watching = threading.Thread(target=assignment.watch, args=(ended,), name="submission", daemon=True)
    watching.start()
    result: RunResult | None = None
    end = _End()
    try:
        result = _run(settings, assignment, stop)
        end = _end_of(result)
    except SweepPaused as fault:  # on this machine, by `abel pause`, which no other submission of it ends
        assignment.wait_for_resume(str(fault))
    except Exception as fault:
        end = _end_by(fault, assignment.taken)
        if not end.passing:
            raise
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        watching.join(leases.RENEW_SECONDS)
        assignment.release(end.outcome, end.error, passing=end.passing)
        say(f"ended: {end.outcome or 'without an outcome'}{f': {end.error}' if end.error else ''}")
    if result is not None and end.outcome is not None:
        notify.tell(settings, partial(notify.of_run, settings, result), say)
    return 0


@dataclass(frozen=True, kw_only=True)
class _End:
    """How a launch ends: the submission's outcome, None if it should go on, and why.

    ``passing`` is false if a bug ended it, which another start may not cure.
    """

    outcome: Phase | None = None
    error: str | None = None
    passing: bool = True


def _end_by(fault: Exception, taken: Submission) -> _End:
    """The end that an exception brings."""
    if isinstance(fault, PASSING) and not isinstance(fault, LedgerDamaged):
        return _End(error=str(fault))
    if isinstance(fault, (LedgerDamaged, *INPUT_ERRORS)):
        # A sweep that ran before has the data and the nodes it needs somewhere: a cluster may come back node by node.
        lost = isinstance(fault, IdentityError) and taken.sweep_id is not None
        return _End(outcome=None if lost else Phase.REFUSED, error=str(fault))
    return _End(error=f"{type(fault).__name__}: {fault}", passing=False)


def _run(settings: Settings, assignment: Assignment, stop: signals.Stop) -> RunResult:
    from services.verbs.running import execution
    from sweeps.spec.sweep import parse_document

    one = assignment.taken
    if one.wanted is not Wanted.RUNNING:
        raise KeyboardInterrupt
    given = {name: one.options[name] for name in OPTIONS if one.options.get(name) is not None}
    request = replace(Request(spec=one.name), **given)
    if one.workers is not None:
        request = replace(request, workers=one.workers)
    return execution.execute(
        settings,
        request,
        parse_document(one.spec, one.name),
        view=LogView(assignment.trained),
        stop=stop,
        identified=assignment.identified,
    )


def _end_of(result: RunResult) -> _End:
    """The end after an invocation."""
    match result.outcome:
        case "nothing to do" | SweepStatus.FINISHED:
            return _End(outcome=Phase.FINISHED)
        case SweepStatus.FAILED:
            return _End(outcome=Phase.FAILED, error=result.error or f"{result.detail.sweep.failed} trials failed")
        case SweepStatus.CANCELLED:
            return _End(outcome=Phase.CANCELLED)
    return _End(error=result.error)


if __name__ == "__main__":
    raise SystemExit(main())
