"""The loop that keeps submissions running: over a real ledger, with jobs that only say that they were started."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import text
from stories import Story

from services.server import reconciling
from services.server.jobs import JobsAway, JobState
from services.server.reconciling import Reconciler, phase_of
from services.server.shares import ServiceLimits
from sweeps.ledger import leases
from sweeps.ledger.leases import Fenced
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions import queue as submissions
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Phase, Submission, Wanted


@dataclass
class Noted:
    """A place that notes what it was told; this test's process plays the jobs."""

    launched: list[tuple[str, int]] = field(default_factory=list)
    stopped: list[tuple[str, int]] = field(default_factory=list)
    ended: set[tuple[str, int]] = field(default_factory=set)
    alive: set[tuple[str, int]] = field(default_factory=set)
    forgotten: set[tuple[str, int]] = field(default_factory=set)
    away: bool = False
    refuses: bool = False
    keeps: bool = False  # it answers, but stops nothing
    asked: int = 0  # while it is away
    waiting: set[tuple[str, int]] = field(default_factory=set)

    def launch(self, id: str, number: int) -> None:
        if self.refuses:
            raise JobsAway("the quota is used up")
        self.launched.append((id, number))

    def observe(self, id: str, number: int) -> JobState:
        if self.away:
            self.asked += 1
            raise JobsAway("the place is away")
        if (id, number) in self.ended:
            return JobState.ENDED
        if (id, number) in self.forgotten:
            return JobState.FORGOTTEN
        if (id, number) in self.waiting:
            return JobState.WAITING
        return JobState.ALIVE if (id, number) in self.alive else JobState.UNKNOWN

    def stop(self, id: str, number: int) -> None:
        if self.keeps:
            raise JobsAway("the place takes no orders")
        self.stopped.append((id, number))

    def output(self, id: str, number: int) -> str:
        return ""


@dataclass
class Clock:
    """A clock that tests set forward."""

    ahead_ms: int = 0

    def wait(self, seconds: float) -> None:
        self.ahead_ms += round(seconds * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, now, lease_now = Clock(), reconciling.now_ms, leases._now_ms
    for module in (reconciling, submissions):
        monkeypatch.setattr(module, "now_ms", lambda: now() + made.ahead_ms)
    monkeypatch.setattr(leases, "_now_ms", lambda: lease_now() + made.ahead_ms)
    return made


@pytest.fixture
def jobs() -> Noted:
    return Noted()


@pytest.fixture
def loop(ledger: Ledger, jobs: Noted) -> Reconciler:
    return Reconciler(ledger, jobs)


@pytest.fixture
def submit(queue: Submissions) -> Callable[..., Submission]:
    return lambda owner="ada", **options: queue.submit(owner, "tiny", {"name": "tiny"}, options)[0]


@pytest.fixture
def taken(loop: Reconciler, queue: Submissions, submit: Callable[..., Submission]) -> Callable[..., Submission]:
    """Make a submission whose first launch this process has taken, and change its row as given."""

    def make(**changes: Any) -> Submission:
        one = submit()
        loop.tick()
        queue.take(one.id, 1)
        return queue.renew(one.id, 1, **changes)

    return make


def test_what_is_wanted_is_started_once_and_taken(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    loop.tick()
    loop.tick()
    assert jobs.launched == [(one.id, 1)]
    assert phase_of(queue.submission(one.id)) is Phase.STARTING
    queue.take(one.id, 1)
    loop.tick()
    assert phase_of(queue.submission(one.id)) is Phase.RUNNING
    assert len(jobs.launched) == 1


def test_a_job_whose_lease_runs_out_is_followed_by_another(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], clock: Clock
) -> None:
    one = submit()
    loop.tick()
    queue.take(one.id, 1)
    queue.renew(one.id, 1, failures=0)  # it has trained something
    clock.wait(leases.LEASE_SECONDS - 1)
    loop.tick()
    assert len(jobs.launched) == 1
    clock.wait(2)
    loop.tick()
    assert jobs.launched == [(one.id, 1), (one.id, 2)]


@pytest.mark.parametrize("known", ["ended", "forgotten"])
def test_a_job_that_its_place_knows_to_be_lost_is_followed_by_another_before_its_lease_runs_out(
    loop: Reconciler,
    jobs: Noted,
    queue: Submissions,
    taken: Callable[..., Submission],
    story: Story,
    clock: Clock,
    known: str,
) -> None:
    sweep = story.begin().ledger.sweeps()[-1]
    one = taken(failures=0, sweep_id=sweep.id)
    getattr(jobs, known).add((one.id, 1))
    clock.wait(leases.SILENT_SECONDS - 1)
    loop.tick()
    loop.tick()
    assert len(jobs.launched) == 1
    clock.wait(1.5)
    loop.tick()  # frees the leases
    assert not leases.is_held(queue.submission(one.id))
    assert not leases.is_held(story.ledger.sweeps()[-1])
    loop.tick()
    assert jobs.launched == [(one.id, 1), (one.id, 2)]
    with pytest.raises(Fenced):
        queue.renew(one.id, 1)
    with pytest.raises(Fenced):
        story.ledger.renew_lease(sweep.id, story.invocation)


@pytest.mark.parametrize("known", ["alive", None])
def test_a_silent_job_that_may_live_keeps_its_lease(
    loop: Reconciler,
    jobs: Noted,
    queue: Submissions,
    taken: Callable[..., Submission],
    clock: Clock,
    known: str | None,
) -> None:
    one = taken()
    if known:
        getattr(jobs, known).add((one.id, 1))
    clock.wait(leases.SILENT_SECONDS + 1)
    loop.tick()
    loop.tick()
    assert len(jobs.launched) == 1
    queue.renew(one.id, 1)


def test_a_driver_that_outlives_its_command_keeps_the_sweep_until_it_is_silent_too(
    loop: Reconciler,
    jobs: Noted,
    queue: Submissions,
    taken: Callable[..., Submission],
    story: Story,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as driver:
        driver.setattr(leases, "_command", os.getpid())
        driver.setattr(leases.os, "getpid", lambda: os.getppid())  # a process of its own, started by this one
        story.begin()
    one = taken(failures=0, sweep_id=story.sweep_id)
    jobs.ended.add((one.id, 1))
    clock.wait(leases.SILENT_SECONDS - 1)
    story.tell()  # it saves what it has, and renews its lease
    clock.wait(2)
    loop.tick()
    loop.tick()
    assert queue.submission(one.id).is_held and len(jobs.launched) == 1
    clock.wait(leases.SILENT_SECONDS - 1)
    loop.tick()
    loop.tick()
    assert jobs.launched == [(one.id, 1), (one.id, 2)], "before its lease ran out"


def test_a_sweep_that_another_process_holds_stays_held(
    loop: Reconciler,
    jobs: Noted,
    queue: Submissions,
    taken: Callable[..., Submission],
    story: Story,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(leases.socket, "gethostname", lambda: "elsewhere")
        story.begin()
    one = taken(sweep_id=story.sweep_id)
    jobs.ended.add((one.id, 1))
    clock.wait(leases.SILENT_SECONDS + 1)
    loop.tick()
    assert not queue.submission(one.id).is_held
    assert leases.is_held(story.ledger.sweeps()[-1])


def test_a_job_that_was_lost_before_its_sweep_was_entered_is_given_up_too(
    loop: Reconciler, jobs: Noted, taken: Callable[..., Submission], clock: Clock
) -> None:
    one = taken(sweep_id="never entered")
    jobs.forgotten.add((one.id, 1))
    clock.wait(leases.SILENT_SECONDS + 1)
    loop.tick()
    loop.tick()
    assert jobs.launched == [(one.id, 1), (one.id, 2)]


def test_a_damaged_sweep_of_a_lost_job_holds_nobody_up(
    ledger: Ledger,
    loop: Reconciler,
    jobs: Noted,
    queue: Submissions,
    submit: Callable[..., Submission],
    taken: Callable[..., Submission],
    story: Story,
    clock: Clock,
) -> None:
    story.begin()
    one = taken(sweep_id=story.sweep_id)
    jobs.ended.add((one.id, 1))
    with ledger._engine.begin() as connection:
        connection.execute(text("UPDATE sweeps SET holder = 'x'"))
    clock.wait(leases.SILENT_SECONDS + 1)
    other = submit("bob")
    loop.tick()
    assert queue.submission(one.id).is_held
    assert jobs.launched[-1] == (other.id, 1)


def test_what_was_renewed_since_the_look_is_neither_given_up_nor_started_again(
    queue: Submissions, taken: Callable[..., Submission], clock: Clock
) -> None:
    one = taken()
    seen = queue.submission(one.id)
    clock.wait(leases.LEASE_SECONDS + 1)
    queue.renew(one.id, 1)
    queue.give_up(seen)
    assert queue.submission(one.id).is_held
    assert queue.count_launch(seen, None) is None


def test_a_place_that_is_away_holds_up_nothing_that_needs_only_the_ledger(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], clock: Clock
) -> None:
    silent, cancelled = submit(), submit()
    loop.tick()
    queue.take(silent.id, 1)
    queue.take(cancelled.id, 1)
    queue.release(cancelled.id, 1)
    queue.want(cancelled.id, Wanted.CANCELLED)
    clock.wait(leases.SILENT_SECONDS + 1)
    jobs.away = True
    with pytest.raises(JobsAway):
        loop.tick()
    assert jobs.asked == 1
    assert queue.submission(silent.id).is_held
    assert queue.submission(cancelled.id).outcome == "cancelled"


def test_a_place_that_refuses_launches_uses_up_no_patience(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], clock: Clock
) -> None:
    one = submit()
    jobs.refuses = True
    for _ in range(2 * reconciling.MOST_FAILURES):
        with pytest.raises(JobsAway):
            loop.tick()
        assert phase_of(queue.submission(one.id)) is Phase.QUEUED
        loop.tick()  # in the pause it is not asked again
        clock.wait(reconciling.FIRST_PAUSE_SECONDS + 1)
    now = queue.submission(one.id)
    assert (now.failures, now.error, now.outcome) == (1, "the quota is used up", None)
    jobs.refuses = False
    clock.wait(reconciling.FIRST_PAUSE_SECONDS)
    loop.tick()
    assert [id for id, _ in jobs.launched] == [one.id]


def test_a_job_that_never_comes_is_replaced_after_a_minute(
    loop: Reconciler, jobs: Noted, submit: Callable[..., Submission], clock: Clock
) -> None:
    one = submit()
    loop.tick()
    clock.wait(reconciling.START_SECONDS - 1)
    loop.tick()
    assert len(jobs.launched) == 1
    clock.wait(2)
    loop.tick()
    assert jobs.launched[-1] == (one.id, 2)
    jobs.ended.add((one.id, 2))
    clock.wait(20)  # the pause after two starts that came to nothing
    loop.tick()
    assert jobs.launched[-1] == (one.id, 3)


def test_failed_starts_are_ever_further_apart_until_the_sweep_fails(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], clock: Clock
) -> None:
    one = submit()
    gaps = []
    while queue.submission(one.id).outcome is None and clock.ahead_ms < 4_000_000:
        before, at = len(jobs.launched), clock.ahead_ms
        while len(jobs.launched) == before and queue.submission(one.id).outcome is None:
            clock.wait(1)
            loop.tick()
        gaps.append(clock.ahead_ms - at)
        queue.take(one.id, len(jobs.launched)) if queue.submission(one.id).outcome is None else None
        queue.release(one.id, len(jobs.launched), error="no such bucket")
    ended = queue.submission(one.id)
    assert (ended.outcome, len(jobs.launched)) == (Phase.FAILED, reconciling.MOST_FAILURES)
    assert ended.error.startswith("It was started 6 times in a row")
    assert "no such bucket" in ended.error
    assert gaps[1:5] == sorted(gaps[1:5])


def test_a_place_that_is_away_costs_no_start(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    jobs.away = True
    for _ in range(reconciling.MOST_FAILURES + 1):
        with pytest.raises(JobsAway):
            loop.tick()
    assert (queue.submission(one.id).launches, queue.submission(one.id).failures) == (0, 0)
    jobs.away = False
    loop.tick()
    assert jobs.launched == [(one.id, 1)]


def test_a_paused_one_is_left_alone_until_it_is_resumed(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    queue.want(one.id, Wanted.PAUSED)
    loop.tick()
    assert (jobs.launched, phase_of(queue.submission(one.id))) == ([], Phase.PAUSED)
    queue.want(one.id, Wanted.RUNNING)
    loop.tick()
    assert jobs.launched == [(one.id, 1)]


def test_a_cancelled_one_ends_once_nothing_carries_it_out(
    loop: Reconciler, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one, other = submit(), submit()
    loop.tick()
    queue.take(one.id, 1)
    for each in (one, other):
        queue.want(each.id, Wanted.CANCELLED)
    loop.tick()
    assert phase_of(queue.submission(one.id)) is Phase.STOPPING
    queue.release(one.id, 1)
    loop.tick()
    assert queue.submission(one.id).outcome == "cancelled"


def test_a_cancelled_one_without_a_sweep_holds_nobody_up(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    loop.tick()
    queue.take(one.id, 1)
    queue.renew(one.id, 1, sweep_id="never entered")
    queue.release(one.id, 1)
    queue.want(one.id, Wanted.CANCELLED)
    other = submit("bob")
    loop.tick()
    assert queue.submission(one.id).outcome == "cancelled"
    assert jobs.launched[-1] == (other.id, 1)


def test_a_cancelled_one_whose_job_waits_ends_once_the_job_is_called_back(
    loop: Reconciler, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    loop.tick()
    jobs.waiting.add((one.id, 1))
    queue.want(one.id, Wanted.CANCELLED)
    jobs.keeps = True
    with pytest.raises(JobsAway):
        loop.tick()
    assert queue.submission(one.id).outcome is None
    jobs.keeps = False
    loop.tick()
    assert (jobs.stopped, queue.submission(one.id).outcome) == ([(one.id, 1)], "cancelled")


def test_what_was_cancelled_stays_so(queue: Submissions, submit: Callable[..., Submission]) -> None:
    one = submit()
    queue.want(one.id, Wanted.CANCELLED)
    assert queue.want(one.id, Wanted.RUNNING).wanted is Wanted.CANCELLED


def test_a_slow_start_that_is_alive_is_waited_for(
    loop: Reconciler, jobs: Noted, submit: Callable[..., Submission], clock: Clock
) -> None:
    one = submit()
    loop.tick()
    jobs.alive.add((one.id, 1))
    clock.wait(reconciling.SLOW_START_SECONDS - 5)
    loop.tick()
    assert len(jobs.launched) == 1
    clock.wait(10)
    loop.tick()
    assert jobs.launched[-1] == (one.id, 2)


def test_only_so_many_run_at_once_and_the_next_follows(
    ledger: Ledger, jobs: Noted, queue: Submissions, submit: Callable[..., Submission]
) -> None:
    loop = Reconciler(ledger, jobs, ServiceLimits(sweeps=1))
    first, second = submit(), submit()
    loop.tick()
    loop.tick()
    assert jobs.launched == [(first.id, 1)]
    queue.take(first.id, 1)
    queue.release(first.id, 1, outcome="finished")
    loop.tick()
    assert jobs.launched == [(first.id, 1), (second.id, 1)]


def test_over_its_budget_a_sweep_is_paused_and_says_so(
    ledger: Ledger, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "hours_of", lambda ledger, sweep: 2.5)
    monkeypatch.setattr(ledger, "intact_sweeps", lambda: [Row()])
    loop = Reconciler(ledger, jobs, ServiceLimits(owner_hours=2))
    one = submit()
    loop.tick()
    queue.take(one.id, 1)
    queue.renew(one.id, 1, sweep_id="abc")
    loop.tick()
    now = queue.submission(one.id)
    assert (now.wanted, now.error) == (Wanted.PAUSED, "over budget: ada has used 2.50 of 2 accelerator-hours")
    later = submit()
    loop.tick()
    assert queue.submission(later.id).wanted is Wanted.PAUSED  # and nothing else of this owner's starts
    assert len(jobs.launched) == 1


def test_a_sweep_has_a_budget_of_its_own(
    ledger: Ledger, jobs: Noted, queue: Submissions, submit: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "hours_of", lambda ledger, sweep: 0.75)
    monkeypatch.setattr(ledger, "intact_sweeps", lambda: [Row()])
    loop, one = Reconciler(ledger, jobs), submit(hours=0.5)
    loop.tick()
    queue.take(one.id, 1)
    queue.renew(one.id, 1, sweep_id="abc")
    loop.tick()
    assert queue.submission(one.id).error == "over budget: the sweep has used 0.75 of its 0.5 accelerator-hours"


@dataclass
class Row:
    """The row of a sweep that nobody runs."""

    id: str = "abc"
    holder: str | None = None
    lease_until_ms: int = 0


def test_hours_count_accelerators_only(story: Story) -> None:
    story.begin().tell().end()
    ledger, sweep = story.ledger, story.ledger.sweeps()[-1]
    spent = ledger.work(sweep.id).seconds_training
    assert spent > 0
    assert reconciling.hours_of(ledger, sweep) == 0.0
    on_gpus = replace(sweep, spec={**sweep.spec, "resources": {"gpu": 2}})
    assert reconciling.hours_of(ledger, on_gpus) == pytest.approx(2 * spent / 3600)
    on_hosts = replace(sweep, spec={**sweep.spec, "resources": {"gpu": 2, "hosts": 3}})
    assert reconciling.hours_of(ledger, on_hosts) == pytest.approx(6 * spent / 3600)
