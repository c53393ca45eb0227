"""Tests for `services/projection.py`."""

import math
from typing import Any

from abel.schedules import Event
from services.projection import (
    Point,
    changes,
    decision_points,
    decision_tags,
    epoch_points,
    nonfinite_tags,
    trial_update,
)
from sweeps.rows import EventRow, StateRow


def event(number: int, kind: str, **payload: Any) -> EventRow:
    return EventRow(id=number, sweep_id="s", kind=kind, payload=payload, at_ms=1000 + number)


def decision(epoch: int, flags: Event) -> EventRow:
    return event(epoch, "schedule", trial="a", epoch=epoch, event=int(flags), rate_before=0.1, rate_after=0.01)


def state(epoch: int, **metrics: float) -> StateRow:
    return StateRow(
        key=f"k{epoch}", parent="p", epoch=epoch, metrics=metrics, finished_at_ms=epoch * 10, worker="host:1"
    )


def test_a_page_is_sorted_by_trial() -> None:
    page = [
        event(1, "sweep_started"),
        event(2, "progress", trials=["a", "b"], keys=["k1", "k2"]),
        decision(2, Event.DECAY),
        event(3, "progress", trials=["b"], keys=["k3"]),
        event(4, "trial_ended", trial="b", status="finished", epoch=3, error=None),
        event(5, "note", text="hello"),
    ]
    found = changes(page)
    assert list(found) == ["a", "b"]
    assert (found["a"].keys, found["b"].keys) == (["k1", "k2"], ["k1", "k2", "k3"])
    assert [row.payload["epoch"] for row in found["a"].decisions] == [2]
    assert found["a"].first_ms == 1002 and found["a"].ended is None and found["b"].ended == page[4]


def test_a_failed_trial_that_goes_on_has_not_ended() -> None:
    ended = event(1, "trial_ended", trial="a", status="failed", epoch=1, error="boom")
    assert changes([ended, event(2, "progress", trials=["a"], keys=["k2"])])["a"].ended is None


def test_a_bounce_in_the_epoch_of_the_last_decay_is_both() -> None:
    tags = decision_tags({"abel.decay_epochs": "9"}, [decision(12, Event.DECAY | Event.LAST_DECAY)])
    assert tags == {"abel.decay_epochs": "9,12", "abel.bounce_epochs": "12", "abel.forced_epochs": "12"}
    assert decision_tags(tags, [decision(12, Event.DECAY)]) == {}


def test_a_plateau_decays_and_does_not_bounce() -> None:
    decisions = [decision(12, Event.PLATEAU), decision(23, Event.PLATEAU)]
    assert decision_tags({}, decisions) == {"abel.decay_epochs": "12,23"}
    assert [(point.value, point.step) for point in decision_points(decisions)] == [(16.0, 12), (16.0, 23)]


def test_only_the_first_epoch_that_is_not_finite_is_told() -> None:
    states = [state(1, x=1.0, y=-math.inf), state(2, x=math.nan, y=math.nan)]
    assert nonfinite_tags(states) == {"nonfinite.y": "-inf in epoch 1", "nonfinite.x": "nan in epoch 2"}
    assert next(epoch_points(states[0])) == Point("x", 1.0, 10, 1)


def test_an_update_vouches_for_the_last_epoch_it_holds() -> None:
    ended = event(9, "trial_ended", trial="a", status="failed", epoch=None, error="Boom: no")
    change = changes([event(1, "progress", trials=["a"], keys=["k4"]), ended])["a"]
    points, tags = trial_update({"abel.epoch": "3"}, change, [state(4, x=1.0)])
    assert points == [Point("x", 1.0, 40, 4)]
    outcome = {"abel.outcome": "failed", "abel.outcome_epoch": "4", "abel.error": "Boom: no"}
    assert tags == outcome | {"abel.epoch": "4"}
