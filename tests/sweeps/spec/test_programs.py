"""Programs as specs word them: every fault at its place, and plug-ins among the variants."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, ClassVar, Literal

import pytest

from sweeps.spec import programs, schedules
from sweeps.spec.programs import program_from_dict
from sweeps.spec.sweep import json_schema
from workers import plugins
from workers.config import Program, to_dict
from workers.tasks.classify import ClassifyProgram

SHORT = {"model": "vgg5", "data": "digits", "batch_size": 16}

MODELS = "mlp, nature_cnn, pyramid_net, resnet50, small_cnn, vgg16, vgg5, wide_resnet"


@dataclass(frozen=True, kw_only=True)
class Mine:
    """A model of a user's package."""

    kind: Literal["mine"] = "mine"
    depth: int

    def __post_init__(self) -> None:
        if self.depth % 2:
            raise ValueError("depth must be even")


class Tree:
    pass


@dataclass(frozen=True, kw_only=True)
class Odd:
    kind: Literal["odd"] = "odd"
    tree: Tree = Tree()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our variants, with `mine` and with one that cannot be imported among the models."""
    ours, load = [each for group in plugins.GROUPS.values() for each in entry_points(group=group)], EntryPoint.load
    added = [EntryPoint(kind, f"{kind}_package:Net", plugins.MODELS) for kind in ("mine", "odd", "broken")]

    monkeypatch.setattr(plugins, "entry_points", lambda: EntryPoints([*ours, *added]))
    monkeypatch.setattr(EntryPoint, "load", lambda self: {"mine": Mine, "odd": Odd}.get(self.name) or load(self))
    programs.forget()
    yield
    monkeypatch.undo()
    programs.forget()


def faults(**changed: Any) -> list[str]:
    built, found = programs.decode_program(SHORT | changed)
    assert (built is None) == bool(found)
    return [f"{path}: {rule}" for path, rule in found.items()]


def test_a_program_is_the_one_that_workers_read() -> None:
    given = SHORT | {"l2": 1, "augment": {"noise": 1}, "model": {"kind": "vgg5", "pools": [True, False, True, False]}}
    built, found = programs.decode_program(given)
    assert found == {}
    assert built == program_from_dict(json.loads(json.dumps(to_dict(built))))
    assert type(built.l2) is type(built.augment.noise) is float


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"model": {"width": 3}}, ["model.kind: is missing"]),
        ({"model": 3}, ["model: must be a mapping with a kind, got 3"]),
        (
            {"model": {"kind": ["vgg5"]}},
            [f'model.kind: must be one of {MODELS}, got ["vgg5"]'],
        ),
        ({"model": {"kind": "vgg5", "pools": [True]}}, ["model.pools: must have four entries, got [true]"]),
        ({"model": {"kind": "vgg5", "pools": [1, True, True, True]}}, ["model.pools[0]: must be true or false, got 1"]),
        (
            {"model": {"kind": "vgg5", "init": "he"}},
            ["model.init: must be one of he_normal_fan_out, he_normal, he_uniform,"],
        ),
        ({"augment": {"flip": "yes"}}, ["augment.flip: must be true or false, got 'yes'"]),
        ({"clip": "5"}, ["clip: must be a number, got '5'"]),
        ({"l2": float("nan")}, ["l2: must be finite and at least 0, got NaN"]),
        (
            {"data": {"kind": "digits", "seed": 2**40}, "batch_size": 2**40},
            ["batch_size: must be at most 2,147,483,647, got"],
        ),
        (
            {"data": {"kind": "tfds", "name": 3, "subset": 0, "shrink": -1}},
            [
                "data.name: must be text, got 3",
                "data.subset: must be at least 1, or null, got 0",
                "data.shrink: must be at",
            ],
        ),
        (
            {"model": "vgg", "l2": -1, "clip": 0, "batchsize": 3},
            [
                f"model.kind: unknown kind, did you mean 'vgg5'? (known: {MODELS})",
                "batchsize: unknown key, did you mean 'batch_size'?",
                "l2: must be finite and at least 0, got -1",
                "clip: must be finite and above 0, or null, got 0",
            ],
        ),
    ],
)
def test_faults(changed: dict[str, Any], expected: list[str]) -> None:
    found = faults(**changed)
    assert len(found) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(found, expected, strict=True)), found


def test_a_plug_in_is_one_of_the_variants(installed: None) -> None:
    built, _ = programs.decode_program(SHORT | {"model": {"kind": "mine", "depth": 2}})
    assert built.model == Mine(depth=2)
    assert faults(model="mine") == ["model.depth: is missing"]
    assert faults(model={"kind": "mine", "depth": 3}) == ["model.depth: must be even, got 3"]
    assert json_schema()["$defs"]["Mine"]["required"] == ["kind", "depth"]


def test_a_broken_plug_in_harms_only_its_own_name(installed: None) -> None:
    assert faults() == []
    (found,) = faults(model="broken")
    assert found.startswith("model.kind: abel.models 'broken' (broken_package:Net) cannot be imported: No module named")
    (found,) = faults(model={"kind": "odd"})
    assert found.startswith("model.kind: abel.models 'odd' has a field that a spec cannot express: Unable to generate")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ([1], {"": "must be a mapping with a kind, got [1]"}),
        ({}, {"kind": "is missing"}),
        (
            {
                "kind": "plateau",
                "learning_rate": 0.1,
                "decay_factor": 3,
                "patience": 1.5,
                "eps": -1,
                "min_learning_rate": 2,
            },
            {
                "decay_factor": "must lie in (0, 1), got 3",
                "patience": "must be an integer >= 0, got 1.5",
                "eps": "must be finite and >= 0, got -1",
                "min_learning_rate": "must be < learning_rate, 0.1, got 2",
            },
        ),
        (
            {"kind": "step", "decay_factor": None, "decay_epochs": [1, "x"]},
            {
                "learning_rate": "is missing",
                "decay_factor": "must lie in (0, 1), got null",
                "decay_epochs[1]": "must be an integer >= 1, got 'x'",
            },
        ),
        ({"kind": "constant", "learning_rate": "\ud800"}, {"": "must be Unicode text"}),
    ],
)
def test_every_fault_of_a_schedule(schedule: Any, expected: dict[str, str]) -> None:
    assert schedules.schedule_shape().decode(schedule) == (None, expected)


@dataclass(frozen=True, kw_only=True)
class Strange:
    """A task whose programs are no programs."""

    program: ClassVar = Odd
    kind: Literal["strange"] = "strange"


@dataclass(frozen=True, kw_only=True)
class UnknownProgram(ClassifyProgram):
    tree: "Nowhere" = None  # noqa: F821


@dataclass(frozen=True, kw_only=True)
class Unknown:
    program: ClassVar = UnknownProgram
    kind: Literal["unknown"] = "unknown"


@dataclass(frozen=True, kw_only=True)
class ListedProgram(Program):
    """Its field has a default that is made anew."""

    parts: tuple[int, ...] = field(default_factory=lambda: (1, 2))


@dataclass(frozen=True, kw_only=True)
class Listed:
    program: ClassVar = ListedProgram
    kind: Literal["listed"] = "listed"


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our tasks, and some of a package with mistakes."""
    ours, load = [each for group in plugins.GROUPS.values() for each in entry_points(group=group)], EntryPoint.load
    theirs = {"strange": Strange, "unknown": Unknown, "listed": Listed}
    added = [EntryPoint(kind, f"package:{kind}", plugins.TASKS) for kind in theirs]

    monkeypatch.setattr(plugins, "entry_points", lambda: EntryPoints([*ours, *added]))
    monkeypatch.setattr(EntryPoint, "load", lambda self: theirs.get(self.name) or load(self))
    programs.forget()
    yield
    monkeypatch.undo()
    programs.forget()


def test_a_task_with_a_mistake_harms_only_its_own_name(tasks: None) -> None:
    assert faults() == []
    (found,) = faults(task="strange")
    assert found.startswith(
        "task.kind: abel.tasks 'strange' has a field that a spec cannot express: its program must be a"
    )
    (found,) = faults(task="unknown")
    assert "name 'Nowhere' is not defined" in found


def test_a_task_that_is_no_kind_hides_no_other_fault() -> None:
    assert faults(task=["classify"], l2=-1) == [
        "l2: must be finite and at least 0, got -1",
        'task: must be a mapping with a kind, got ["classify"]',
    ]


def test_the_task_decides_on_the_fields_beside_it(tasks: None) -> None:
    built, found = programs.decode_program({"task": "listed", "batch_size": 4})
    assert (found, built.parts) == ({}, (1, 2))
    assert isinstance(built, ListedProgram)
    (fault,) = (
        f"{path}: {rule}"
        for path, rule in programs.decode_program(SHORT | {"task": "listed", "data": None})[1].items()
        if path == "model"
    )
    assert fault.startswith("model: unknown key")
    (fault,) = faults(task="classfy")
    assert fault.startswith("task.kind: unknown kind, did you mean 'classify'?")
