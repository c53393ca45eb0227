"""Tests for `sweeps/results/summary.py`."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from sweeps.ledger.records import StateRow, TrialRow, TrialStatus
from sweeps.results.summary import summarise, trial_result
from workers.trajectory import TEST_ERROR

DECAY = {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1}
NORMS = [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]


def trial(number: int, arm: str, schedule: dict[str, Any], seed: int = 0, **changes: Any) -> TrialRow:
    settings = {name: value for name, value in schedule.items() if name == "decay_epoch"}
    values = {
        **{"id": f"{number}", "sweep_id": "s", "number": number, "name": f"{arm} {number}", "arm": arm, "seed": seed},
        **{"settings": settings, "program": {}, "schedule": schedule, "epochs": 3, "epoch": 3, "head": "k"},
        **{"status": TrialStatus.FINISHED, "error": None},
    }
    return TrialRow(**values | changes)


def curve(errors: Sequence[float], norms: Sequence[float] | None = None) -> list[StateRow]:
    norms = norms or [1.0] * len(errors)
    return [
        StateRow(
            key=f"{epoch}",
            parent=f"{epoch - 1}",
            epoch=epoch,
            metrics={"test_error": error, "weight_norm_sq": norm, "train_loss": 1.0},
            finished_at_ms=0,
            worker="",
        )
        for epoch, (error, norm) in enumerate(zip(errors, norms, strict=True), start=1)
    ]


def decay_epochs(schedule: dict[str, Any], epochs: Sequence[StateRow]) -> tuple[int, ...]:
    return trial_result(trial(0, "arm", schedule), epochs, TEST_ERROR).decays


def test_decays_are_replayed_from_what_the_schedule_saw() -> None:
    abel = {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1, "last_decay_epoch": 6.5}
    decays = decay_epochs(abel, curve([50.0] * 7, NORMS))
    assert decays[-1] == 7  # forced: a fractional epoch rounds up
    assert len(decays) == 2
    assert decay_epochs(
        {"kind": "step", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epochs": [2]}, curve([1.0] * 3)
    ) == (2,)
    assert decay_epochs({"kind": "constant", "learning_rate": 0.1}, curve([1.0] * 3)) == ()
    plateau = {"kind": "plateau", "learning_rate": 0.1, "decay_factor": 0.1, "patience": 1}
    assert decay_epochs(plateau, curve([1.0] * 6)) == (3, 5)
    grow = {"kind": "grow_batch", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epochs": [2]}
    assert decay_epochs(grow, curve([1.0] * 3)) == (2,)


def test_decays_of_a_run_that_diverged_are_those_before() -> None:
    abel = {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1, "last_decay_epoch": None}
    assert decay_epochs(abel, curve([1.0] * 5, norms=[3, 2, 3, 2, math.nan])) == (4,)


def test_the_best_setting_has_the_lowest_mean_minimum_over_seeds() -> None:
    early, late = DECAY | {"decay_epoch": 1}, DECAY | {"decay_epoch": 2}
    trials = [
        trial(0, "decay", early, 0),
        trial(1, "decay", early, 1),
        trial(2, "decay", late, 0),
        trial(3, "decay", late, 1),
    ]
    curves = [[30.0, 9.0, 12.0], [30.0, 21.0, 22.0], [30.0, 12.0, 13.0], [30.0, 14.0, 17.0]]
    results = [trial_result(row, curve(errors), TEST_ERROR) for row, errors in zip(trials, curves, strict=True)]
    (arm,) = summarise(trials, results)
    assert arm.settings == {"decay_epoch": 2}
    assert arm.minimum_error == 13.0
    assert arm.final_error == 15.0
    assert arm.final_sd == pytest.approx(math.sqrt(8))
    assert arm.decays == ((2,), (2,))
    assert (arm.kind, arm.trials, arm.ended, arm.seeds) == ("decay_at", 4, 4, 2)


def test_a_setting_with_a_seed_that_did_not_finish_cannot_be_the_best() -> None:
    early, late = DECAY | {"decay_epoch": 1}, DECAY | {"decay_epoch": 2}
    trials = [
        trial(0, "decay", early, 0),
        trial(1, "decay", early, 1, status=TrialStatus.DIVERGED, epoch=1),
        trial(2, "decay", late, 0),
        trial(3, "decay", late, 1),
    ]
    curves = [[1.0, 1.0, 1.0], [math.nan], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]
    (arm,) = summarise(
        trials, [trial_result(row, curve(errors), TEST_ERROR) for row, errors in zip(trials, curves, strict=True)]
    )
    assert arm.settings == {"decay_epoch": 2}
    assert arm.diverged == 1


def test_an_arm_with_nothing_finished_has_no_figures() -> None:
    rows = [
        trial(0, "constant", {"kind": "constant", "learning_rate": 0.1}, status=TrialStatus.WAITING, epoch=0, head=None)
    ]
    (arm,) = summarise(rows, [trial_result(rows[0], [], TEST_ERROR)])
    assert arm.settings is None
    assert arm.minimum_error is None
    assert arm.final_sd is None
    assert arm.ended == 0
    assert arm.decays == ()


def test_arms_keep_the_order_of_the_spec() -> None:
    rows = [trial(0, "z", DECAY | {"decay_epoch": 1}), trial(1, "a", {"kind": "constant", "learning_rate": 0.1})]
    arms = summarise(rows, [trial_result(row, curve([1.0]), TEST_ERROR) for row in rows])
    assert [arm.arm for arm in arms] == ["z", "a"]
