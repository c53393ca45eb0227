"""Who may start: priorities, fair shares, limits; over random queues."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.server.shares import ServiceLimits, to_launch
from sweeps.ledger.submissions.rows import Submission, Wanted


def submission(number: int, owner: str = "ada", priority: int = 0, workers: int | None = None) -> Submission:
    return Submission(
        id=f"{number:04d}",
        owner=owner,
        idempotency=None,
        body="",
        name="tiny",
        spec={},
        options={"workers": workers},
        priority=priority,
        wanted=Wanted.RUNNING,
        outcome=None,
        error=None,
        sweep_id=None,
        workers=workers,
        launches=0,
        failures=0,
        launched_ms=None,
        holder=None,
        lease_until_ms=0,
        created_ms=number,
        changed_ms=number,
    )


def launched(waiting: list[Submission], running: Sequence[Submission] = (), **limits: Any) -> list[tuple[Any, Any]]:
    return [(one.id, workers) for one, workers in to_launch(waiting, running, ServiceLimits(**limits))]


def test_the_oldest_goes_first_and_a_higher_priority_before_it() -> None:
    waiting = [submission(1), submission(2, priority=5), submission(3)]
    assert launched(waiting, sweeps=2) == [("0002", None), ("0001", None)]


def test_an_owner_with_many_does_not_delay_another_with_one() -> None:
    waiting = [submission(number) for number in range(100)] + [submission(500, "bob")]
    assert [id for id, _ in launched(waiting, sweeps=2)] == ["0000", "0500"]
    assert [id for id, _ in launched(waiting, [submission(900)], sweeps=2)] == ["0500"]


def test_an_owners_workers_are_divided_between_their_sweeps() -> None:
    waiting = [submission(1, workers=3), submission(2), submission(3)]
    assert launched(waiting, sweeps=9, owner_workers=8) == [("0001", 3), ("0002", 5)]
    assert launched([submission(1, workers=50)], sweeps=9, owner_workers=8) == [("0001", 8)]


def test_without_limits_as_many_workers_as_asked() -> None:
    assert launched([submission(1, workers=7), submission(2)]) == [("0001", 7), ("0002", None)]


OWNERS = st.sampled_from(["ada", "bob", "cy"])
QUEUES = st.lists(st.tuples(OWNERS, st.integers(-2, 2), st.none() | st.integers(1, 20)), max_size=30)


@given(QUEUES, QUEUES, st.integers(1, 8), st.none() | st.integers(1, 4), st.none() | st.integers(1, 12))
def test_no_limit_is_ever_exceeded_and_nothing_that_fits_is_left(
    waiting: list[Any], running: list[Any], sweeps: int, each: int, most: int
) -> None:
    queue = [submission(number, *one) for number, one in enumerate(waiting)]
    busy = [submission(100 + number, *one) for number, one in enumerate(running[:sweeps])]
    started = list(to_launch(queue, busy, ServiceLimits(sweeps=sweeps, owner_sweeps=each, owner_workers=most)))
    assert len(started) + len(busy) <= sweeps
    for owner in ("ada", "bob", "cy"):
        mine = [(one, workers) for one, workers in started if one.owner == owner]
        before = [one for one in busy if one.owner == owner]
        if mine and each is not None:
            assert len(mine) + len(before) <= each
        if mine and most is not None:
            assert sum(workers for _, workers in mine) + sum(one.workers or 1 for one in before) <= most
    left = [one for one in queue if one not in [other for other, _ in started]]
    if each is None and most is None and len(started) + len(busy) < sweeps:
        assert not left
    lowest = min((one.priority for one, _ in started), default=0)
    if each is None and most is None:
        assert all(one.priority <= lowest for one in left) or not started
