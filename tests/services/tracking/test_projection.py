"""Tests for `services/tracking/projection.py`."""

import math
from dataclasses import replace
from typing import Any

from abel.schedules import Event
from services.tracking.acts import changes
from services.tracking.projection import (
    MetricPoint,
    decision_points,
    decision_tags,
    epoch_points,
    incident_tags,
    nonfinite_tags,
    trial_update,
)
from sweeps.ledger.records import EventRow, StateRow
from workers.trajectory import TEST_ERROR


def event(number: int, kind: str, **payload: Any) -> EventRow:
    return EventRow(id=number, sweep_id="s", kind=kind, payload=payload, at_ms=1000 + number)


def decision(epoch: int, flags: Event) -> EventRow:
    return event(epoch, "schedule", trial="a", epoch=epoch, event=int(flags), rate_before=0.1, rate_after=0.01)


def state(epoch: int, **metrics: float) -> StateRow:
    return StateRow(
        key=f"k{epoch}", parent="p", epoch=epoch, metrics=metrics, finished_at_ms=epoch * 10, worker="host:1"
    )


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
    assert next(epoch_points(states[0])) == MetricPoint("x", 1.0, 10, 1)


def test_a_metric_is_sent_where_it_is_measured() -> None:
    change = changes([event(1, "progress", trials=["a"], keys=["k4", "k5", "k6"])])["a"]
    news = [state(epoch, bleu=7.0, x=float(epoch)) for epoch in (4, 5, 6)]
    points, _ = trial_update({}, change, news, replace(TEST_ERROR, name="bleu", cadence=5))
    assert [(point.step, point.value) for point in points if point.key == "bleu"] == [(5, 7.0)]
    assert [point.step for point in points if point.key == "x"] == [4, 5, 6]


def test_an_update_vouches_for_the_last_epoch_it_holds() -> None:
    ended = event(9, "trial_ended", trial="a", status="failed", epoch=None, error="Boom: no")
    change = changes([event(1, "progress", trials=["a"], keys=["k4"]), ended])["a"]
    points, tags = trial_update({"abel.epoch": "3"}, change, [state(4, x=1.0)], TEST_ERROR)
    assert points == [MetricPoint("x", 1.0, 40, 4)]
    outcome = {"abel.outcome": "failed", "abel.outcome_epoch": "4", "abel.error": "Boom: no"}
    assert tags == outcome | {"abel.epoch": "4"}


def test_an_incident_that_is_counted_is_not_counted_again() -> None:
    happened = [event(number, "incident", text=f"incident {number}", trials=["a"]) for number in (3, 5, 8)]
    tags = incident_tags({}, happened[:2])
    assert tags == {"abel.incidents": "2", "abel.incident": "incident 5", "abel.incident_event": "5"}
    assert incident_tags(tags, happened[:2]) == {}
    assert incident_tags(tags, happened)["abel.incidents"] == "3"


def test_an_incident_alone_does_not_bring_an_ended_trial_back() -> None:
    change = changes([event(3, "incident", text="a checkpoint is damaged", trials=["a"])])["a"]
    known = {"abel.outcome": "failed", "abel.error": "boom", "abel.epoch": "4"}
    _, tags = trial_update(known, change, [], TEST_ERROR)
    assert tags == {
        "abel.incidents": "1",
        "abel.incident": "a checkpoint is damaged",
        "abel.incident_event": "3",
        "abel.epoch": "4",
    }


def test_names_and_texts_are_made_such_that_mlflow_takes_them() -> None:
    (point,) = epoch_points(state(1, **{"weight_norm_sq/conv1/kernel[0]": 1.0}))
    assert point.key == "weight_norm_sq.conv1.kernel.0."
    ended = event(9, "trial_ended", trial="a", status="failed", epoch=1, error="no file \udcff")
    assert trial_update({}, changes([ended])["a"], [], TEST_ERROR)[1]["abel.error"] == "no file ?"
