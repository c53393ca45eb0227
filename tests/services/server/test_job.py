"""One launch of a submission, in this process: its lease, what it obeys, and what it leaves behind."""

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from desks import SPEC
from stories import Story
from waiting import wait_for

from services.schemas import RunResult
from services.server import job
from services.server.job import Assignment
from services.settings import Settings
from services.signals import Stop
from services.verbs import status
from sweeps.ledger.leases import Fenced, SweepPaused
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Wanted


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOOK_SECONDS", 0.05)


@pytest.fixture
def queue(story: Story) -> Submissions:
    return Submissions.of(story.ledger)


@pytest.fixture
def launched(queue: Submissions) -> Callable[..., tuple[str, int]]:
    """A submission that was launched: its id, and the launch's number."""

    def launch(owner: str = "ada") -> tuple[str, int]:
        one, _ = queue.submit(owner, "fig-s6a-digits", {"name": "fig-s6a-digits"}, {})
        number = queue.count_launch(one, None)
        assert number is not None
        return one.id, number

    return launch


@pytest.fixture
def finished(story: Story, tmp_path: Path) -> RunResult:
    """The result of a run that finished the story's sweep."""
    story.begin().tell().end()
    row = story.ledger.sweep(story.sweep_id)
    story.ledger.describe_sweep(row.id, {**SPEC, **row.spec, "arms": {trial.arm: {} for trial in story.trials()}})
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path)})
    detail = status.detail(settings, story.ledger, story.ledger.sweep(story.sweep_id))
    none = {"trained": 0, "replayed": 0, "seconds": {}, "error": None, "tracking": None}
    return RunResult(outcome=SweepStatus.FINISHED, detail=detail, **none)


class HeldStop(Stop):
    """As if the sweep had begun, so that signals set it."""

    is_held = True


@pytest.fixture
def stop() -> Stop:
    return HeldStop()


@pytest.fixture
def watched() -> Iterator[Callable[[Assignment], None]]:
    """Let an assignment look at what is wanted, until the test ends."""
    ended, threads = threading.Event(), []

    def watch(assignment: Assignment) -> None:
        threads.append(threading.Thread(target=assignment.watch, args=(ended,)))
        threads[-1].start()

    yield watch
    ended.set()
    for thread in threads:
        thread.join()


def test_told_to_pause_it_stops_and_another_launch_fences_it(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    watched: Callable[[Assignment], None],
) -> None:
    id, number = launched()
    watched(Assignment(story.ledger, id, number, stop))
    queue.want(id, Wanted.PAUSED)
    wait_for(stop.is_set)
    queue.want(id, Wanted.RUNNING)
    queue.count_launch(queue.submission(id), None)
    with pytest.raises(Fenced):
        Assignment(story.ledger, id, number, stop)


def test_the_reason_of_a_stop_over_budget_stays(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    watched: Callable[[Assignment], None],
) -> None:
    id, number = launched()
    assignment = Assignment(story.ledger, id, number, stop)
    watched(assignment)
    assignment.trained.set()
    wait_for(lambda: queue.submission(id).failures == 0)
    queue.want(id, Wanted.PAUSED, "over budget: ada has used 3 of 2 accelerator-hours")
    wait_for(stop.is_set)
    time.sleep(0.3)
    assignment.release(None, None, passing=True)
    assert queue.submission(id).error == "over budget: ada has used 3 of 2 accelerator-hours"


def test_a_cancelled_sweep_is_wanted_again_by_another_submission_of_it(
    story: Story, queue: Submissions, launched: Callable[..., tuple[str, int]], stop: Stop
) -> None:
    story.begin().tell(upto=10)
    ledger = story.ledger
    ledger.end_invocation(story.sweep_id, story.invocation, SweepStatus.INTERRUPTED)
    ledger.cancel_trials(story.sweep_id, [trial.id for trial in ledger.trials(story.sweep_id)])
    assert {trial.status for trial in ledger.trials(story.sweep_id)} == {TrialStatus.CANCELLED}
    Assignment(ledger, *launched("bob"), stop).identified(story.sweep_id)
    assert {trial.status for trial in ledger.trials(story.sweep_id)} == {TrialStatus.WAITING}


def test_what_another_owner_wants_is_not_cancelled(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    watched: Callable[[Assignment], None],
) -> None:
    story.begin().tell(upto=10)
    ids = []
    for owner in ("bob", "ada"):
        id, number = launched(owner)
        assignment = Assignment(story.ledger, id, number, stop)
        assignment.identified(story.sweep_id)
        ids.append(id)
    watched(assignment)
    queue.want(ids[1], Wanted.CANCELLED)
    wait_for(stop.is_set)
    assert {trial.cancel_asked_ms for trial in story.ledger.trials(story.sweep_id)} == {None}


def test_a_passing_fault_does_not_count_for_long_and_a_crash_does(
    story: Story, queue: Submissions, launched: Callable[..., tuple[str, int]], stop: Stop
) -> None:
    id, number = launched()
    for _ in range(8):
        Assignment(story.ledger, id, number, stop).release(None, "the disk is full", passing=True)
        number = queue.count_launch(queue.submission(id), None)
    assert queue.submission(id).failures == job.PATIENT + 1
    Assignment(story.ledger, id, number, stop).release(None, "ValueError: a bug", passing=False)
    assert (queue.submission(id).failures, queue.submission(id).error) == (job.PATIENT + 1, "ValueError: a bug")


def test_an_outcome_ends_it(
    story: Story, queue: Submissions, launched: Callable[..., tuple[str, int]], stop: Stop
) -> None:
    id, number = launched()
    Assignment(story.ledger, id, number, stop).release(Phase.REFUSED, "no such data\0", passing=True)
    now = queue.submission(id)
    assert (now.outcome, now.error, now.is_held) == ("refused", "no such data", False)


def test_a_log_that_takes_nothing_does_not_keep_the_outcome(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    finished: RunResult,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "_run", lambda *_: finished)
    monkeypatch.setattr("builtins.print", full)
    id, number = launched()
    job._carry_out(Settings.from_env({"ABEL_HOME": str(tmp_path)}), Assignment(story.ledger, id, number, stop), stop)
    assert (queue.submission(id).outcome, queue.submission(id).is_held) == ("finished", False)


def test_the_end_of_a_sweep_of_the_service_is_told(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    finished: RunResult,
) -> None:
    monkeypatch.setattr(job, "_run", lambda *_: finished)
    file = tmp_path / "notice.json"
    home = {
        "ABEL_HOME": str(tmp_path),
        "ABEL_LEDGER": str(story.ledger._engine.url),
        "ABEL_NOTIFY_COMMAND": f"cat > {file}",
    }
    id, number = launched()
    job._carry_out(Settings.from_env(home), Assignment(story.ledger, id, number, stop), stop)
    notice = json.loads(file.read_text())
    assert (notice["event"], notice["id"], queue.submission(id).outcome) == ("finished", story.sweep_id, "finished")


def test_a_paused_sweep_pauses_its_submission_with_the_reason(
    story: Story,
    queue: Submissions,
    launched: Callable[..., tuple[str, int]],
    stop: Stop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise SweepPaused("sweep 'x': is paused")

    monkeypatch.setattr(job, "_run", refuse)
    id, number = launched()
    job._carry_out(None, Assignment(story.ledger, id, number, stop), stop)
    now = queue.submission(id)
    assert (now.wanted, now.outcome, now.error, now.is_held) == (Wanted.PAUSED, None, "sweep 'x': is paused", False)
