"""Tests for `services/tracking/acts.py`."""

from typing import Any

from services.tracking.acts import act, changes, is_work
from sweeps.ledger.records import EventRow


def event(number: int, kind: str, **payload: Any) -> EventRow:
    return EventRow(id=number, sweep_id="s", kind=kind, payload=payload, at_ms=1000 + number)


def progress(number: int, *trials: str) -> EventRow:
    return event(number, "progress", trials=list(trials), keys=[f"k{number}"])


def ended(number: int, trial: str, status: str = "failed") -> EventRow:
    return event(number, "trial_ended", trial=trial, status=status, epoch=number, error=None)


def test_an_act_is_sorted_by_trial() -> None:
    page = [
        event(1, "sweep_started"),
        event(2, "progress", trials=["a", "b"], keys=["k1", "k2"]),
        event(3, "schedule", trial="a", epoch=2, event=2),
        event(4, "progress", trials=["b"], keys=["k3"]),
        ended(5, "b"),
        event(6, "note", text="hello"),
        event(7, "incident", trials=["a", "c"], text="a worker is gone"),
    ]
    found = changes(page)
    assert list(found) == ["a", "b", "c"]
    assert (found["a"].keys, found["b"].keys) == (["k1", "k2"], ["k1", "k2", "k3"])
    assert [row.payload["epoch"] for row in found["a"].decisions] == [2]
    assert found["a"].first_ms == 1002 and found["a"].ended is None and found["b"].ended == page[4]
    assert found["c"].incidents == found["a"].incidents == [page[6]]
    assert found["a"].trained and not found["c"].trained


def test_an_act_ends_with_an_invocation() -> None:
    page = [progress(1, "a"), event(2, "sweep_ended", status="interrupted"), progress(3, "a")]
    assert act(page) == page[:2]
    assert act(page[2:]) == page[2:]


def test_an_act_ends_before_a_trial_goes_on_that_has_ended_in_it() -> None:
    page = [
        progress(1, "a", "b"),
        ended(2, "a"),
        progress(3, "b"),
        event(4, "note"),
        progress(5, "b", "a"),
        ended(6, "a"),
    ]
    assert act(page) == page[:4]
    assert act(page[4:]) == page[4:]
    twice = [ended(1, "a"), ended(2, "a")]
    assert act(twice) == twice[:1]


def test_an_incident_is_no_work() -> None:
    assert [is_work(event(1, kind)) for kind in ("progress", "incident", "note", "sweep_described")] == [
        True,
        *[False] * 3,
    ]
