"""What the desk does for many at once: it tells whether there is news of a submission, and enters new ones."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from desks import NoJobs
from sqlalchemy import Connection, event
from stories import Story
from waiting import wait_for

from services.server import reconciling
from services.server.desk import Desk
from services.server.jobs import JobsAway, JobState
from services.server.values import Asked
from services.settings import Settings
from sweeps.ledger import leases
from sweeps.ledger.database import LedgerAway, LedgerDamaged, LedgerError
from sweeps.ledger.entries import Batch
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.submissions import entering
from sweeps.ledger.submissions.entering import OtherRequest, SubmissionRequest, TooManyOpen
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Token, Wanted
from sweeps.ledger.submissions.tokens import Tokens


@dataclass
class Watched:
    """A submission that somebody watches, and all that can change it."""

    desk: Desk
    queue: Submissions
    jobs: NoJobs
    story: Story
    id: str
    patch: pytest.MonkeyPatch

    def pass_seconds(self, seconds: float) -> None:
        """Set the clock forward."""
        for module, name in ((reconciling, "now_ms"), (leases, "_now_ms")):
            now = getattr(module, name)
            self.patch.setattr(module, name, lambda now=now: now() + round(1000 * seconds))

    def launch(self) -> None:
        self.queue.count_launch(self.queue.submission(self.id), None)

    def commit(self, **batch: Any) -> None:
        self.story.ledger.commit(self.story.sweep_id, self.story.invocation, Batch(**batch))

    def fail_a_trial(self) -> None:
        trial = self.story.ledger.trials(self.story.sweep_id)[0]
        self.commit(ended={trial.id: (TrialStatus.FAILED, "out of memory")})
        self.story.end(SweepStatus.INTERRUPTED)

    def retry(self) -> None:
        trials = self.story.ledger.trials(self.story.sweep_id)
        assert self.story.ledger.retry_trials(self.story.sweep_id, [one.id for one in trials]) == 1


@pytest.fixture
def watched(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Before its launch; the sweep of the story, which is being trained, becomes its own by ``renew``."""
    story.seeds, story.epochs, story.decays = 1, 3, (1,)
    story.begin()
    jobs, queue = NoJobs(), Submissions.of(story.ledger)
    desk = Desk(Settings.from_env({"ABEL_HOME": str(tmp_path)}), story.ledger, jobs)
    one, _ = queue.submit("ada", "tiny", {"name": "tiny"}, {})
    return Watched(desk, queue, jobs, story, one.id, monkeypatch)


ADA = Token(id="a", owner="ada", scopes=(), created_ms=0, expires_ms=None, revoked_ms=None)
Step = Callable[[Watched], Any]
CHANGES: dict[str, Step] = {
    "launches": lambda on: on.launch(),
    "wanted": lambda on: on.queue.want(on.id, Wanted.PAUSED),
    "why": lambda on: on.queue.excuse_launch(on.id, 0, "the quota is used up"),
    "ended": lambda on: on.queue.settle(on.id, "cancelled"),
}
CHANGES_OF_A_LAUNCH: dict[str, Step] = {
    "phase": lambda on: (on.pass_seconds(90), on.desk.listed(ADA)),
    "sweep_id": lambda on: (on.queue.take(on.id, 1), on.queue.renew(on.id, 1, sweep_id=on.story.sweep_id)),
}
CHANGES_OF_A_SWEEP: dict[str, Step] = {  # those before "covered" without an event
    "replayed": lambda on: on.commit(replayed=2),
    "status": lambda on: on.story.ledger.pause_sweep(on.story.sweep_id),
    "covered": lambda on: on.story.tell(upto=1),
    "best": lambda on: on.story.tell(upto=2),
    "diverged": lambda on: on.commit(
        ended={on.story.ledger.trials(on.story.sweep_id)[0].id: (TrialStatus.DIVERGED, None)}
    ),
}


def check_told(on: Watched, what: str, change: Step) -> None:
    before = on.desk.progress(on.id, None)
    assert before is not None and on.desk.progress(on.id, before[0]) is None
    change(on)
    after = on.desk.progress(on.id, before[0])
    assert after is not None, f"a change of {what} does not change the mark"
    assert _figures(before[1])[what] != _figures(after[1])[what]
    assert on.desk.progress(on.id, after[0]) is None


def _figures(shown: Any) -> dict[str, Any]:
    figures = asdict(shown)
    return {**(figures.pop("sweep") or {}), **figures}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_of_a_submission_is_told(watched: Watched, what: str) -> None:
    check_told(watched, what, CHANGES[what])


@pytest.mark.parametrize("what", CHANGES_OF_A_LAUNCH)
def test_each_change_of_a_launch_is_told(watched: Watched, what: str) -> None:
    watched.launch()
    check_told(watched, what, CHANGES_OF_A_LAUNCH[what])


def test_what_a_place_says_of_a_slow_start_is_told(watched: Watched) -> None:
    watched.launch()
    watched.pass_seconds(90)
    watched.patch.setattr("services.server.launches.KEPT_SECONDS", 0.0)
    watched.jobs.state = JobState.WAITING
    before = watched.desk.progress(watched.id, None)
    assert before is not None and before[1].phase == Phase.STARTING
    watched.jobs.state = JobState.ENDED
    wait_for(lambda: watched.desk.progress(watched.id, before[0]) is not None)
    after = watched.desk.progress(watched.id, before[0])
    assert after is not None and after[1].phase == Phase.QUEUED


def test_a_look_does_not_wait_for_the_place_of_jobs(watched: Watched) -> None:
    answers, asked = threading.Event(), list[str]()

    def observe(id: str, number: int) -> JobState:
        asked.append(id)
        answers.wait(60)
        return JobState.WAITING

    watched.patch.setattr(watched.jobs, "observe", observe)
    watched.launch()
    watched.pass_seconds(90)
    before = watched.desk.progress(watched.id, None)
    assert before is not None and before[1].phase == Phase.STARTING
    assert watched.desk.progress(watched.id, before[0]) is None and not answers.is_set()
    answers.set()
    wait_for(lambda: not watched.desk._states._is_asking)
    assert watched.desk.progress(watched.id, before[0]) is None
    assert asked == [watched.id]


def test_what_a_place_said_last_stands_while_it_is_away(watched: Watched) -> None:
    def away(id: str, number: int) -> JobState:
        raise JobsAway("the place is away")

    watched.launch()
    watched.pass_seconds(90)
    watched.jobs.state = JobState.WAITING
    assert watched.desk.listed(ADA).items[0].phase == Phase.STARTING
    watched.patch.setattr("services.server.launches.KEPT_SECONDS", 0.0)
    watched.patch.setattr(watched.jobs, "observe", away)
    assert watched.desk.listed(ADA).items[0].phase == Phase.STARTING
    before = watched.desk.progress(watched.id, None)
    assert before is not None and before[1].phase == Phase.STARTING


@pytest.mark.parametrize("what", CHANGES_OF_A_SWEEP)
def test_each_change_of_a_sweep_is_told(watched: Watched, what: str) -> None:
    watched.launch()
    CHANGES_OF_A_LAUNCH["sweep_id"](watched)
    check_told(watched, what, CHANGES_OF_A_SWEEP[what])


def test_the_loss_of_a_process_is_told(watched: Watched) -> None:
    watched.launch()
    CHANGES_OF_A_LAUNCH["sweep_id"](watched)
    check_told(watched, "status", lambda on: on.pass_seconds(leases.LEASE_SECONDS + 1))


def test_a_retry_is_told(watched: Watched) -> None:
    watched.launch()
    CHANGES_OF_A_LAUNCH["sweep_id"](watched)
    watched.fail_a_trial()
    check_told(watched, "failed", lambda on: on.retry())


def test_a_renewed_lease_is_no_news(watched: Watched) -> None:
    watched.launch()
    CHANGES_OF_A_LAUNCH["sweep_id"](watched)
    before = watched.desk.progress(watched.id, None)
    assert before is not None
    watched.pass_seconds(leases.LEASE_SECONDS / 2)
    until = watched.story.ledger.sweep(watched.story.sweep_id).lease_until_ms
    watched.story.ledger.renew_lease(watched.story.sweep_id, watched.story.invocation)
    assert watched.story.ledger.sweep(watched.story.sweep_id).lease_until_ms > until
    assert watched.desk.progress(watched.id, before[0]) is None


def test_a_look_reads_no_trials(watched: Watched) -> None:
    read = list[str]()
    event.listen(
        watched.story.ledger._engine, "before_cursor_execute", lambda *given: read.append(str(given[2]).lower())
    )
    watched.queue.pulse(watched.story.sweep_id)
    assert len([one for one in read if "from sweeps" in one.replace("\n", " ")]) == 1
    assert not [one for one in read if "trials" in one.replace("\n", " ").partition("from ")[2]]


def test_those_who_wait_are_entered_together_and_each_has_its_answer(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, enter = list[int](), Submissions.submit_all

    def noted(queue: Submissions, requests: Sequence[SubmissionRequest]) -> None:
        together.append(len(requests))
        enter(queue, requests)

    monkeypatch.setattr(Submissions, "submit_all", noted)
    monkeypatch.setattr("services.server.desk.MOST_OPEN", 2)
    ada, bob = (Token(id=one, owner=one, scopes=(), created_ms=0, expires_ms=None, revoked_ms=None) for one in "ab")
    first, _ = watched.desk.submit(ada, Asked(spec={"name": "one"}), "k1")
    given = [(ada, "one", "k1"), (ada, "two", "k1"), (ada, "two", "k2"), (ada, "three", None), (bob, "one", "k1")]
    asked = [(who, Asked(spec={"name": name}), key) for who, name, key in given]
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with ThreadPoolExecutor(len(asked)) as threads:
        other.execute("BEGIN IMMEDIATE")
        answers = [threads.submit(watched.desk.submit, *one) for one in asked[:1]]
        wait_for(lambda: len(together) == 2)  # it waits for the other writer, and has the lock
        answers += [threads.submit(watched.desk.submit, *one) for one in asked[1:]]
        wait_for(lambda: len(watched.desk._waiting) == len(asked) - 1)
        other.execute("ROLLBACK")
    other.close()
    assert together == [1, 1, len(asked) - 1]
    assert answers[0].result() == (first, False)
    assert isinstance(answers[1].exception(), OtherRequest)
    assert {type(one.exception()) for one in answers[2:4]} == {type(None), TooManyOpen}
    assert (answers[4].result()[0].owner, answers[4].result()[1]) == ("b", True)
    assert [one.owner for one in watched.queue.open_ones()].count("a") == 2
    assert [row.action for row in Tokens.of(watched.story.ledger).audit()].count("submit") == 4


def test_a_damaged_row_that_one_asks_for_harms_nobody_else(watched: Watched) -> None:
    watched.queue.submit("ada", "one", {"name": "one"}, {}, idempotency="k1")
    with watched.story.ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE submissions SET name = 'other' WHERE idempotency = 'k1'")
    asked = [requested(key) for key in ("k1", "k2")]
    watched.queue.submit_all(asked)
    assert isinstance(asked[0].answer, LedgerDamaged) and asked[1].result()[1]


def test_an_error_that_one_request_raises_harms_nobody_else(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(connection: Connection, one: SubmissionRequest) -> None:
        if one.idempotency == "bad":
            raise LedgerError("ledger: cannot be opened or written: deadlock detected")
        entering.enter(connection, one)

    monkeypatch.setattr("sweeps.ledger.submissions.queue.enter", enter)
    asked = [requested(key) for key in ("good", "bad", "better")]
    watched.queue.submit_all(asked)
    assert [isinstance(one.answer, LedgerError) for one in asked] == [False, True, False]
    assert asked[0].result()[1] and asked[2].result()[1]


def test_a_ledger_that_is_away_is_asked_once_for_all(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = list[SubmissionRequest]()

    def enter(connection: Connection, one: SubmissionRequest) -> None:
        entered.append(one)
        raise LedgerAway("ledger: cannot be opened or written: connection refused")

    monkeypatch.setattr("sweeps.ledger.submissions.queue.enter", enter)
    asked = [requested(key) for key in ("one", "two")]
    watched.queue.submit_all(asked)
    assert len(entered) == 1 and all(isinstance(one.answer, LedgerAway) for one in asked)


def test_at_the_limit_whoever_came_first_is_entered(watched: Watched) -> None:
    asked = [requested(key, owner="bob", most_open=1) for key in ("z", "a")]
    watched.queue.submit_all(asked)
    assert asked[0].result()[1] and isinstance(asked[1].answer, TooManyOpen)


def requested(key: str, owner: str = "ada", most_open: int | None = None) -> SubmissionRequest:
    return SubmissionRequest(
        owner=owner, name="one", spec={"name": "one"}, options={}, idempotency=key, most_open=most_open
    )
