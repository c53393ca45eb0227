"""Canonical dictionaries of programs: equal programs have equal JSON, and later fields leave earlier programs as they were."""

import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import pytest

from workers.config import added, to_dict, variants_of
from workers.data.augment import Augment
from workers.data.digits import DigitPairs, Digits
from workers.models.vgg import Vgg5
from workers.optimizers.optax_rules import Optax
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

PROGRAM = ClassifyProgram(
    task=Classify(),
    model=Vgg5(width=16, pools=(False, True, True, True), init="he_normal"),
    data=DigitPairs(),
    optimizer=Sgd(momentum=0.9, nesterov=True),
    augment=Augment(roll=1, noise=0.2),
    l2=0.01,
    batch_size=16,
    clip=5.0,
)
WRITTEN = {
    "task": {"kind": "classify", "dynamics": False},
    "model": {"kind": "vgg5", "width": 16, "pools": [False, True, True, True], "init": "he_normal"},
    "data": {"kind": "digit_pairs", "train": 1500, "test": 1000, "seed": 0},
    "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    "augment": {"flip": False, "crop": 0, "roll": 1, "noise": 0.2},
    "l2": 0.01,
    "batch_size": 16,
    "clip": 5.0,
}


@dataclass(frozen=True, kw_only=True)
class Net:
    kind: Literal["net"] = "net"
    width: int = 4
    groups: int = added(1)


def test_a_dictionary_holds_every_field_and_its_kind() -> None:
    assert to_dict(PROGRAM) == WRITTEN


def test_a_field_that_was_added_later_is_written_only_where_it_is_used() -> None:
    assert to_dict(replace(PROGRAM, l2_on="kernels", label_smoothing=0.1)) == WRITTEN | {
        "l2_on": "kernels",
        "label_smoothing": 0.1,
    }
    assert to_dict(Net()) == {"kind": "net", "width": 4}
    assert to_dict(Net(groups=2)) == {"kind": "net", "width": 4, "groups": 2}


def test_equal_programs_have_equal_json_however_their_numbers_are_spelt() -> None:
    plain = ClassifyProgram(task=Classify(), model=Vgg5(), data=Digits(), optimizer=Sgd(), batch_size=16, clip=5.0)
    spelt = [replace(plain, l2=l2, clip=clip) for l2, clip in [(0, 5), (-0.0, 5.0), (0.0, 5)]]
    assert len({json.dumps(to_dict(program)) for program in [plain, *spelt]}) == 1


def test_options_are_written_in_one_order() -> None:
    texts = [
        json.dumps(to_dict(Optax(name="rmsprop", options=given)))
        for given in ({"eps": 1.0, "decay": 0.5}, {"decay": 0.5, "eps": 1.0})
    ]
    assert texts[0] == texts[1]


def test_the_parts_of_a_program_are_its_tagged_variants() -> None:
    assert variants_of(PROGRAM) == [PROGRAM.task, PROGRAM.optimizer, PROGRAM.model, PROGRAM.data]
    assert {item.name for item in fields(PROGRAM)} > {"task", "optimizer", "model", "data"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"l2": math.nan}, "l2 must be finite and at least 0, got nan"),
        ({"l2": -1}, "l2 must be finite and at least 0, got -1"),
        ({"l2_on": "some"}, "l2_on must be 'all' or 'kernels', got 'some'"),
        ({"clip": 0}, "clip must be finite and above 0, or null, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\), got 1.0"),
        ({"initial_scale": 0.0}, "initial_scale must be finite and above 0, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PROGRAM, **changed)
