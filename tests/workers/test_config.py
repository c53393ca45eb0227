"""Programs to canonical dictionaries and back; every fault is named."""

import json
import math

import pytest

from workers.config import Augment, ConfigError, Program, from_dict, to_dict
from workers.data.digits import DigitPairs, Digits
from workers.data.tfds import Tfds
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.optimizers import Sgd
from workers.tasks.classify import Classify

PROGRAM = Program(
    task=Classify(),
    model=Vgg5(width=16, pools=(False, True, True, True), init="he_normal"),
    data=DigitPairs(),
    optimizer=Sgd(momentum=0.9, nesterov=True),
    augment=Augment(roll=1, noise=0.2),
    l2=0.01,
    batch_size=16,
    clip=5.0,
)
SHORT = {"task": "classify", "model": "vgg5", "data": "digits", "optimizer": "sgd", "batch_size": 16}


def faults(values):
    with pytest.raises(ConfigError) as error:
        from_dict(values)
    return error.value.faults


@pytest.mark.parametrize(
    "program",
    [
        PROGRAM,
        Program(task=Classify(), model=SmallCnn(), data=Digits(), optimizer=Sgd(), batch_size=8),
        Program(task=Classify(), model=SmallCnn(), data=Tfds(subset=5000), optimizer=Sgd(), batch_size=8),
    ],
)
def test_dictionaries_round_trip_through_json(program):
    values = to_dict(program)
    assert from_dict(json.loads(json.dumps(values))) == program
    assert to_dict(from_dict(values)) == values


def test_dictionary_holds_every_field_and_its_kind():
    assert to_dict(PROGRAM) == {
        "task": {"kind": "classify", "dynamics": False},
        "model": {"kind": "vgg5", "width": 16, "pools": [False, True, True, True], "init": "he_normal"},
        "data": {"kind": "digit_pairs", "train": 1500, "test": 1000, "seed": 0},
        "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
        "augment": {"flip": False, "crop": 0, "roll": 1, "noise": 0.2},
        "l2": 0.01,
        "batch_size": 16,
        "clip": 5.0,
    }


def test_kinds_alone_mean_the_defaults():
    assert from_dict(SHORT) == Program(task=Classify(), model=Vgg5(), data=Digits(), optimizer=Sgd(), batch_size=16)


def test_equal_programs_have_equal_json_however_their_numbers_are_spelt():
    spelt = [from_dict(SHORT | {"l2": l2, "clip": 5, "batch_size": size}) for l2, size in [(0, 16), (-0.0, 16.0)]]
    texts = {json.dumps(to_dict(program)) for program in spelt}
    built = Program(task=Classify(), model=Vgg5(), data=Digits(), optimizer=Sgd(), batch_size=16, l2=0, clip=5)
    assert texts == {json.dumps(to_dict(built))}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"l3": 1}, "l3: unknown key (known: task, model, data, optimizer, augment, l2, batch_size, clip)"),
        ({"model": {"kind": "vgg5", "widht": 3}}, "model.widht: unknown key (known: kind, width, pools, init)"),
        (
            {"model": "vgg6"},
            "model.kind: 'vgg6' is not one of abel.models (known: pyramid_net, resnet50, small_cnn, vgg16, vgg5, wide_resnet)",
        ),
        ({"model": {"width": 3}}, "model: must be a mapping with a kind, got {'width': 3}"),
        ({"model": 3}, "model: must be a mapping with a kind, got 3"),
        ({"model": {"kind": "vgg5", "width": 2.5}}, "model.width: must be a whole number, got 2.5"),
        ({"model": {"kind": "vgg5", "width": True}}, "model.width: must be a whole number, got True"),
        ({"model": {"kind": "vgg5", "width": 0}}, "model: width must be at least 1, got 0"),
        ({"model": {"kind": "vgg5", "pools": [True]}}, "model.pools: must be a list of 4, got [True]"),
        ({"model": {"kind": "vgg5", "pools": "all"}}, "model.pools: must be a list of 4, got 'all'"),
        (
            {"model": {"kind": "vgg5", "pools": [1, 0, 0, 0]}},
            "model.pools: must be true or false, got [1, 0, 0, 0]",
        ),
        (
            {"model": {"kind": "vgg5", "init": "zeros"}},
            "model.init: must be one of 'lecun_normal', 'he_normal', got 'zeros'",
        ),
        ({"augment": {"flip": "yes"}}, "augment.flip: must be true or false, got 'yes'"),
        ({"augment": []}, "augment: must be a mapping, got []"),
        ({"augment": {"noise": math.nan}}, "augment: noise must be finite and at least 0, got nan"),
        ({"data": {"kind": "tfds", "name": 3}}, "data.name: must be text, got 3"),
        ({"data": {"kind": "tfds", "subset": 0}}, "data: subset must be at least 1, or null, got 0"),
        ({"optimizer": {"kind": "sgd", "momentum": 1}}, "optimizer: momentum must lie in [0, 1), got 1.0"),
        ({"l2": "1e-3"}, "l2: must be a number, got '1e-3'"),
        ({"l2": math.nan}, "l2 must be finite and at least 0, got nan"),
        ({"l2": -1}, "l2 must be finite and at least 0, got -1.0"),
        ({"clip": 0}, "clip must be finite and above 0, or null, got 0.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_each_fault_is_named_with_its_path_and_value(changed, expected):
    assert faults(SHORT | changed) == [expected]


def test_every_fault_is_listed_at_once():
    found = faults({"model": {"kind": "vgg5", "width": "wide"}, "data": "digitz", "optimizer": "sgd", "l2": None})
    assert found == [
        "task: is missing",
        "model.width: must be a whole number, got 'wide'",
        "data.kind: 'digitz' is not one of abel.data (known: digit_pairs, digits, tfds)",
        "l2: must be a number, got None",
        "batch_size: is missing",
    ]


def test_something_else_than_a_mapping_is_refused():
    assert faults([1]) == ["program: must be a mapping, got [1]"]
