"""Tests for `sweeps/forecast/batches.py`: the batches that schedules grow to are checked before training."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sweeps.forecast.batches import check_grown, grown_sizes
from sweeps.spec.sweep import parse_document
from sweeps.spec.trial import Trial
from workers.trajectory import Identity

PROGRAM = {
    "task": "classify",
    "model": {"kind": "vgg5", "width": 2},
    "data": {"kind": "digit_pairs", "train": 100, "test": 10},
    "batch_size": 8,
    "micro_batches": 4,
}
IDENTITY = Identity(program=PROGRAM, data="d", examples=100, numerics={"devices": "1"}, code="c")


def trials_of(factor: float, decay_epochs: tuple[int, ...] = (2, 4, 6)) -> list[Trial]:
    grow = {"kind": "grow_batch", "learning_rate": 0.1, "decay_factor": factor, "decay_epochs": list(decay_epochs)}
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}, "grow": {"schedule": grow}}
    return parse_document({"name": "grow", "program": PROGRAM, "epochs": 9, "seeds": [0, 1], "arms": arms}).expand()


def check(trials: Sequence[Trial], identity: Identity = IDENTITY) -> None:
    check_grown(trials, {trial.program: identity for trial in trials})


def test_the_sizes_are_those_of_the_schedule_up_to_all_examples() -> None:
    assert grown_sizes(trials_of(0.25)[-1], 100) == [(2, 32), (4, 100), (6, 100)]


def test_a_growth_that_micro_batches_or_devices_do_not_divide_is_refused() -> None:
    check(trials_of(0.25))
    with pytest.raises(ValueError, match=r"arm 'grow': .* to 18 after epoch 4: micro_batches must divide .* 18, got 4"):
        check(trials_of(2 / 3))
    check(trials_of(2 / 3, (2,)))
    with pytest.raises(ValueError, match=r"to 100 after epoch 4: batch_size = 100 / 4 micro-batches must be divisible"):
        check(trials_of(0.25), replace(IDENTITY, numerics={"devices": "2"}))
