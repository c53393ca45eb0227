"""Specs whose task measures its metric every few epochs: nothing may read a repeated value."""

from typing import Any

import pytest

from sweeps.spec.sweep import SpecError, load_spec, parse_document

EVERY = "the task measures its metric every 5 epochs and repeats it in between"


def spec(arm: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """The small translation, of 10 epochs with BLEU after 5 and 10, with another arm of a grid."""
    given = load_spec("table-2-nlp-mini").to_dict()
    schedule = {"kind": "constant", "warmup_epochs": 1}
    other = {"schedule": schedule, "grid": {"schedule.learning_rate": [1e-3, 3e-3, 1e-2]}} | (arm or {})
    return given | {"arms": {"other": other, **given["arms"]}} | parts


def faults(given: dict[str, Any]) -> list[str]:
    try:
        parse_document(given)
    except SpecError as error:
        return error.faults
    return []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (spec(epochs=12), [f"epochs: must be a multiple of 5, as {EVERY}, got 12"]),
        (spec({"epochs": 7}), [f"arms.other.epochs: must be a multiple of 5, as {EVERY}, got 7"]),
        (
            spec({"halving": {"grace_epochs": 4}}),
            [f"arms.other.halving.grace_epochs: must be a multiple of 5, as {EVERY}, got 4"],
        ),
        (
            spec({"schedule": {"kind": "abel", "decay_factor": 0.1, "last_decay_epoch": None, "gain_threshold": 0.1}}),
            [
                "arms.other.schedule.gain_threshold: must be left out, as training may then end at an epoch with a repeated "
                f"metric: {EVERY}, got 0.1"
            ],
        ),
        (
            spec(check={"error": "selected"}),
            [
                "check.error: must be minimum or final, as the epoch with the lowest training loss may have a repeated metric: "
                f"{EVERY}, got selected"
            ],
        ),
    ],
)
def test_what_would_read_a_repeated_value_is_refused_once(given: dict[str, Any], expected: list[str]) -> None:
    assert faults(given) == expected


def test_two_arms_measure_their_metric_in_the_same_epochs() -> None:
    task = load_spec("table-2-nlp-mini").to_dict()["program"]["task"]
    given = spec({"program": {"task": {**task, "bleu_every": 2}}})
    rule = "must have the metric measured in the same epochs in all trials"
    assert faults(given) == [f"program.task: {rule}, got every 2 epochs in arm other, every 5 epochs in arm linear"]


@pytest.mark.parametrize("thresholds", [[0.1, None], [None, 0.1]])
def test_every_point_of_a_grid_is_checked(thresholds: list[float | None]) -> None:
    schedule = {"kind": "abel", "learning_rate": 3e-3, "decay_factor": 0.1, "last_decay_epoch": None}
    given = spec({"schedule": schedule, "grid": {"schedule.gain_threshold": thresholds}})
    (fault,) = faults(given)
    assert fault.startswith("arms.other.grid.schedule.gain_threshold: must be left out") and fault.endswith("got 0.1")


def test_simple_decay_with_l2_may_take_the_error_of_any_epoch() -> None:
    given = spec()
    rule = f"must be 0 with simple decay, as claim linear and figure table may take an epoch with a repeated metric: {EVERY}"
    assert faults(given | {"program": given["program"] | {"l2": 1e-4}}) == [f"program.l2: {rule}, got 0.0001"]
    simple, linear = ({**given["arms"][name], "program": {"l2": 1e-4}} for name in ("simple", "linear"))
    assert faults(given | {"arms": {"simple": simple}}) == [f"arms.simple.program.l2: {rule}, got 0.0001"]
    assert faults(given | {"arms": {"simple": given["arms"]["simple"], "linear": linear}}) == []
    grid = given["arms"]["simple"] | {"grid": {"program.l2": [1e-4, 0.0]}}
    assert faults(given | {"arms": {"simple": grid}}) == [f"arms.simple.grid.program.l2: {rule}, got 0.0001"]
    unread = {"figure": None, "claims": {"tested": ["no_bounce", "abel_simple"]}}
    assert faults(given | {"arms": {"simple": simple}} | unread) == []
    assert (
        "as figure training_curves may"
        in faults(given | {"arms": {"simple": simple}} | unread | {"figure": "training_curves"})[0]
    )


def test_a_claim_on_every_epoch_is_refused() -> None:
    rule = f"must not name curves, as it compares errors after every epoch: {EVERY}"
    assert faults(spec(claims={"tested": ["linear", "curves"]})) == [f"claims.tested: {rule}, got linear, curves"]


def test_what_reads_new_values_alone_is_valid() -> None:
    assert parse_document(spec({"halving": {"grace_epochs": 5}, "epochs": 20})).count() > 0
    task = {"kind": "translate", "segment_steps": 72, "bleu_every": 1}
    program = load_spec("table-2-nlp-mini").to_dict()["program"] | {"task": task}
    assert (
        parse_document(
            spec({"epochs": 7}, program=program, check={"error": "selected"}, claims={"tested": ["curves"]})
        ).count()
        > 0
    )
