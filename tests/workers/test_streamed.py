"""Training on streamed images: the same bits at any number of threads, and from the very step at which it was left."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from bitwise import bits_of
from shared_data import PHOTOS
from tfds_files import TfdsWriter

from abel.schedules import Constant
from sweeps.spec.programs import program_from_dict
from workers.cohort import train
from workers.config import Program
from workers.data import Dataset, batches
from workers.data.stream import Stream
from workers.fold import Member
from workers.reports import Cohort, Partway, Record
from workers.tasks import compiled, streamed
from workers.workshop import Workshop

EPOCHS, STEPS, BATCH = 2, 4, 16  # 70 examples; the last 6 of each epoch are left out


@pytest.fixture
def program() -> Program:
    """A small network on the photographs; an epoch can be left after every step."""
    return program_from_dict(
        {
            "task": {"kind": "classify", "save_every_steps": 1},
            "model": {"kind": "small_cnn", "width": 4, "dropout": 0.1},
            "data": {"kind": "tfds", "name": "photos", "side": 16},
            "optimizer": {"kind": "sgd", "momentum": 0.9},
            "l2": 0.001,
            "batch_size": BATCH,
        }
    )


def at(folder: Path, data_dir: Path, **settings: Any) -> Workshop:
    return Workshop(checkpoints=folder, data_dir=data_dir, **settings)


def cohort_of(program: Program, workshop: Workshop, **fields: Any) -> Cohort:
    member = Member(trial="one", schedule=Constant(learning_rate=0.05))
    identity = workshop.identity(program)
    return Cohort(program=program, identity=identity, seed=3, epochs=EPOCHS, members=(member,), **fields)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of the training batches that were read, in order."""
    found, read = [], Stream.train_batches

    def noted(self: Any, *asked: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for pixels, labels in read(self, *asked):
            found.append(hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest())
            yield pixels, labels

    monkeypatch.setattr(Stream, "train_batches", noted)
    return found


def test_a_worker_that_leaves_goes_on_at_the_very_next_batch(
    program: Program, jpeg_set: Path, tmp_path: Path, seen: list[str]
) -> None:
    undisturbed = at(tmp_path / "undisturbed", jpeg_set)
    expected = bits_of(train(cohort_of(program, undisturbed), undisturbed))
    expected_batches = list(seen)
    assert len(set(expected_batches)) == EPOCHS * STEPS
    for epoch, step in [(1, 3), (2, 1)]:
        seen.clear()
        workshop, left = at(tmp_path / f"left-{epoch}", jpeg_set), []
        for report in train(cohort_of(program, workshop), workshop):
            left.append(report)
            if isinstance(report, Partway) and (report.epoch, report.step) == (epoch, step):
                workshop.leaving.set()
        assert seen == expected_batches[: (epoch - 1) * STEPS + step]
        again = at(tmp_path / f"left-{epoch}", jpeg_set)
        observed = tuple(report.observation for report in left if isinstance(report, Record))
        reports = list(train(cohort_of(program, again, observations=observed), again))
        assert bits_of(left) + bits_of(reports) == expected
        assert seen == expected_batches


def test_a_worker_that_is_killed_goes_on_from_what_was_saved(
    program: Program, jpeg_set: Path, tmp_path: Path, seen: list[str]
) -> None:
    undisturbed = at(tmp_path / "undisturbed", jpeg_set)
    expected = bits_of(train(cohort_of(program, undisturbed), undisturbed))
    expected_batches = list(seen)
    workshop = at(tmp_path / "killed", jpeg_set, save_every_seconds=0.0)
    with closing(train(cohort_of(program, workshop), workshop)) as reports:
        while not (isinstance(report := next(reports), Partway) and report.step == 3):
            pass
        saved = {file for file in (tmp_path / "killed").rglob("*") if file.is_file()}
        assert saved
        (copied := tmp_path / "copied").mkdir()
        for file in saved:  # what a kill at this moment would leave
            (to := copied / file.relative_to(tmp_path / "killed")).parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(file.read_bytes())
    seen.clear()
    again = at(copied, jpeg_set)
    assert bits_of(train(cohort_of(program, again), again)) == expected
    assert seen == expected_batches[3:]


TRAINED = """
import pickle, sys
from workers.cohort import train
from workers.workshop import Workshop

cohort, settings = pickle.loads(sys.stdin.buffer.read())
for report in train(cohort, Workshop(**settings)):
    print(report.epoch, getattr(report, "step", "whole"), flush=True)
"""


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs in {PHOTOS} (ABEL_SHARED_DATA)")
def test_a_process_killed_among_real_photographs_goes_on_at_the_very_next_batch(
    program: Program, tfds_writer: TfdsWriter, tmp_path: Path, seen: list[str]
) -> None:
    photographs = [file.read_bytes() for file in sorted(PHOTOS.glob("*.JPEG"))][:70]
    examples = [{"image": jpeg, "label": index % 10} for index, jpeg in enumerate(photographs)]
    features = {"image": tfds_writer.image(None, None, 3, encoding="jpeg"), "label": tfds_writer.label(10)}
    tfds_writer.write("photos", {"train": examples, "test": examples[:20]}, features, shards=2)
    undisturbed = at(tmp_path / "undisturbed", tfds_writer.directory)
    expected = bits_of(train(cohort_of(program, undisturbed), undisturbed))
    expected_batches = list(seen)

    settings = {"checkpoints": tmp_path / "killed", "data_dir": tfds_writer.directory, "save_every_seconds": 0.0}
    command = [sys.executable, "-c", TRAINED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(pickle.dumps((cohort_of(program, undisturbed), settings)))
        process.stdin.close()
        assert b"1 3\n" in iter(process.stdout.readline, b"")
        process.kill()
    seen.clear()
    again = at(tmp_path / "killed", tfds_writer.directory)
    assert bits_of(train(cohort_of(program, again), again)) == expected
    assert 0 < len(seen) <= EPOCHS * STEPS - 3
    assert seen == expected_batches[-len(seen) :]


def test_records_are_the_same_however_an_epoch_is_cut(program: Program, jpeg_set: Path, tmp_path: Path) -> None:
    found = []
    for every in (1, 3, None):
        cut = replace(program, task=replace(program.task, save_every_steps=every, dynamics=True))
        workshop = at(tmp_path / str(every), jpeg_set)
        found.append(bits_of(train(cohort_of(cut, workshop), workshop)))
    assert found[0] == found[1] == found[2]
    assert "dynamics/growth" in found[0][0]


def test_an_epoch_can_be_left_every_thousand_steps_by_default(program: Program, jpeg_set: Path) -> None:
    free = replace(program, task=replace(program.task, save_every_steps=None))
    training = free.task.build(free, lambda data: data.load(jpeg_set))
    assert training.stretches(2500) == [(0, 1000), (1000, 2000), (2000, 2500)]
    assert streamed.save_every_steps(training.dataset) == 1000


@pytest.mark.parametrize("dynamics", [False, True])
def test_the_shapes_of_sums_are_known_without_reading(
    program: Program, jpeg_set: Path, seen: list[str], dynamics: bool
) -> None:
    told = replace(program, task=replace(program.task, dynamics=dynamics))
    training = told.task.build(told, lambda data: data.load(jpeg_set))
    key, rates = jax.random.key(1), np.full(STEPS, 0.05, np.float32)
    state = training.init(key)

    def advance(state: Any) -> Any:
        return training.advance(state, training.hyper, rates, key, BATCH, (1, 4))

    abstract = jax.eval_shape(advance, state)
    assert not seen
    real = advance(state)
    assert len(seen) == 3
    assert jax.tree.structure(real) == jax.tree.structure(abstract)
    for one, other in zip(jax.tree.leaves(real), jax.tree.leaves(abstract), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_order_and_evaluation_are_those_of_a_resident_set(program: Program, jpeg_set: Path) -> None:
    training = program.task.build(program, lambda data: data.load(jpeg_set))
    found = training.dataset
    key = jax.random.key(9)
    state = training.init(key)
    images = np.concatenate([pixels for pixels, _ in found.test_batches(7)])
    labels = np.concatenate([labels for _, labels in found.test_batches(7)])
    twin = Dataset(
        name="twin",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=10,
        mean=found.mean,
        std=found.std,
    )
    resident = program.task.build(program, lambda data: twin)
    one, other = training.evaluate(state), resident.evaluate(state)
    assert int(one.errors.sum()) == int(other.errors.sum())
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
    order = jax.random.permutation(jax.random.split(key)[0], 70)  # as in `compiled.train_stretch`
    drawn = np.concatenate([labels for _, labels in streamed._epoch(found, key, range(16, 64), BATCH)])
    np.testing.assert_array_equal(drawn, np.asarray(order)[16:64] % 10)
    assert isinstance(one, compiled.EvaluationSums)


@pytest.mark.slow
@pytest.mark.usefixtures("lightly_optimised")
def test_a_residual_network_has_the_same_bits_at_any_thread_count(
    program: Program, jpeg_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"kind": "wide_resnet", "depth": 10, "width": 1}
    small = program_from_dict(
        {
            "model": model,
            "data": {"kind": "tfds", "name": "photos", "side": 32},
            "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
            "l2": 0.0001,
            "l2_on": "kernels",
            "label_smoothing": 0.1,
            "batch_size": BATCH,
        }
    )
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(batches, "decoding_threads", lambda threads=threads: threads)
        workshop = at(tmp_path / str(threads), jpeg_set)
        found.append(bits_of(train(cohort_of(small, workshop), workshop)))
    assert len(found[0]) == EPOCHS
    assert found[0] == found[1]


def test_a_batch_larger_than_the_set_is_refused(program: Program, jpeg_set: Path) -> None:
    training = program.task.build(program, lambda data: data.load(jpeg_set))
    key = jax.random.key(1)
    with pytest.raises(ValueError, match=r"steps must lie in 1..0 at batch size 71, got 1"):
        training.advance(training.init(key), training.hyper, np.ones(1, np.float32), key, 71, (0, 1))
