import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abel.schedules import Abel, Cosine, DecayAt, Linear, Simple, WarmupStableDecay
from sweeps import catalog
from sweeps.spec.sweep import SpecError, load_spec, parse_document, parse_spec

GOOD = """
name: good
program:
  task: {kind: classify}
  model: {kind: vgg5, width: 16}
  data: {kind: digit_pairs}
  optimizer: {kind: sgd}
  l2: 1e-2
  batch_size: 16
epochs: 40
seeds: [0, 1]
arms:
  constant:
    schedule: {kind: constant, learning_rate: 1e-1}
  decay-at:
    schedule: {kind: decay_at, learning_rate: 0.1, decay_factor: 0.1}
    grid:
      schedule.decay_epoch: [4, 10]
"""


def document(**parts: Any) -> dict[str, Any]:
    return {**parse_spec(GOOD).to_dict(), **parts}


def arm(schedule: dict[str, Any], **grid: Any) -> dict[str, Any]:
    arm = {"schedule": {"learning_rate": 0.1, **schedule}}
    return {"a": {**arm, "grid": {key.replace("__", "."): value for key, value in grid.items()}} if grid else arm}


DECAY_AT = {"kind": "decay_at", "decay_factor": 0.1}


def faults(spec: dict[str, Any] | str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        parse_spec(spec) if isinstance(spec, str) else parse_document(spec)
    return raised.value.faults


def fault(**parts: Any) -> str:
    """The one fault of a spec with these parts."""
    (found,) = faults(document(**parts))
    return found


def test_trials_in_the_spec_s_order() -> None:
    trials = parse_spec(GOOD).expand()
    assert [trial.name for trial in trials] == [
        "constant seed=0",
        "constant seed=1",
        "decay-at decay_epoch=4 seed=0",
        "decay-at decay_epoch=4 seed=1",
        "decay-at decay_epoch=10 seed=0",
        "decay-at decay_epoch=10 seed=1",
    ]
    assert [trial.number for trial in trials] == list(range(6))
    last = trials[-1]
    assert (last.arm, last.seed, last.epochs, last.settings) == ("decay-at", 1, 40, {"schedule.decay_epoch": 10})
    assert last.schedule == DecayAt(learning_rate=0.1, decay_factor=0.1, decay_epoch=10)
    assert last.program is trials[0].program
    assert last.program.l2 == 0.01
    assert parse_spec(GOOD).count() == 6


def test_a_grid_over_program_and_schedule() -> None:
    arms = arm(DECAY_AT, schedule__decay_epoch=[4, 10], program__model__width=[8, 16], program__augment__noise=[0, 0.2])
    trials = parse_document(document(arms=arms, seeds=[7])).expand()
    assert [trial.name for trial in trials][:3] == [
        "a decay_epoch=4 width=8 noise=0 seed=7",
        "a decay_epoch=4 width=8 noise=0.2 seed=7",
        "a decay_epoch=4 width=16 noise=0 seed=7",
    ]
    assert [trial.program.model.width for trial in trials] == [8, 8, 16, 16] * 2
    assert trials[1].settings == {"schedule.decay_epoch": 4, "program.model.width": 8, "program.augment.noise": 0.2}
    assert len({trial.id for trial in trials}) == 8


def test_axes_that_could_be_mistaken_are_shown_in_full() -> None:
    arms = arm({"kind": "constant"}, program__data__seed=[0, 1], program__model__width=[8])
    names = [trial.name for trial in parse_document(document(arms=arms, seeds=[0])).expand()]
    assert names == ["a program.data.seed=0 width=8 seed=0", "a program.data.seed=1 width=8 seed=0"]


def test_a_grid_over_lists() -> None:
    arms = arm({"kind": "step", "decay_factor": 0.2}, schedule__decay_epochs=[[10, 20], [30]])
    trials = parse_document(document(arms=arms, seeds=[0])).expand()
    assert [trial.schedule.decay_epochs for trial in trials] == [(10, 20), (30,)]
    assert [trial.name for trial in trials] == ["a decay_epochs=10,20 seed=0", "a decay_epochs=30 seed=0"]


@pytest.mark.parametrize(("epochs", "last"), [(40, 34.0), (90, 76.5), (180, 153.0), (1, 1.0)])
def test_what_schedules_take_from_the_sweep(epochs: int, last: float) -> None:
    factor = {"learning_rate": 0.1, "decay_factor": 0.1}
    arms = {kind: {"schedule": {"kind": kind} | factor} for kind in ("abel", "simple")}
    arms |= {kind: {"schedule": {"kind": kind, "learning_rate": 0.1}} for kind in ("cosine", "linear", "wsd")}
    abel, simple, cosine, linear, wsd = parse_document(document(arms=arms, epochs=epochs, seeds=[0])).expand()
    assert abel.schedule == Abel(**factor, last_decay_epoch=last)
    assert simple.schedule == Simple(**factor, last_decay_epoch=last)
    assert cosine.schedule == Cosine(learning_rate=0.1, epochs=epochs)
    assert linear.schedule == Linear(learning_rate=0.1, epochs=epochs)
    cooldown = {40: 8, 90: 18, 180: 36, 1: 1}[epochs]
    assert wsd.schedule == WarmupStableDecay(learning_rate=0.1, epochs=epochs, cooldown_epochs=cooldown)


def test_a_threshold_of_gain_stands_for_the_last_decay() -> None:
    arms = arm({"kind": "abel", "decay_factor": 0.1}, schedule__gain_threshold=[None, 0.05])
    at_85_percent, by_gain = parse_document(document(arms=arms, seeds=[0])).expand()
    assert (at_85_percent.schedule.last_decay_epoch, at_85_percent.schedule.gain_threshold) == (34.0, None)
    assert (by_gain.schedule.last_decay_epoch, by_gain.schedule.gain_threshold) == (None, 0.05)


def test_a_threshold_of_gain_is_not_for_every_schedule() -> None:
    (found,) = faults(document(arms=arm({"kind": "simple", "decay_factor": 0.1, "gain_threshold": 0.1})))
    assert found.startswith("arms.a.schedule.gain_threshold: unknown key")


def test_an_arm_may_have_its_own_length() -> None:
    long = {"schedule": {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1}, "epochs": 300}
    spec = parse_document(document(arms={**document()["arms"], "long": long}))
    trials = spec.expand()
    assert {trial.epochs for trial in trials if trial.arm == "long"} == {300}
    assert {trial.epochs for trial in trials if trial.arm != "long"} == {40}
    assert {trial.schedule.last_decay_epoch for trial in trials if trial.arm == "long"} == {255}
    assert parse_document(spec.to_dict()).expand() == trials


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (0, "arms.a.epochs: must be at least 1, got 0"),
        (1.5, "arms.a.epochs: must be an integer, got 1.5"),
        (True, "arms.a.epochs: must be an integer, got true"),
        (9, "arms.a.schedule.decay_epoch: must be less than epochs = 9, as a decay acts after its epoch, got 10"),
    ],
)
def test_a_faulty_length_of_an_arm(epochs: int | float | bool, expected: str) -> None:
    assert fault(arms={"a": {**arm({**DECAY_AT, "decay_epoch": 10})["a"], "epochs": epochs}}) == expected


def test_an_arm_may_replace_fields_of_the_program() -> None:
    constant = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
    own = {"program": {"model": {"kind": "small_cnn"}, "l2": 0}, "row": "CNN", "reported": 7.1}
    spec = parse_document(document(arms={"a": constant, "b": constant | own | {"grid": {"program.l2": [0, 0.5]}}}))
    trials = {(trial.arm, trial.program.l2): trial.program for trial in spec.expand()}
    assert {key: program.model.kind for key, program in trials.items()} == {
        ("a", 0.01): "vgg5",
        ("b", 0): "small_cnn",
        ("b", 0.5): "small_cnn",
    }
    assert {program.batch_size for program in trials.values()} == {16}
    assert (spec.arms["b"].row, spec.arms["b"].reported) == ("CNN", 7.1)


def test_a_program_may_be_left_to_the_arms() -> None:
    base = {key: value for key, value in document()["program"].items() if key != "model"}
    own = {"schedule": {"kind": "constant", "learning_rate": 0.1}, "program": {"model": "small_cnn"}}
    assert parse_document(document(program=base, arms={"a": own})).count() == 2
    bare = {"schedule": own["schedule"]}
    assert fault(program=base, arms={"a": own, "b": bare}) == "program.model: is missing"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"l2": -1}, "arms.a.program.l2: must be finite and at least 0, got -1"),
        ({"model": {"kind": "vgg5", "widht": 8}}, "arms.a.program.model.widht: unknown key"),
        ({"l3": 1}, "arms.a.program.l3: unknown key"),
        ({"model.width": 8}, "arms.a.program.model.width: unknown key, did you mean 'model'?"),
        ({"0.\n": None}, "arms.a.program.0.\\n: unknown key"),
        ([], "arms.a.program: must be a mapping, got []"),
    ],
)
def test_a_fault_of_an_arm_s_program_is_told_at_the_arm(own: Any, expected: str) -> None:
    arms = {"a": {"schedule": {"kind": "constant", "learning_rate": 0.1}, "program": own}}
    assert fault(arms=arms).startswith(expected)


def test_the_limit_counts_each_arm_by_its_own_length() -> None:
    long = {"schedule": {"kind": "constant", "learning_rate": 0.1}, "epochs": 300}
    found = fault(arms={**document()["arms"], "long": long}, limits={"epochs": 839})
    assert found == "arms: must take at most limits.epochs = 839 epochs in total, got 840"


def test_null_is_no_last_decay() -> None:
    arms = arm({"kind": "abel", "decay_factor": 0.1}, schedule__last_decay_epoch=[None, 20])
    never, at_20 = parse_document(document(arms=arms, seeds=[0])).expand()
    assert (never.schedule.last_decay_epoch, at_20.schedule.last_decay_epoch) == (None, 20.0)
    assert never.settings == {"schedule.last_decay_epoch": None}


def test_every_fault_is_told_with_its_path() -> None:
    text = (
        GOOD.replace("name: good", "name: good/\ntitel: x\nname: again")
        .replace("kind: vgg5", "kind: vgg6")
        .replace("kind: sgd", "kind: sgd, momentum: 1")
        .replace("l2: 1e-2", "l2: -1e-2")
        .replace("batch_size: 16", "batch_size: true")
        .replace("seeds: [0, 1]", "seeds: [0, -1]")
        .replace("kind: constant, learning_rate: 1e-1", "kind: constnat, learning_rate: 1e-1")
        .replace("learning_rate: 0.1, decay_factor: 0.1", "learning_rate: -.inf, decay_factor: 1.5, decay_epohc: 3")
        .replace("[4, 10]", "[75, 40, 0, 39.5]")
    )
    found = faults(text)
    assert sum("(known: " in fault for fault in found) == 4
    assert [fault.partition(" (known: ")[0] for fault in found] == [
        "name: duplicate key in line 4",
        "name: must be 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit, got 'good/'",
        "seeds[1]: must be at least 0, got -1",
        "titel: unknown key, did you mean 'title'?",
        "program.batch_size: must be an integer, got true",
        "program.model.kind: unknown kind, did you mean 'vgg16'?",
        "program.l2: must be finite and at least 0, got -0.01",
        "program.optimizer.momentum: must lie in [0, 1), got 1",
        "arms.constant.schedule.kind: unknown kind, did you mean 'constant'?",
        "arms.decay-at.schedule.decay_epohc: unknown key, did you mean 'decay_epoch'?",
        "arms.decay-at.schedule.learning_rate: must be finite and > 0, got -Infinity",
        "arms.decay-at.schedule.decay_factor: must lie in (0, 1), got 1.5",
        "arms.decay-at.grid.schedule.decay_epoch: must be an integer >= 1, got 0",
        "arms.decay-at.grid.schedule.decay_epoch: must be an integer >= 1, got 39.5",
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"epochs": 0}, "epochs: must be at least 1, got 0"),
        ({"epochs": 10**6 + 1}, "epochs: must be at most 1000000, got 1000001"),
        ({"epochs": 40.5}, "epochs: must be an integer, got 40.5"),
        ({"epochs": True}, "epochs: must be an integer, got true"),
        ({"epochs": "40"}, "epochs: must be an integer, got '40'"),
        ({"epoch_seconds": 0}, "epoch_seconds: must be above 0, got 0"),
        ({"seeds": []}, "seeds: must not be empty, got []"),
        ({"seeds": [0, 1, 0]}, "seeds: must differ from each other, got [0, 1, 0]"),
        ({"seeds": [True]}, "seeds[0]: must be an integer, got true"),
        ({"seeds": [2**32]}, "seeds[0]: must be at most 4294967295, got 4294967296"),
        ({"seeds": 3}, "seeds: must be a list, got 3"),
        ({"arms": {}}, "arms: must not be empty, got {}"),
        ({"arms": []}, "arms: must be a mapping, got []"),
        ({"arms": {"a": {"schedule": {"kind": "constant"}}}}, "arms.a.schedule.learning_rate: is missing"),
        ({"resources": {"cpu": 0}}, "resources.cpu: must be above 0, got 0"),
        ({"resources": {"gpu": -1}}, "resources.gpu: must be at least 0, got -1"),
        ({"figure": "decay"}, "figure: must be 'decay_time', 'norm_curves', 'norm_equation', "),
        ({"resources": {"gpu": 10**6}}, "resources.gpu: must be at most 1024, got 1000000"),
        ({"resources": {"cpu": float("nan")}}, "resources.cpu: must be finite, got NaN"),
        (
            {"resources": {"cpus": 1}},
            "resources.cpus: unknown key, did you mean 'cpu'? (known: cpu, gpu, tpu, hosts, custom, accelerator)",
        ),
        (
            {"resources": {"gpu": 1.5}},
            "resources.gpu: must be a whole number above 1, as only a single GPU can be divided",
        ),
        (
            {"resources": {"tpu": 3}},
            "resources.tpu: must be 1, 2, 4 or 8 chips, which Ray can give a worker, or 0 for none, got 3",
        ),
        ({"resources": {"tpu": 0.5}}, "resources.tpu: must be 1, 2, 4 or 8 chips"),
        ({"resources": {"hosts": 0}}, "resources.hosts: must be at least 1, got 0"),
        (
            {"resources": {"tpu": 4, "hosts": 2}},
            "resources.hosts: must be 1 with tpu, as a worker on TPU chips has those of one host, got 2",
        ),
        ({"resources": {"custom": {"slot": 0}}}, "resources.custom.slot: must be above 0, got 0"),
        (
            {"resources": {"custom": {"GPU": 1}}},
            "resources.custom.GPU: must not be a resource that Ray has by itself, got 'GPU'",
        ),
        (
            {"resources": {"accelerator": "A 100"}},
            "resources.accelerator: must be a Ray label, 1 to 63 of A-Z a-z 0-9 . _ -, the first and last a letter or "
            "digit, got 'A 100'",
        ),
        ({"limits": {"trials": 10**9}}, "limits.trials: must be at most 100000, got 1000000000"),
        ({"title": "a\u202eb"}, "title: must not contain the character U+202E, got 'a\\u202eb'"),
        ({"title": "a\nb"}, "title: must be one line, got 'a\\nb'"),
        ({"title": "x" * 201}, "title: must have at most 200 characters, got "),
        ({"claim": "\x00"}, "claim: must not contain the character U+0000, got '\\x00'"),
        ({"name": "x" * 129}, "name: must be 1 to 128 of"),
        ({"name": "../../x"}, "name: must be 1 to 128 of"),
        ({"name": "caf\u00e9"}, "name: must be 1 to 128 of"),
        ({"check": {"margins": {"width": 1}}}, "check.margins.width: must be a measure, or ARM.measure: one of mean, "),
        ({"check": {"margins": {"mean": 0}}}, "check.margins.mean: must be above 0, got 0"),
        (
            {"check": {"margins": {"near": 1}}},
            "check.margins: must have an amount below 1 for near, which is a fraction, got",
        ),
        ({"check": {"rules": ["mean < 1"]}}, 'check.rules[0]: must look like "spread <= 1.5"'),
        (
            {"check": {"rules": ["diverged <= 20"]}},
            "check.rules[0]: must bound diverged between 0 and 1, as it is a fraction",
        ),
        ({"check": {"error": "last"}}, "check.error: must be 'minimum', 'final' or 'selected', got 'last'"),
        ({"check": {"margins": {"z.mean": 1}}}, "check.margins.z.mean: unknown arm"),
        ({"check": {"rules": ["mean <= 1", "z.mean <= 1"]}}, "check.rules[1]: unknown arm"),
        ({"check": {"margin": {}}}, "check.margin: unknown key, did you mean 'margins'?"),
        ({"claims": {"tested": ["tune"]}}, "claims.tested[0]: must be 'tuned', 'cosine', "),
        ({"claims": {"tested": []}}, "claims.tested: must not be empty, got []"),
        ({"claims": {"tested": ["rate", "rate"]}}, "claims.tested: must differ from each other, got "),
        ({"claims": {"tested": ["rate"], "margin": 0}}, "claims.margin: must be above 0, got 0"),
        ({"claims": {"test": ["rate"]}}, "claims.test: unknown key, did you mean 'tested'?"),
        ({"program": None}, "program: must be a mapping, got null"),
        ({"program": []}, "program: must be a mapping, got []"),
    ],
)
def test_one_fault(parts: dict[str, Any], expected: str) -> None:
    assert any(found.startswith(expected) for found in faults(document(**parts)))


@pytest.mark.parametrize(
    ("schedule", "grid", "expected"),
    [
        (
            DECAY_AT | {"learning_rate": float("nan"), "decay_epoch": 3},
            {},
            "arms.a.schedule.learning_rate: must be finite",
        ),
        (
            DECAY_AT | {"learning_rate": True, "decay_epoch": 3},
            {},
            "arms.a.schedule.learning_rate: must be finite and > 0",
        ),
        (DECAY_AT | {"learning_rate": "1e-3", "decay_epoch": 3}, {}, "arms.a.schedule.learning_rate: must be finite"),
        (
            DECAY_AT | {"decay_factor": 1.0, "decay_epoch": 3},
            {},
            "arms.a.schedule.decay_factor: must lie in (0, 1), got 1.0",
        ),
        (DECAY_AT, {}, "arms.a.schedule.decay_epoch: is missing"),
        (
            DECAY_AT,
            {"schedule__decay_epoch": [4, 75]},
            "arms.a.grid.schedule.decay_epoch: must be less than epochs = 40, as a decay acts after its epoch, got 75",
        ),
        (DECAY_AT | {"decay_epoch": 40}, {}, "arms.a.schedule.decay_epoch: must be less than epochs = 40"),
        (
            {"kind": "step", "decay_factor": 0.1, "decay_epochs": [10, 60]},
            {},
            "arms.a.schedule.decay_epochs: must be less than epochs = 40, as a decay acts after its epoch, got [10, ",
        ),
        (
            {"kind": "step", "decay_factor": 0.1, "decay_epochs": [10, 0]},
            {},
            "arms.a.schedule.decay_epochs[1]: must be an integer >= 1, got 0",
        ),
        (
            {"kind": "abel", "decay_factor": 0.1, "last_decay_epoch": 39.5},
            {},
            "arms.a.schedule.last_decay_epoch: must be less than epochs = 40",
        ),
        (
            {"kind": "simple", "decay_factor": 0.1},
            {"schedule__last_decay_epoch": [20, None]},
            "arms.a.grid.schedule.last_decay_epoch: must be finite and >= 1, got null",
        ),
        ({"kind": "cosine", "epochs": 41}, {}, "arms.a.schedule.epochs: must be at most epochs = 40, got 41"),
        ({"kind": "cosine", "warmup_epochs": 40}, {}, "arms.a.schedule.warmup_epochs: must be < epochs, 40, got 40"),
        ({"kind": "linear", "epochs": 41}, {}, "arms.a.schedule.epochs: must be at most epochs = 40, got 41"),
        (
            {"kind": "wsd", "warmup_epochs": 30},
            {"schedule__cooldown_epochs": [10, 11]},
            "arms.a.grid.schedule.cooldown_epochs: must be <= epochs - warmup_epochs, 10, got 11",
        ),
        (
            {"kind": "grow_batch", "decay_factor": 0.2, "decay_epochs": [10, 40]},
            {},
            "arms.a.schedule.decay_epochs: must be less than epochs = 40, as a decay acts after its epoch, got [10, ",
        ),
        (
            {"kind": "plateau", "decay_factor": 0.1},
            {"schedule__patience": [10, -1]},
            "arms.a.grid.schedule.patience: must be an integer >= 0, got -1",
        ),
        (
            {"kind": "abel", "decay_factor": 0.1, "last_decay_epoch": 20, "gain_threshold": 0.1},
            {},
            "arms.a.schedule.gain_threshold: must be None where last_decay_epoch is given, 20.0, got 0.1",
        ),
        (
            {"kind": "abel", "decay_factor": 0.1, "norm_window": "blocks"},
            {},
            "arms.a.schedule.norm_window: must be one of block, sliding, got 'blocks'",
        ),
        ({"kind": "constant", "warmup_epochs": 41}, {}, "arms.a.schedule.warmup_epochs: must be at most epochs = 40"),
        ({"kind": 3}, {}, "arms.a.schedule.kind: must be one of abel, constant,"),
        (
            DECAY_AT,
            {"schedule__decay_epoch": []},
            "arms.a.grid.schedule.decay_epoch: must have at least one value, got []",
        ),
        (DECAY_AT, {"schedule__decay_epcoh": [1]}, "arms.a.grid.schedule.decay_epcoh: unknown field, did you mean"),
        (DECAY_AT, {"decay_epoch": [1]}, "arms.a.grid.decay_epoch: must be a field of the schedule or the program"),
        (
            DECAY_AT,
            {"program__model": [1]},
            "arms.a.grid.program.model: must name a single field, not a group of fields",
        ),
        (
            DECAY_AT,
            {"program__modle__width": [1]},
            "arms.a.grid.program.modle.width: unknown field, did you mean 'model'?",
        ),
        (
            DECAY_AT,
            {"program__model__widht": [1]},
            "arms.a.grid.program.model.widht: unknown field, did you mean 'width'?",
        ),
        (DECAY_AT, {"program__l2__x": [1]}, "arms.a.grid.program.l2.x: unknown field (known: none)"),
        (DECAY_AT, {"schedule__kind": ["abel"]}, "arms.a.grid.schedule.kind: must not be a kind"),
        (
            DECAY_AT | {"decay_epoch": 3},
            {"program__l2": [0.1, -1, True]},
            "arms.a.grid.program.l2: must be finite and at least 0, got -1",
        ),
        (
            DECAY_AT | {"decay_epoch": 3},
            {"program__batch_size": [8, 0]},
            "arms.a.grid.program.batch_size: must be at least 1",
        ),
    ],
)
def test_a_faulty_arm(schedule: dict[str, Any], grid: dict[str, Any], expected: str) -> None:
    assert any(found.startswith(expected) for found in faults(document(arms=arm(schedule, **grid))))


def test_a_grid_that_names_nothing() -> None:
    arms = {"a": {"schedule": {"kind": "constant", "learning_rate": 0.1}, "grid": {}}}
    assert fault(arms=arms) == "arms.a.grid: must name at least one field, or be left out, got {}"


def test_a_billion_points_are_refused_by_counting() -> None:
    before = time.process_time()
    arms = arm(DECAY_AT, schedule__decay_epoch={"range": [1, 10**9], "step": 1}, schedule__decay_factor=[0.1, 0.2])
    assert fault(arms=arms) == "arms: must make at most limits.trials = 10,000 trials, got 4,000,000,000"
    tiny = {"range": [1e-300, 1], "step": 1e-300}
    fields = ["program.l2", "program.augment.noise", "schedule.learning_rate", "schedule.decay_factor"]
    arms = arm(DECAY_AT, **dict.fromkeys(fields, tiny), **{f"program.{name}.seed": tiny for name in "abcdefghijkl"})
    told = faults(document(arms=arms))
    assert "arms: must make at most limits.trials = 10,000 trials, got more than 10^15" in told
    assert time.process_time() - before < 1


def test_limits_can_be_moved() -> None:
    arms = arm(DECAY_AT, schedule__decay_epoch={"range": [1, 39], "step": 1})
    assert fault(arms=arms, limits={"trials": 77}) == "arms: must make at most limits.trials = 77 trials, got 78"
    assert parse_document(document(arms=arms, limits={"trials": 78})).count() == 78
    found = fault(arms=arms, limits={"epochs": 3119})
    assert found == "arms: must take at most limits.epochs = 3,119 epochs in total, got 3,120"


def test_what_is_wrong_with_a_schedule_is_told_even_of_too_many() -> None:
    arms = arm(DECAY_AT | {"decay_factor": 2}, schedule__decay_epoch={"range": [1, 10**9], "step": 1})
    assert faults(document(arms=arms))[1:] == ["arms.a.schedule.decay_factor: must lie in (0, 1), got 2"]


def test_trials_that_are_the_same() -> None:
    same = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
    assert fault(arms={"a": same, "b": same}) == "arms.b: trial 'b seed=0' is the same as 'a seed=0'"
    arms = arm(DECAY_AT | {"decay_epoch": 3}, program__l2=[0, 0.0])
    assert fault(arms=arms) == "arms.a: trial 'a l2=0.0 seed=0' is the same as 'a l2=0 seed=0'"


@pytest.mark.parametrize("value", [None, [], 3, "x"])
def test_what_is_no_mapping(value: list[Any] | int | str | None) -> None:
    with pytest.raises(SpecError, match="must be a mapping, with a name, program, epochs, seeds and arms"):
        parse_document(value)


def test_what_is_missing() -> None:
    assert faults({})[:5] == [f"{key}: is missing" for key in ("name", "program", "epochs", "seeds", "arms")]


def test_the_error_is_one_text() -> None:
    error = SpecError([f"a[{index}]: is missing" for index in range(60)], "x.yaml")
    lines = str(error).splitlines()
    assert lines[:2] == ["x.yaml: 60 faults", "  a[0]: is missing"]
    assert lines[-1] == "  … and 10 more"
    assert len(error.faults) == 60
    assert str(SpecError(["a: is missing"], "x.yaml")) == "x.yaml: a: is missing"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_spec_survives_its_dictionary() -> None:
    for text in (GOOD, *map(catalog.entry, catalog.names())):
        spec = parse_spec(text)
        values = json.loads(json.dumps(spec.to_dict()))
        again = parse_document(values)
        assert again.to_dict() == values
        assert [trial.id for trial in again.expand()] == [trial.id for trial in spec.expand()]
        assert type(spec)(**values).expand() == spec.expand()


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_spec(GOOD).epochs = 3


def test_yaml_and_json_files(tmp_path: Path) -> None:
    yaml, as_json = tmp_path / "a.yaml", tmp_path / "a.json"
    yaml.write_text(GOOD)
    as_json.write_text(json.dumps(parse_spec(GOOD).to_dict()))
    assert load_spec(yaml).expand() == load_spec(str(as_json)).expand()
    as_json.write_text(as_json.read_text().replace('"epochs": 40', '"epochs": 40, "epochs": 41'))
    with pytest.raises(SpecError, match="epochs: duplicate key"):
        load_spec(as_json)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file, and unknown catalogue entry, did you mean 'fig-s6a'"):
        load_spec("fig-s6b")
    with pytest.raises(SpecError, match="must be a regular file, got a directory"):
        load_spec(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(SpecError, match="must be UTF-8 text, the byte at 9 is not"):
        load_spec(tmp_path / "latin.yaml")
    (tmp_path / "huge.yaml").write_text("a: " + "x" * 300_000)
    with pytest.raises(SpecError, match="must have at most 262144 bytes"):
        load_spec(tmp_path / "huge.yaml")


def test_a_file_goes_before_a_catalogue_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fig-s6a").write_text(GOOD)
    assert load_spec("fig-s6a").name == "good"


def places(value: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


DRAWN = """
  drawn:
    schedule: {kind: decay_at, decay_factor: 0.1, decay_epoch: 3}
    grid: {schedule.learning_rate: {log: [0.01, 0.09]}, program.l2: {range: [0, 1]}}
    search: {kind: sobol, samples: 2, seed: 1}
    halving: {grace_epochs: 4, reduction_factor: 2, error: last}
"""
BASE = parse_spec(GOOD + DRAWN).to_dict()
NUMBERS = [True, -1, 0, 1, 10**30, 0.5, float("nan"), float("inf")]
ODD = st.sampled_from([None, *NUMBERS, "", "x", "\ud800", "../x", [], [[]], {}, {"kind": 1}, {"": 0}])


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from([place for place in places(BASE) if place]), odd=ODD, key=st.booleans())
def test_hostile_values_are_faults_or_nothing(place: Any, odd: Any, key: Any) -> None:
    broken = json.loads(json.dumps(BASE))
    target = broken
    for part in place[:-1]:
        target = target[part]
    if key and isinstance(target, dict):
        target[str(odd)] = target.pop(place[-1])
    else:
        target[place[-1]] = odd
    try:
        parse_document(broken).expand()
    except SpecError as error:
        assert error.faults
        assert "Traceback" not in str(error)


NO_ITEM = ["x", None, {"a": 1}, [[1]]]


@pytest.mark.parametrize("item", NO_ITEM)
@pytest.mark.parametrize(
    ("parts", "place"),
    [
        (lambda item: {"seeds": [0, item]}, "seeds[1]"),
        (
            lambda item: {"arms": arm({"kind": "step", "decay_factor": 0.1, "decay_epochs": [4, item]})},
            "decay_epochs[1]",
        ),
        (lambda item: {"claims": {"tested": ["tuned", item]}}, "claims.tested[1]"),
        (lambda item: {"arms": {"a": {**arm(DECAY_AT)["a"], "grid": [item]}}}, "arms.a.grid"),
    ],
)
def test_a_faulty_item_is_told_at_its_place_and_alone(parts: Callable[..., Any], place: str, item: Any) -> None:
    told = fault(**parts(item))
    assert place in told
    assert "is missing" not in told


@pytest.mark.parametrize("value", ["x", None, 3, [{"kind": "constant"}]])
@pytest.mark.parametrize("place", ["program", "arms", "arms.a", "arms.a.schedule"])
def test_what_is_no_mapping_is_told_once(place: str, value: str | int | list[dict[str, str]] | None) -> None:
    parts = {"program": value} if place == "program" else {"arms": value}
    if place != "program" and place != "arms":
        parts = {"arms": {"a": value if place == "arms.a" else {"schedule": value}}}
    assert fault(**parts).startswith(f"{place}: must be a mapping, got ")


def test_a_fault_holds_nothing_that_a_terminal_obeys() -> None:
    (told,) = faults(document(**{"\x1b[2Jkey\n": 1}))
    assert told.startswith("\\x1b[2Jkey\\n: unknown key")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (("epochs: 40", "epochs: 40.0"), "epochs"),
        (("seeds: [0, 1]", "seeds: [0, 1.0]"), "seeds[1]"),
        (("batch_size: 16", "batch_size: 16.0"), "program.batch_size"),
        (("width: 16", "width: 16.0"), "program.model.width"),
        (("[4, 10]", "[4, 10.0]"), "arms.decay-at.grid.schedule.decay_epoch"),
        (("[4, 10]", "[4, 10]\n      program.batch_size: [16, 32.0]"), "arms.decay-at.grid.program.batch_size"),
    ],
)
def test_a_whole_number_is_not_spelt_as_a_decimal_anywhere(given: tuple[str, str], place: str) -> None:
    text = GOOD.replace("1e-2", "0.01").replace("1e-1", "0.1").replace(*given)
    for source, content in (("spec.yaml", text), ("spec.json", json.dumps(yaml.safe_load(text)))):
        with pytest.raises(SpecError) as error:
            parse_spec(content, source)
        (fault,) = error.value.faults
        assert fault.startswith((f"{place}: must be an integer", f"{place}: must be a whole number"))


def of_optax(name: str, axis: str) -> str:
    """The spec with an optimiser of optax and an axis of one of its options."""
    grid = "schedule.decay_epoch: [4, 10]"
    return GOOD.replace("kind: sgd", f"kind: optax, name: {name}").replace(grid, f"{grid}\n      {axis}")


def test_an_option_of_an_optimiser_of_optax_can_be_an_axis() -> None:
    trials = parse_spec(of_optax("adagrad", "program.optimizer.options.eps: [1.0e-6, 1.0e-5]")).expand()
    found = {
        trial.program.optimizer.options["eps"] for trial in trials if "program.optimizer.options.eps" in trial.settings
    }
    assert found == {1e-6, 1e-5}


def test_a_rule_on_a_group_that_an_axis_breaks_is_told_at_the_axis() -> None:
    with pytest.raises(SpecError) as error:
        parse_spec(of_optax("adagrad", "program.optimizer.options.epss: [1.0e-6]"))
    (fault,) = error.value.faults
    assert fault.startswith("arms.decay-at.grid.program.optimizer.options.epss: must be arguments of optax.adagrad")


def test_a_linear_clip_is_as_long_as_training_unless_it_says_otherwise() -> None:
    ppo = {"task": "ppo", "model": "mlp", "data": "minatar", "optimizer": "adam", "batch_size": 256}
    schedule, linear = {"kind": "constant", "learning_rate": 0.1}, {"clip_schedule": "linear"}
    arms = {
        "rate": {"schedule": schedule},
        "linear": {"schedule": schedule, "program": linear},
        "short": {"schedule": schedule, "program": linear, "epochs": 7},
        "own": {"schedule": schedule, "program": {**linear, "clip_epochs": 3}},
        "both": {"schedule": schedule, "grid": {"program.clip_schedule": ["linear", "constant"]}, "epochs": 9},
    }
    programs = [trial.program for trial in parse_document(document(program=ppo, arms=arms, seeds=[0])).expand()]
    found = [(vars(program)["clip_schedule"], vars(program)["clip_epochs"]) for program in programs]
    assert found == [("rate", None), *[("linear", epochs) for epochs in (40, 7, 3, 9)], ("constant", None)]
    assert fault(program=ppo, arms=arms, seeds=[0], epochs=0) == "epochs: must be at least 1, got 0"
