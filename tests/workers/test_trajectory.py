import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from abel.schedules import EpochPlan
from workers import trajectory
from workers.config import to_dict
from workers.trajectory import Identity, child, code_digest

IDENTITY = Identity(
    program={"kind": "p"}, data="d" * 64, examples=100, numerics={"jax": "1", "threads": "1"}, code="c" * 64
)
PLAN = EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=8)


def test_a_root_changes_with_every_part_of_the_identity_and_with_the_seed():
    others = [
        replace(IDENTITY, program={"kind": "q"}),
        replace(IDENTITY, data="e" * 64),
        replace(IDENTITY, numerics={"jax": "1", "threads": "2"}),
        replace(IDENTITY, code="d" * 64),
    ]
    roots = {identity.root(0) for identity in [IDENTITY, *others]} | {IDENTITY.root(1), IDENTITY.root(0, "salt")}
    assert len(roots) == len(others) + 3
    assert IDENTITY.root(0) == replace(IDENTITY).root(0)


def test_a_child_changes_with_rates_batch_size_and_parent_alone():
    root = IDENTITY.root(0)
    same = EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=8)
    others = [
        EpochPlan(np.array([0.1, np.nextafter(np.float32(0.2), np.float32(1))], np.float32), batch_size=8),
        EpochPlan(np.array([0.1], np.float32), batch_size=8),
        EpochPlan(np.array([0.1, 0.2], np.float32), batch_size=16),
    ]
    assert child(root, PLAN) == child(root, same)
    assert len({child(root, plan) for plan in [PLAN, *others]} | {child(IDENTITY.root(1), PLAN)}) == 5


def test_why_not_names_what_differs():
    other = replace(IDENTITY, numerics={"jax": "2", "threads": "1"}, code="e" * 64)
    assert IDENTITY.why_not(other) == ["jax: 1, 2", "code: cccccccccccc, eeeeeeeeeeee"]
    assert IDENTITY.why_not(IDENTITY) == []


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package of a user's own with a model that imports a helper inside a function."""
    package = tmp_path / "gym"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def scale():\n    return 2\n")
    net = package / "net.py"
    net.write_text(
        '"""A net."""\nfrom dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Net:\n'
        '    """Doc."""\n    kind: str = "net"\n\n    def build(self):\n        from gym import helper\n'
        "        return helper.scale()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "gym"]:
        del sys.modules[name]
    trajectory._module.cache_clear()


def digest_with(program, package):
    trajectory._module.cache_clear()
    import gym.net

    return code_digest(replace(program, model=gym.net.Net()))


def test_code_is_what_the_variants_import_without_docstrings_and_comments(plugin, tiny_program):
    before = digest_with(tiny_program, plugin)
    net = plugin / "net.py"
    net.write_text(net.read_text().replace("A net.", "Another text.") + "# a comment\n")
    assert digest_with(tiny_program, plugin) == before
    (plugin / "helper.py").write_text("def scale():\n    return 3\n")
    assert digest_with(tiny_program, plugin) != before


def test_what_tasks_compute_with_is_part_of_the_code_and_schedules_are_not(tiny_program, monkeypatch):
    read, parse = [], trajectory._module
    monkeypatch.setattr(trajectory, "_module", lambda name: read.append(name) or parse(name))
    code_digest(tiny_program)
    assert {"workers.tasks.classify", "workers.randomness", "workers.ops"} <= set(read)
    assert "workers.cohort" not in read
    assert {name for name in read if name.startswith("abel")} == trajectory.COMPUTES
    taken = {
        other for name in read if name.startswith("workers") for other in parse(name)[1] if other.startswith("abel.")
    }
    assert taken == trajectory.COMPUTES


def answered(program, **environment):
    """The answer of another process."""
    question = json.dumps({"programs": [program], "data_dir": None})
    command = [sys.executable, "-m", "workers.trajectory"]
    done = subprocess.run(
        command, input=question, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_a_driver_can_ask_another_process(tiny_program):
    (values,) = answered(to_dict(tiny_program))["identities"]
    ours = trajectory.identify(tiny_program, tiny_program.data.load(None))
    assert Identity(**values).why_not(ours) == []
    assert Identity(**values).root(3) == ours.root(3)


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"NPROC": "2"}, "threads: 1, 2"),
        ({"JAX_DEFAULT_MATMUL_PRECISION": "highest"}, "matmul_precision: None, highest"),
        ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, "random: threefry2x32, rbg"),
        ({"JAX_THREEFRY_PARTITIONABLE": "0"}, "random: threefry2x32, threefry2x32, not partitionable"),
    ],
)
def test_settings_that_change_bits_change_the_keys(tiny_program, environment, what):
    ours = trajectory.identify(tiny_program, tiny_program.data.load(None))
    (values,) = answered(to_dict(tiny_program), **environment)["identities"]
    assert ours.why_not(Identity(**values)) == [what]


def test_a_data_set_is_read_once_for_all_programs_over_it(tiny_program, monkeypatch):
    loads, load = [], type(tiny_program.data).load
    monkeypatch.setattr(type(tiny_program.data), "load", lambda self, path: loads.append(self) or load(self, path))
    programs = [to_dict(replace(tiny_program, l2=l2)) for l2 in (0.0, 0.1, 0.2)]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"programs": programs, "data_dir": None})))
    answer = io.StringIO()
    trajectory.main(answer)
    assert len(json.loads(answer.getvalue())["identities"]) == 3
    assert len(loads) == 1


def test_a_fault_is_an_answer(tiny_program):
    program = to_dict(tiny_program) | {"augment": {"crop": 10}}
    assert "augment.crop must be below the image's sides (8, 16), got 10" in answered(program)["fault"]
