"""Streamed sets: which sets are, what their batches hold, what names them, and what is said when they cannot be read."""

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shared_data import PHOTOS
from tfds_files import TfdsWriter, jpegs

from workers.config import Program
from workers.data import DataError, Dataset, batches, crops, stream, tfds
from workers.data.crops import Draws
from workers.data.stream import Stream
from workers.data.tfds import Tfds
from workers.tasks.classify import ClassifyProgram

WORDS = (5, 6)
SMALL = Tfds(name="photos", side=32)


def write(
    writer: TfdsWriter,
    train: list[Any],
    test: list[Any] | None = None,
    classes: int = 10,
    shards: int = 1,
    name: str = "odd",
    shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> Path:
    features = {"image": writer.image(*shape, encoding="jpeg"), "label": writer.label(classes)}
    writer.write(name, {"train": train, "test": jpegs(12) if test is None else test}, features, shards=shards)
    return writer.directory


def drawn(
    found: Dataset | Stream, positions: Iterable[int] = range(48), batch_size: int = 16, order: np.ndarray | None = None
) -> list[Any]:
    order = np.arange(found.examples)[::-1] if order is None else order
    return list(found.train_batches(order, positions, WORDS, batch_size))


def bits(found: list[Any]) -> list[str]:
    return [hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest() for pixels, labels in found]


# --- which sets are streamed


def test_images_that_vary_in_size_are_streamed(jpeg_set: Path) -> None:
    found = SMALL.load(jpeg_set)
    assert isinstance(found, Stream)
    assert (found.name, found.classes, found.shape) == ("photos", 10, (32, 32, 3))
    assert (found.examples, found.test_examples) == (70, 23)


def test_they_cannot_be_kept_in_memory(jpeg_set: Path) -> None:
    with pytest.raises(
        DataError, match="photos: images must have one shape, .*; leave out stream, or set stream: true"
    ):
        Tfds(name="photos", stream=False).load(jpeg_set)


def test_images_of_one_size_are_streamed_if_too_large_or_if_asked(
    tfds_writer: TfdsWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = jpegs(12, sides=(40, 41))
    folder = write(tfds_writer, same, same, shape=(40, 40, 3))
    assert isinstance(Tfds(name="odd").load(folder), Dataset)
    assert isinstance(Tfds(name="odd", stream=True).load(folder), Stream)
    monkeypatch.setattr(tfds, "_MOST_RESIDENT", 24 * 40 * 40 * 3)
    assert isinstance(Tfds(name="odd").load(folder), Dataset)
    monkeypatch.setattr(tfds, "_MOST_RESIDENT", 24 * 40 * 40 * 3 - 1)
    assert isinstance(Tfds(name="odd").load(folder), Stream)
    assert isinstance(Tfds(name="odd", stream=False).load(folder), Dataset)
    assert isinstance(Tfds(name="odd", subset=4).load(folder), Dataset)


def test_images_of_one_size_need_not_say_so(tfds_writer: TfdsWriter) -> None:
    same = jpegs(12, sides=(40, 41))
    folder = write(tfds_writer, same, same)
    assert isinstance(Tfds(name="odd").load(folder), Dataset)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"stream": True, "shrink": 2}, "shrink must be 1 where stream is true, got 2"),
        ({"stream": False, "side": 32}, "side must be left out where images are not streamed, got 32"),
        ({"shrink": 2, "side": 32}, "side must be left out where images are not streamed, got 32"),
        ({"side": 0}, "side must be at least 1, got 0"),
    ],
)
def test_fields_of_the_other_kind_are_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Tfds(**fields)


def test_a_side_is_refused_if_a_set_turns_out_not_to_be_streamed(tfds_writer: TfdsWriter) -> None:
    same = jpegs(12, sides=(40, 41))
    with pytest.raises(DataError, match="odd: side is of streamed images, got 32; set stream: true, or leave it out"):
        Tfds(name="odd", side=32).load(write(tfds_writer, same, same))


# --- batches


def test_training_images_are_cropped_resized_and_flipped_as_drawn(jpeg_set: Path) -> None:
    found = SMALL.load(jpeg_set)
    order = np.random.default_rng(0).permutation(70)
    examples = jpegs(70)
    position = 0
    for pixels, labels in drawn(found, order=order):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (16, 32, 32, 3)
        assert labels.dtype == np.int32
        for image, label in zip(pixels, labels, strict=True):
            example = examples[order[position]]
            whole = cv2.imdecode(np.frombuffer(example["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            crop = crops.training_crop(*whole.shape[:2], 32, Draws(WORDS, position))
            part = whole[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
            part = cv2.resize(np.ascontiguousarray(part), (32, 32), interpolation=cv2.INTER_CUBIC)
            np.testing.assert_array_equal(image, part[:, ::-1] if crop.is_flipped else part)
            assert label == example["label"]
            position += 1
    assert position == 48


def test_test_images_come_once_each_in_order_from_the_centre(jpeg_set: Path) -> None:
    found = list(SMALL.load(jpeg_set).test_batches(10))
    assert [len(labels) for _, labels in found] == [10, 10, 3]
    examples = jpegs(23)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), [e["label"] for e in examples])
    whole = cv2.imdecode(np.frombuffer(examples[22]["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    top, left, square, _, _ = crops.centre_crop(*whole.shape[:2], 32)
    part = cv2.resize(whole[top : top + square, left : left + square], (32, 32), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(found[2][0][2], part)


def test_images_are_decoded_by_as_many_threads_as_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPROC", "3")
    assert batches.decoding_threads() == 3
    monkeypatch.delenv("NPROC")
    assert batches.decoding_threads() == len(os.sched_getaffinity(0))


def test_batches_are_the_same_at_any_number_of_threads_and_from_any_step(
    jpeg_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SMALL.load(jpeg_set)
    expected = bits(drawn(found, range(64)))
    assert len(set(expected)) == 4
    for threads in (1, 2, 5):
        monkeypatch.setattr(batches, "decoding_threads", lambda threads=threads: threads)
        assert bits(drawn(found, range(64))) == expected
        assert bits(drawn(SMALL.load(jpeg_set), range(32, 64))) == expected[2:]


def test_another_key_crops_anew(jpeg_set: Path) -> None:
    found = SMALL.load(jpeg_set)
    order = np.arange(70)
    one, other = (list(found.train_batches(order, range(16), words, 16))[0] for words in ((1, 2), (1, 3)))
    assert not np.array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_greys_and_cmyk_become_colours(tfds_writer: TfdsWriter) -> None:
    pillow = pytest.importorskip("PIL.Image")
    grey, ink = np.full((50, 60), 90, np.uint8), np.zeros((50, 60, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow make red
    out = io.BytesIO()
    pillow.fromarray(ink, "CMYK").save(out, "JPEG", quality=95)
    examples = [
        {"image": cv2.imencode(".jpg", grey)[1].tobytes(), "label": 0},
        {"image": out.getvalue(), "label": 1},
        *jpegs(2),
    ]
    found = Tfds(name="odd", side=16).load(write(tfds_writer, examples, examples))
    (images, _) = next(iter(found.test_batches(4)))
    np.testing.assert_allclose(images[0].astype(int), 90, atol=2)
    red, green, blue = images[1].reshape(-1, 3).mean(axis=0)
    assert red > 180
    assert max(green, blue) < 80


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs in {PHOTOS} (ABEL_SHARED_DATA)")
def test_real_photographs_are_streamed(tfds_writer: TfdsWriter) -> None:
    files = sorted(PHOTOS.glob("*.JPEG"))
    examples = [{"image": file.read_bytes(), "label": index % 10} for index, file in enumerate(files)]
    folder = write(tfds_writer, examples, examples[:20])
    found = Tfds(name="odd").load(folder)
    assert found.shape == (224, 224, 3)
    seen = [labels for _, labels in drawn(found, range(128), 32)]
    assert sorted(np.concatenate(seen)) == sorted(example["label"] for example in examples[::-1][:128])
    means = np.concatenate([pixels.mean(axis=(1, 2)) for pixels, _ in found.test_batches(20)]) / 255
    np.testing.assert_allclose(means.mean(axis=0), found.mean, atol=0.1)


# --- what names a set


def test_the_digest_follows_what_is_read_and_how(jpeg_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SMALL.load(jpeg_set).digest
    assert one == replace(SMALL, stream=True).load(jpeg_set).digest
    others = [{"side": 40}, {"subset": 60}, {"test_subset": 20}, {"train_split": "test"}, {"train_split": "train[:60]"}]
    found = {replace(SMALL, **fields).load(jpeg_set).digest for fields in others}
    monkeypatch.setattr(stream, "_decoder", lambda: ("5.9.9",))
    found.add(SMALL.load(jpeg_set).digest)
    assert len(found - {one}) == len(others) + 1


@pytest.mark.parametrize("name", ["photos-train.array_record-00001-of-00002", "dataset_info.json", "features.json"])
def test_the_digest_changes_with_the_size_of_a_shard_and_with_the_metadata(jpeg_set: Path, name: str) -> None:
    before = SMALL.load(jpeg_set)
    with (jpeg_set / "photos" / "1.0.0" / name).open("ab") as file:
        file.write(b"\n")
    after = stream.digest_of(before.train, before.test, (32, (before.mean, before.std)), jpeg_set / "photos" / "1.0.0")
    assert before.digest != after


# --- what cannot be read


def test_an_image_that_cannot_be_decoded_is_named(tfds_writer: TfdsWriter) -> None:
    train = [*jpegs(10), {"image": b"not a photograph", "label": 3}, {"image": b"", "label": 3}, *jpegs(4)]
    found = Tfds(name="odd", side=32).load(write(tfds_writer, train, shards=2))
    with pytest.raises(DataError, match="odd: odd-train.array_record-00001-of-00002, record 2: the image cannot be"):
        drawn(found, range(16), order=np.arange(16))
    with pytest.raises(DataError, match="odd-train.array_record-00001-of-00002, record 3: the image cannot be decoded"):
        drawn(found, range(4), 4, order=np.arange(11, 16))


def test_the_first_images_are_decoded_before_training(tfds_writer: TfdsWriter) -> None:
    broken = [{"image": b"not a photograph", "label": 3}, *jpegs(4)]
    with pytest.raises(DataError, match="odd: odd-test.array_record-00000-of-00001, record 0: the image cannot be"):
        Tfds(name="odd").load(write(tfds_writer, jpegs(10), broken))


def test_a_label_out_of_range_is_named(tfds_writer: TfdsWriter) -> None:
    folder = write(tfds_writer, [*jpegs(10), jpegs(1)[0] | {"label": 10}], shards=2)
    rule = r"odd-train.array_record-00001-of-00002, record 5: labels must lie in 0..9, got 10 \(is the split labelled"
    with pytest.raises(DataError, match=rule):
        Tfds(name="odd", side=32).load(folder)


def test_a_bad_label_that_was_not_looked_at_is_named_in_training(tfds_writer: TfdsWriter) -> None:
    many = [*jpegs(150, sides=(8, 12)), jpegs(1)[0] | {"label": 10}, *jpegs(50, sides=(8, 12))]
    found = Tfds(name="odd", side=32).load(write(tfds_writer, many))
    with pytest.raises(DataError, match=r"record 150: labels must lie in 0..9, got 10"):
        drawn(found, range(201), 201)


def test_a_split_without_labels_is_refused_before_training(tfds_writer: TfdsWriter) -> None:
    hidden = [example | {"label": -1} for example in jpegs(5)]
    rule = r"odd-test.array_record-00000-of-00001, record 0: labels must lie in 0..9, got -1 \(is the split labelled"
    with pytest.raises(DataError, match=rule):
        Tfds(name="odd").load(write(tfds_writer, jpegs(10), hidden))


@pytest.mark.parametrize("streamed", [True, None])
def test_an_empty_split_is_refused(tfds_writer: TfdsWriter, streamed: bool | None) -> None:
    with pytest.raises(DataError, match="odd: split 'test' must not be empty"):
        Tfds(name="odd", stream=streamed).load(write(tfds_writer, jpegs(10), []))


def test_a_set_of_one_class_is_refused(tfds_writer: TfdsWriter) -> None:
    with pytest.raises(DataError, match="odd must have at least 2 classes, got 1"):
        Tfds(name="odd").load(write(tfds_writer, jpegs(10, classes=1), classes=1))


def test_images_of_one_class_are_refused(tfds_writer: TfdsWriter) -> None:
    rule = "odd: training images must be of several classes, all 120 are of one"
    same = [example | {"label": 3} for example in jpegs(120, sides=(8, 12))]
    with pytest.raises(DataError, match=rule):
        Tfds(name="odd", side=32).load(write(tfds_writer, same))


def test_a_rare_class_is_enough(tfds_writer: TfdsWriter) -> None:
    rare = [example | {"label": 3 + (at == 1)} for at, example in enumerate(jpegs(250, sides=(8, 12)))]
    assert Tfds(name="odd", side=32).load(write(tfds_writer, rare)).examples == 250


def test_a_missing_shard_is_named(jpeg_set: Path) -> None:
    (jpeg_set / "photos" / "1.0.0" / "photos-test.array_record-00001-of-00002").unlink()
    with pytest.raises(DataError, match="photos: the shard .*photos-test.array_record-00001-of-00002 is missing"):
        SMALL.load(jpeg_set)


def test_a_subset_larger_than_its_split_is_refused(jpeg_set: Path) -> None:
    with pytest.raises(DataError, match="photos: subset must be at most 70, the size of split 'train', got 71"):
        replace(SMALL, subset=71).load(jpeg_set)


@pytest.mark.parametrize("augment", [{"flip": True}, {"crop": 4}, {"policy": "autoaugment"}, {"cutout": 8}])
def test_a_program_must_not_augment_what_is_cropped_at_random(
    jpeg_set: Path, tiny_program: Program, augment: dict[str, Any]
) -> None:
    augment = type(tiny_program.augment)(**augment)
    program: ClassifyProgram = replace(tiny_program, data=SMALL, augment=augment)
    with pytest.raises(ValueError, match="augment must be left out for images that are streamed: .*, got "):
        program.task.build(program, lambda data: data.load(jpeg_set))
