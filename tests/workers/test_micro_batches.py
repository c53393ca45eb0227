"""Gradients of a batch as means over its parts: the training of the whole batch, to rounding."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from epochs import SMALL, build, epoch

from workers.config import to_dict
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.models.wide_resnet import WideResnet
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lightly_optimised")]

PROGRAM = ClassifyProgram(
    task=Classify(),
    model=Vgg5(width=2),
    data=SMALL,
    optimizer=Sgd(momentum=0.9),
    l2=0.01,
    batch_size=16,
    clip=5.0,
)
NORMED = replace(PROGRAM, model=WideResnet(depth=10, width=1, norm_examples=4))


@pytest.mark.parametrize(("program", "parts"), [(PROGRAM, 8), (NORMED, 2)], ids=["vgg5", "wide_resnet"])
def test_an_epoch_in_parts_is_that_of_whole_batches(program: ClassifyProgram, parts: int) -> None:
    _, state, sums = epoch(program)
    _, in_parts, sums_of_parts = epoch(replace(program, micro_batches=parts))
    np.testing.assert_array_equal(sums_of_parts.errors, sums.errors)
    for name in ("loss", "grad_norm_sq"):
        np.testing.assert_allclose(getattr(sums_of_parts, name), getattr(sums, name), rtol=2e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-2, atol=2e-3), state, in_parts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"micro_batches": 3}, "micro_batches must divide batch_size = 16, got 3"),
        (
            {"micro_batches": 8, "model": NORMED.model},
            "model.norm_examples must divide batch_size = 16 / 8 micro-batches, got 4",
        ),
        (
            {"micro_batches": 4, "model": WideResnet(depth=10, width=1)},
            "model.norm_examples must be set where micro_batches is above 1, and divide 4 images, got null; "
            "for example, write norm_examples: 4",
        ),
        (
            {"micro_batches": 4, "model": SmallCnn(width=2)},
            "micro_batches must be 1 where model 'small_cnn' has statistics of whole batches, got 4",
        ),
    ],
)
def test_parts_that_do_not_divide_a_batch_are_refused_before_training(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(replace(PROGRAM, **changed))


def test_a_batch_that_a_schedule_grows_must_divide_too() -> None:
    program = replace(NORMED, micro_batches=2)
    program.check_batch(24, 3)
    for size, devices, message in (
        (25, 1, "micro_batches must divide batch_size = 25, got 2"),
        (20, 1, "model.norm_examples must divide batch_size = 20 / 2 micro-batches, got 4"),
        (24, 8, "batch_size = 24 / 2 micro-batches must be divisible by the number of devices of a worker, got 8"),
    ):
        with pytest.raises(ValueError, match=message):
            program.check_batch(size, devices)


def test_the_default_is_left_out_of_a_program() -> None:
    assert "micro_batches" not in to_dict(PROGRAM)
    assert to_dict(replace(PROGRAM, micro_batches=2)) == to_dict(PROGRAM) | {"micro_batches": 2}
    with pytest.raises(ValueError, match="micro_batches must be at least 1, got 0"):
        replace(PROGRAM, micro_batches=0)
