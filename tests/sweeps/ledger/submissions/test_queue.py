"""The queue of submissions: once a key, one process a launch, and what is wanted."""

import threading
from collections.abc import Callable, Iterator

import pytest

from sweeps.ledger import leases
from sweeps.ledger.leases import Fenced
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.entering import OtherRequest, TooManyOpen
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Submission, Wanted
from sweeps.ledger.submissions.tokens import Tokens

SPEC = {"name": "tiny", "epochs": 3}


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    opened = Ledger.open(database)
    yield opened
    opened.close()


@pytest.fixture
def queue(ledger: Ledger) -> Submissions:
    return Submissions.of(ledger)


@pytest.fixture
def submit(queue: Submissions) -> Callable[..., Submission]:
    return lambda owner="ada", **more: queue.submit(owner, "tiny", SPEC, {"workers": 2}, **more)[0]


@pytest.mark.databases
def test_a_key_makes_one_submission_of_an_owner_and_no_other_request(queue: Submissions) -> None:
    first, new = queue.submit("ada", "tiny", SPEC, {}, idempotency="k")
    again, newer = queue.submit("ada", "tiny", SPEC, {}, idempotency="k")
    assert (new, newer, again) == (True, False, first)
    assert queue.submit("bob", "tiny", SPEC, {}, idempotency="k")[1]
    with pytest.raises(OtherRequest, match=f"'k': was used for another request \\(submission {first.id}\\)"):
        queue.submit("ada", "tiny", SPEC | {"epochs": 4}, {}, idempotency="k")


@pytest.mark.databases
def test_of_many_at_once_with_one_key_one_is_new(queue: Submissions) -> None:
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(queue.submit("ada", "tiny", SPEC, {}, idempotency="k")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one, _ in made}) == 1
    assert sum(new for _, new in made) == 1


def test_pages_are_newest_first_and_continue_where_the_last_one_ended(
    queue: Submissions, submit: Callable[..., Submission]
) -> None:
    ids = [submit().id for _ in range(5)]
    submit("bob")
    seen, before = [], None
    while page := queue.page("ada", before=before, limit=2):
        seen += [one.id for one in page]
        before = (page[-1].created_ms, page[-1].id)
    assert sorted(seen) == sorted(ids)
    assert len(queue.page(None, limit=50)) == 6
    assert queue.page("ada", name="other") == []


@pytest.mark.databases
def test_a_launch_is_counted_once_and_only_for_what_is_wanted(
    queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    assert queue.count_launch(one, 2) == 1
    assert queue.count_launch(one, 2) is None  # another loop saw the same row
    queue.want(one.id, Wanted.PAUSED)
    assert queue.count_launch(queue.submission(one.id), 2) is None


@pytest.mark.databases
def test_an_owner_has_at_most_so_many_open_ones(
    queue: Submissions, submit: Callable[..., Submission], ledger: Ledger
) -> None:
    first = submit(idempotency="first", most_open=1)
    with pytest.raises(TooManyOpen, match="submissions: must be at most 1 without an outcome, got one more than 1"):
        submit(idempotency="second", most_open=1)
    assert submit(idempotency="first", most_open=1) == first  # it is not one more
    assert (len(queue.page("ada")), len(Tokens.of(ledger).audit())) == (1, 1)
    assert submit("bob", most_open=1).owner == "bob"
    queue.settle(first.id, "finished")
    assert submit(idempotency="second", most_open=1).id != first.id


@pytest.mark.databases
def test_what_people_ask_for_is_in_the_audit_log_if_it_is_in_the_queue(
    queue: Submissions, submit: Callable[..., Submission], ledger: Ledger
) -> None:
    one = submit(idempotency="k")
    assert submit(idempotency="k").id == one.id
    queue.want(one.id, Wanted.PAUSED, "over budget")  # the service
    queue.want(one.id, Wanted.RUNNING, actor="ada")
    queue.settle(one.id, "failed")
    queue.want(one.id, Wanted.CANCELLED, actor="ada")  # too late
    told = [(entry.actor, entry.action, entry.target) for entry in Tokens.of(ledger).audit()]
    assert told == [("ada", action, one.id) for action in ("cancel", "resume", "submit")]


@pytest.mark.databases
def test_nothing_is_entered_that_the_audit_log_cannot_take(
    queue: Submissions, submit: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = submit()
    for module in ("entering", "queue"):
        monkeypatch.setattr(f"sweeps.ledger.submissions.{module}.add_audit_row", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submit()
    with pytest.raises(ZeroDivisionError):
        queue.want(one.id, Wanted.PAUSED, actor="ada")
    assert queue.page(None) == [one]


@pytest.mark.databases
def test_who_resumes_what_runs_does_not_reset_its_failed_launches(
    queue: Submissions, submit: Callable[..., Submission]
) -> None:
    one = submit()
    queue.count_launch(one, None)
    assert queue.want(one.id, Wanted.RUNNING, actor="ada").failures == 1
    assert queue.want(one.id, Wanted.PAUSED, actor="ada").failures == 0


@pytest.mark.databases
def test_one_process_takes_a_launch_and_an_older_one_writes_nothing(
    queue: Submissions, submit: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = submit()
    number = queue.count_launch(one, None)
    with pytest.raises(Fenced):
        queue.take(one.id, number + 1)
    assert queue.take(one.id, number).is_held
    assert queue.renew(one.id, number, sweep_id="abc").sweep_id == "abc"
    newer = queue.count_launch(queue.submission(one.id), None)
    with pytest.raises(Fenced):
        queue.renew(one.id, number)
    queue.release(one.id, number, outcome="finished")
    assert queue.submission(one.id).outcome is None
    monkeypatch.setattr(leases.Holder, "here", classmethod(lambda cls: leases.Holder("other", "-", 1, 1, 1)))
    with pytest.raises(Fenced):  # this process still holds the lease
        queue.take(one.id, newer)


def test_what_has_an_outcome_keeps_it(queue: Submissions, submit: Callable[..., Submission]) -> None:
    one = submit()
    queue.settle(one.id, "cancelled")
    assert queue.want(one.id, Wanted.RUNNING).outcome == "cancelled"
    assert queue.settle(one.id, "failed").outcome == "cancelled"
    assert queue.open_ones() == []
    with pytest.raises(Fenced):
        queue.take(one.id, 0)
