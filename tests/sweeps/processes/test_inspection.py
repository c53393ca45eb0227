"""The process that says what names the states of a program: as a worker of its environment would have it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeps.processes import inspection
from workers.config import Program, to_dict
from workers.trajectory import Identity, identify


def here(program: Program) -> Identity:
    """The identity that this process gives a program."""
    return identify(program, program.task.build(program, lambda data: data.load(None)))


def answered(program: dict[str, Any], **environment: Any) -> Any:
    """The answer of another process."""
    question = json.dumps({"programs": [program], "data_dir": None, "hosts": 1})
    command = [sys.executable, "-m", "sweeps.processes", "sweeps.processes.inspection"]
    done = subprocess.run(
        command, input=question, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_a_driver_can_ask_another_process(tiny_program: Program) -> None:
    (values,) = answered(to_dict(tiny_program))["identities"]
    ours = here(tiny_program)
    assert Identity.from_dict(values).why_not(ours) == []
    assert Identity.from_dict(values).root(3) == ours.root(3)


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"NPROC": "2"}, "threads: 1, 2"),
        ({"JAX_DEFAULT_MATMUL_PRECISION": "highest"}, "matmul_precision: None, highest"),
        ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, "random: threefry2x32, rbg"),
        ({"JAX_THREEFRY_PARTITIONABLE": "0"}, "random: threefry2x32, threefry2x32, not partitionable"),
    ],
)
def test_settings_that_change_bits_change_the_keys(
    tiny_program: Program, environment: dict[str, str], what: str
) -> None:
    ours = here(tiny_program)
    (values,) = answered(to_dict(tiny_program), **environment)["identities"]
    assert ours.why_not(Identity.from_dict(values)) == [what]


def test_a_worker_of_several_hosts_has_the_devices_of_all(tiny_program: Program) -> None:
    def asked(hosts: int) -> dict[str, Any]:
        return inspection.main({"programs": [to_dict(tiny_program)], "data_dir": None, "hosts": hosts})

    (values,) = asked(2)["identities"]
    assert here(tiny_program).over(2).why_not(Identity.from_dict(values)) == []
    rule = "batch_size = 16 must be divisible by the number of devices of a worker, got 32 devices"
    assert rule in asked(32)["fault"]


def test_a_data_set_is_read_once_for_all_programs_over_it(
    tiny_program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, load = [], type(tiny_program.data).load
    monkeypatch.setattr(type(tiny_program.data), "load", lambda self, path: loads.append(self) or load(self, path))
    programs = [to_dict(replace(tiny_program, l2=l2)) for l2 in (0.0, 0.1, 0.2)]
    answer = inspection.main({"programs": programs, "data_dir": None, "hosts": 1})
    assert len(answer["identities"]) == 3
    assert len(loads) == 1


def test_a_fault_is_an_answer(tiny_program: Program) -> None:
    program = to_dict(tiny_program) | {"augment": {"crop": 10}}
    answer = answered(program)
    assert "augment.crop must be below the image's sides (8, 16), got 10" in answer["fault"]
    assert answer["missing"] is False


def test_data_that_are_not_here_are_no_fault_of_the_program(tiny_program: Program) -> None:
    answer = answered(to_dict(tiny_program) | {"data": {"kind": "tfds", "name": "cifar10"}})
    assert answer == {"fault": "cifar10: a data directory must be given (--data-dir)", "missing": True}


def test_a_model_too_large_for_memory_is_refused_before_computing(tiny_program: Program) -> None:
    rule = r"program: must have a training state that fits into the [\d.]+ GiB of memory here, got [\d,]+\.\d GiB of weights"
    assert re.match(
        rule, answered(to_dict(tiny_program) | {"model": {"kind": "wide_resnet", "depth": 40, "width": 1000}})["fault"]
    )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"test_images": np.zeros((0, 8, 8, 1)), "test_labels": np.zeros(0, int)}, "at least one image, got 0 for 0"),
        (
            {"test_labels": np.zeros(3, int)},
            "test images must have one label for each of at least one image, got 3 for",
        ),
        ({"train_labels": lambda labels: labels * 0 + 4}, "training images must be of several classes, all "),
        ({"train_labels": lambda labels: labels - 100}, r"training images must have labels in 0\.\.\d+, got -"),
        ({"test_labels": lambda labels: labels + 100}, r"test images must have labels in 0\.\.\d+, got "),
        ({"test_images": lambda images: images[:, 1:]}, "test images must have the shape of training images, "),
    ],
)
def test_what_a_plug_in_decodes_is_checked(
    tiny_program: Program, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], rule: str
) -> None:
    source = type(tiny_program.data)
    loaded = tiny_program.data.load(None)
    wrong = {name: change(getattr(loaded, name)) if callable(change) else change for name, change in changes.items()}
    monkeypatch.setattr(source, "load", lambda *_: replace(loaded, **wrong))
    answer = inspection.main({"programs": [to_dict(tiny_program)], "data_dir": None, "hosts": 1})
    assert re.search(rule, answer["fault"]) and answer["missing"] is False
