import math
from typing import Any

import numpy as np
import pytest

from abel import rates


@pytest.mark.parametrize(
    ("epoch", "whole"),
    [(77.0, 77), (76.5, 77), (0.85 * 90, 77), (0.85 * 200, 170), (0.55 * 100, 55), (0.85, 1), (1e-12, 1), (3.001, 4)],
)
def test_fractional_epochs_round_up(epoch: float, whole: int) -> None:
    assert rates.rounded_up(epoch) == whole


@pytest.mark.parametrize("fraction", [hundredths / 100 for hundredths in range(1, 101)])
def test_a_share_of_100_epochs_is_the_epoch_it_names(fraction: Any) -> None:
    assert rates.rounded_up(fraction * 100) == round(fraction * 100)


def test_steps_are_whole_batches() -> None:
    assert rates.steps_per_epoch(examples=50_000, batch_size=128) == 390


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "a", None])
def test_a_batch_is_a_number_of_examples(batch_size: int | float | bool | str | None) -> None:
    with pytest.raises(ValueError, match=f"^batch_size must be an integer >= 1, got {batch_size!r}$"):
        rates.steps_per_epoch(examples=10, batch_size=batch_size)


def test_an_epoch_has_a_step() -> None:
    with pytest.raises(ValueError, match="^batch_size must be at most the 10 examples of an epoch, got 11$"):
        rates.steps_per_epoch(examples=10, batch_size=11)
    with pytest.raises(ValueError, match="^examples must be an integer >= 1, got 0$"):
        rates.steps_per_epoch(examples=0, batch_size=1)


def test_warmup_is_linear_then_exactly_one() -> None:
    shape = np.concatenate([rates.warmup(rates.positions(epoch, steps=7), warmup_epochs=3) for epoch in range(1, 6)])
    np.testing.assert_allclose(shape[:21], np.arange(21) / 21, rtol=1e-15)
    assert np.all(shape[21:] == 1.0)
    assert np.all(rates.warmup(rates.positions(1, steps=7), warmup_epochs=0) == 1.0)


def test_cosine_stays_at_zero_after_the_end() -> None:
    assert np.all(rates.cosine(rates.positions(11, steps=4), start=0, end=10) == 0.0)
    assert rates.cosine(np.array([2.0]), start=4, end=10) == [1.0]
    assert rates.cosine(np.array([7.0]), start=4, end=10) == pytest.approx(0.5)


def test_linear_stays_at_zero_after_the_end_and_at_one_before_the_start() -> None:
    assert np.all(rates.linear(rates.positions(11, steps=4), start=0, end=10) == 0.0)
    assert rates.linear(np.array([2.0, 4.0, 7.0]), start=4, end=10).tolist() == [1.0, 1.0, 0.5]


def test_plan_is_rounded_once_and_read_only() -> None:
    plan = rates.epoch_plan(0.1 * 0.2**3, np.array([1.0, math.pi / 4]), batch_size=16)
    assert plan.learning_rates.dtype == np.float32
    assert plan.learning_rates.tolist() == [
        float(np.float32(0.1 * 0.2**3)),
        float(np.float32(0.1 * 0.2**3 * math.pi / 4)),
    ]
    with pytest.raises(ValueError, match="read-only"):
        plan.learning_rates[0] = 1.0
