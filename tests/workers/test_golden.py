"""Every vision model and its training step are those of an independent build in PyTorch, whose results are in `golden/`.

`bench/golden.py` draws the inputs, computes both sides, and writes the files; here only ours is computed.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from workers.data import Dataset
from workers.data.digits import Digits
from workers.optimizers.sgd import Sgd
from workers.tasks.classification import Classification
from workers.tasks.classify import Classify, ClassifyProgram
from workers.tasks.compiled import TrainState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lightly_optimised")]

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_name("golden")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", ROOT / "bench" / "golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


golden = load()


def stored(name: str, like: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """PyTorch's results; their leaves have the sizes of those in `like`."""
    with np.load(STORED / f"{name}.npz") as arrays:
        drawn = golden.inputs(golden.CASES[name]).checksum
        assert arrays["checksum"] == drawn, f"the inputs are others: python bench/golden.py --write {STORED}"
        ends = {quantity: np.cumsum([leaf.size for leaf in leaves]) for quantity, leaves in like.items()}
        return {quantity: np.split(arrays[quantity].astype(np.float64), end[:-1]) for quantity, end in ends.items()}


def above_tolerance(found: Any, expected: dict[str, list[np.ndarray]]) -> dict[str, float]:
    return {name: error for name, error in golden.errors(found, expected).items() if not error <= golden.TOLERANCE}


@pytest.mark.parametrize("name", golden.CASES)
def test_a_model_and_its_step_equal_pytorch(name: str) -> None:
    found = golden.ours(golden.CASES[name])
    assert above_tolerance(found, stored(name, found)) == {}


def training_of(case: Any, given: Any) -> Classification:
    """The task on a data set that is the case's batch, for training and for the test."""
    dataset = Dataset(
        name="drawn",
        train_images=given.images,
        train_labels=given.labels,
        test_images=given.images,
        test_labels=given.labels,
        classes=golden.CLASSES,
        mean=(0.0,) * case.shape[2],
        std=(1.0,) * case.shape[2],
    )
    program = ClassifyProgram(
        task=Classify(),
        model=case.model,
        data=Digits(),
        optimizer=Sgd(momentum=golden.MOMENTUM, nesterov=True),
        batch_size=case.examples,
        l2=case.l2,
        l2_on=case.l2_on,
        clip=case.clip,
        label_smoothing=case.smoothing,
    )
    return program.task.build(program, lambda data: dataset)


def test_an_epoch_of_one_step_equals_pytorch() -> None:
    """The task shuffles the batch, which neither the mean loss nor its statistics depend on."""
    case = golden.CASES["wide_resnet"]
    given = golden.inputs(case)
    training = training_of(case, given)
    params, statistics, momentum = (unflatten_dict(leaves, sep="/") for leaves in given[:3])
    slots = Sgd(nesterov=True).transform(training.hyper).init(params)._replace(trace=momentum)
    state, key = TrainState(params, slots, statistics), jax.random.key(0)
    tested = training.evaluate(state)
    rates = np.full(1, golden.LEARNING_RATE, np.float32)
    after, sums = training.advance(state, training.hyper, rates, key, case.examples, (0, 1))
    metrics = training.metrics([sums], tested)

    moved, followed = (flatten_dict(tree, sep="/") for tree in (after.params, after.collections))
    measured = metrics["grad_norm_sq"], metrics["grad_dot_weight"]
    nothing = np.zeros((case.examples, golden.CLASSES))  # the task does not tell its logits
    found = golden.results(given, nothing, nothing, metrics["train_loss"], measured, moved, followed)
    expected = stored("wide_resnet", found)
    assert above_tolerance(found, expected).keys() == {"evaluated", "trained"}
    logits_BK = expected["evaluated"][0].reshape(case.examples, golden.CLASSES)
    losses_B = np.log(np.exp(logits_BK).sum(1)) - logits_BK[np.arange(case.examples), given.labels]
    assert metrics["test_loss"] == pytest.approx(losses_B.mean(), rel=golden.TOLERANCE)


def test_an_error_in_any_weight_shows_in_what_is_stored() -> None:
    random = np.random.default_rng(0)
    leaf = random.normal(size=(3, 3, 32, 64))
    wrong_once, wrong_all = leaf.copy(), leaf * (1 + 1e-3 * random.normal(size=leaf.shape))
    wrong_once[1, 2, 3, 4] += 1.0
    for wrong in (wrong_once, wrong_all, np.flip(leaf, 2)):
        kept, kept_wrong = (golden.sketched("conv/kernel", each) for each in (leaf, wrong))
        assert kept.size == golden.BUCKETS
        real, found = np.linalg.norm(wrong - leaf), np.linalg.norm(kept_wrong - kept)
        assert found == pytest.approx(real, rel=0.2)


def test_every_file_is_of_a_case_and_small() -> None:
    files = list(STORED.iterdir())
    assert {file.stem for file in files} == set(golden.CASES)
    assert all(file.stat().st_size < 300_000 for file in files)
