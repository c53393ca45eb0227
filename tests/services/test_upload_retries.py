"""Tests for `services/upload_retries.py`."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services import upload_retries
from services.upload_retries import Ending, Patience, persist, reason, sole


class Down(Exception):
    pass


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.steps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(upload_retries.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(upload_retries.random, "uniform", lambda low, high: high)
    return clock


def run(clock: Clock, outcomes: Iterator[Any], more: Callable[[], bool], **options: Any) -> tuple[Ending, list[str]]:
    said: list[str] = []

    def step() -> bool:
        clock.steps.append(clock.now)
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    options = {"refused": lambda error: False} | options
    return persist(step, more, faults=(Down,), say=said.append, sleep=clock.sleep, **options), said


def test_it_is_done_when_nothing_waits_and_no_more_is_expected(clock: Clock) -> None:
    assert run(clock, iter([True, True, False]), lambda: False) == (Ending.DONE, [])
    assert clock.pauses == []


def test_it_rests_between_steps_but_not_when_the_end_comes(clock: Clock) -> None:
    ending, _ = run(clock, itertools.repeat(False), lambda: clock.now < 7, patience=Patience(rest_seconds=5))
    assert ending is Ending.DONE
    assert clock.now == 7


def test_work_that_came_with_the_last_look_is_not_left(clock: Clock) -> None:
    done: list[float] = []
    looks = iter([True, True, False, False])

    def step() -> bool:
        done.append(clock.now)
        return False

    options: Any = {"faults": (Down,), "refused": lambda error: False, "say": print, "sleep": clock.sleep}
    persist(step, lambda: next(looks), **options)
    assert len(done) == 2


def test_while_more_is_expected_it_never_gives_up(clock: Clock) -> None:
    outcomes = itertools.chain(itertools.repeat(Down("refused"), 100), [False, False])
    ending, said = run(clock, outcomes, lambda: clock.now < 950)
    assert ending is Ending.DONE
    assert [later - earlier for earlier, later in itertools.pairwise(clock.steps[:7])] == [1, 2, 4, 8, 10, 10]
    assert said == ["unreachable: refused; retrying, training continues", f"reachable again after {clock.now:.0f} s"]


def test_when_no_more_is_expected_it_gives_up_after_the_stated_time(clock: Clock) -> None:
    limits = Patience(give_up_after_seconds=30)
    ending, said = run(clock, itertools.repeat(Down("no route")), lambda: clock.now < 100, patience=limits)
    assert ending is Ending.GAVE_UP
    assert 130 < clock.now < 155
    assert said[-1] == "gave up: no route; unsent data is kept in the ledger"


def test_a_fault_while_it_rests_is_one_like_any_other(clock: Clock) -> None:
    looks = iter([True, Down("gone"), True, False, False])

    def more() -> bool:
        seen = next(looks)
        if isinstance(seen, Exception):
            raise seen
        return seen

    ending, said = run(clock, itertools.repeat(False), more)
    assert ending is Ending.DONE
    assert said[0].startswith("unreachable: gone; retrying") and said[1].startswith("reachable again after ")


def test_a_pause_ends_when_it_is_told_to_stop(clock: Clock) -> None:
    faults = itertools.repeat(Down("gone"))
    ending, _ = run(clock, faults, lambda: True, stopped=lambda: clock.now > 20)
    assert ending is Ending.STOPPED
    assert clock.now < 20 + 2 * upload_retries.LOOK_SECONDS


def test_a_store_that_refuses_is_not_asked_for_ever(clock: Clock) -> None:
    ending, _ = run(clock, itertools.repeat(Down("no permission")), lambda: True, refused=lambda error: True)
    assert ending is Ending.GAVE_UP
    assert len(clock.steps) == 3


def test_it_stops_when_told(clock: Clock) -> None:
    ending, _ = run(clock, itertools.repeat(True), lambda: True, stopped=lambda: True)
    assert ending is Ending.STOPPED


def test_the_reason_is_one_line_without_credentials() -> None:
    chain = "API request to http://u:pw@h:1/x failed\nwith exception Pool(...) (Caused by NewError('refused'))"
    assert reason(Down(chain)) == "NewError('refused')"
    assert reason(Down("GET http://u:pw@h:1/x: 503")) == "GET http://h:1/x: 503"
    assert len(reason(Down("x" * 1000))) == 241


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a"
    with sole(lock) as first, sole(lock) as second:
        assert (first, second) == (True, False)
    with sole(lock) as again:
        assert again
