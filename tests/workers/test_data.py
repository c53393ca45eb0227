"""Data sources: what the arrays hold, and what is said when there are none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_data import TFDS
from sklearn.datasets import load_digits
from tfds_files import TfdsWriter

from workers.data import DataError, augmentation
from workers.data import prepare as preparation
from workers.data.augment import Augment, check_augment
from workers.data.digits import DigitPairs, Digits
from workers.data.tfds import Tfds

RANDOM = np.random.default_rng(0)


def examples(count: int, shape: tuple[int, int, int] = (6, 4, 3), classes: int = 5) -> list[dict[str, Any]]:
    return [
        {"image": RANDOM.integers(256, size=shape, dtype=np.uint8), "label": index % classes} for index in range(count)
    ]


def write_small(
    writer: TfdsWriter, name: str = "small", train: int = 12, test: int = 5, **features: Any
) -> dict[str, Any]:
    splits = {"train": examples(train), "test": examples(test)}
    writer.write(name, splits, features or {"image": writer.image(6, 4, 3), "label": writer.label(5)})
    return splits


# --- digits


def test_digits_are_split_without_overlap_and_scaled() -> None:
    dataset = Digits().load(None)
    assert dataset.train_images.shape == (1297, 8, 8, 1)
    assert dataset.test_images.shape == (500, 8, 8, 1)
    assert (dataset.classes, dataset.shape, dataset.examples) == (10, (8, 8, 1), 1297)
    every = np.concatenate([dataset.train_images, dataset.test_images])
    assert every.dtype == np.float32
    assert (every.min(), every.max()) == (0, 1)
    assert dataset.mean == (0.3,)
    train = {image.tobytes() for image in dataset.train_images}
    assert len({image.tobytes() for image in dataset.test_images} - train) >= 499  # scikit-learn holds few twins


def test_pairs_are_two_digits_side_by_side_from_their_own_half() -> None:
    digits, pairs = Digits(test=500).load(None), DigitPairs().load(None)
    assert pairs.train_images.shape == (1500, 8, 16, 1)
    assert pairs.test_images.shape == (1000, 8, 16, 1)
    assert pairs.classes == 100
    for images, labels, sources, names in (
        (pairs.train_images, pairs.train_labels, digits.train_images, digits.train_labels),
        (pairs.test_images, pairs.test_labels, digits.test_images, digits.test_labels),
    ):
        known = {image.tobytes(): label for image, label in zip(sources, names, strict=True)}
        for image, label in zip(images[:50], labels[:50], strict=True):
            left, right = known[image[:, :8].tobytes()], known[image[:, 8:].tobytes()]
            assert label == 10 * left + right


def test_digest_names_the_arrays_and_what_scales_and_counts_them() -> None:
    one = DigitPairs(train=20, test=10).load(None)
    assert one.digest == DigitPairs(train=20, test=10).load(None).digest
    assert one.digest != DigitPairs(train=20, test=10, seed=1).load(None).digest
    others = [
        replace(one, test_labels=one.test_labels + 1),
        replace(one, mean=(0.25,)),
        replace(one, std=(0.5,)),
        replace(one, classes=101),
    ]
    assert len({dataset.digest for dataset in [one, *others]}) == 5


# --- tfds


def test_tfds_images_are_read_as_written(tfds_writer: TfdsWriter) -> None:
    splits = write_small(tfds_writer)
    dataset = Tfds(name="small").load(tfds_writer.directory)
    assert dataset.train_images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train_images, [example["image"] for example in splits["train"]])
    np.testing.assert_array_equal(dataset.test_images, [example["image"] for example in splits["test"]])
    np.testing.assert_array_equal(dataset.train_labels, [example["label"] for example in splits["train"]])
    assert (dataset.classes, dataset.name) == (5, "small")
    scaled = dataset.train_images / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean((0, 1, 2)))
    np.testing.assert_allclose(dataset.std, scaled.std((0, 1, 2)))


def test_a_subset_is_the_first_images_and_decodes_no_others(
    tfds_writer: TfdsWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = write_small(tfds_writer)
    decoded = []
    import tensorflow_datasets as tfds

    original = tfds.features.Image.decode_example_np
    monkeypatch.setattr(
        tfds.features.Image,
        "decode_example_np",
        lambda self, example: (decoded.append(1), original(self, example))[1],
    )
    dataset = Tfds(name="small", subset=7, test_subset=2).load(tfds_writer.directory)
    np.testing.assert_array_equal(dataset.train_images, [example["image"] for example in splits["train"][:7]])
    assert len(dataset.test_labels) == 2
    assert len(decoded) == 9


def test_shrunk_images_are_means_of_blocks(tfds_writer: TfdsWriter) -> None:
    splits = write_small(tfds_writer)
    pixels = np.array([example["image"] for example in splits["train"]], float)
    by_hand = (pixels[:, ::2, ::2] + pixels[:, 1::2, ::2] + pixels[:, ::2, 1::2] + pixels[:, 1::2, 1::2]) / 4
    dataset = Tfds(name="small", shrink=2).load(tfds_writer.directory)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.shape == (3, 2, 3)
    np.testing.assert_array_equal(dataset.train_images, np.rint(by_hand))
    np.testing.assert_allclose(dataset.mean, np.rint(by_hand).mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(dataset.std, np.rint(by_hand).std((0, 1, 2)) / 255)


def test_a_shrink_that_does_not_divide_the_sides_is_refused(tfds_writer: TfdsWriter) -> None:
    write_small(tfds_writer)
    rule = "small: shrink must divide the sides of image 0, 6 and 4, got 3"
    with pytest.raises(DataError, match=rule):
        Tfds(name="small", shrink=3).load(tfds_writer.directory)
    with pytest.raises(ValueError, match="shrink must be at least 1, got 0"):
        Tfds(shrink=0)


def test_other_splits_can_be_named(tfds_writer: TfdsWriter) -> None:
    features = {"picture": tfds_writer.image(6, 4, 3), "answer": tfds_writer.label(5)}
    renamed = [{"picture": item["image"], "answer": item["label"]} for item in examples(8)]
    tfds_writer.write("odd", {"first": renamed[:6], "second": renamed[6:]}, features)
    dataset = Tfds(name="odd", train_split="first", test_split="second").load(tfds_writer.directory)
    assert (dataset.examples, len(dataset.test_labels)) == (6, 2)
    with pytest.raises(DataError, match="split must be one of first, second, got 'train'"):
        Tfds(name="odd").load(tfds_writer.directory)


def test_a_set_that_is_not_image_classification_is_refused(tfds_writer: TfdsWriter) -> None:
    number = {
        "pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar",
        "tensor": {"shape": {}, "dtype": "int64", "encoding": "none"},
    }
    write_small(tfds_writer, "scores", image=tfds_writer.image(6, 4, 3), label=number)
    with pytest.raises(
        DataError, match="scores is not an image classification set: .* got image: Image, label: Scalar"
    ):
        Tfds(name="scores").load(tfds_writer.directory)


def test_images_of_several_shapes_are_refused(tfds_writer: TfdsWriter) -> None:
    mixed = [*examples(2), *examples(1, shape=(5, 4, 3))]
    features = {"image": tfds_writer.image(None, None, 3), "label": tfds_writer.label(5)}
    tfds_writer.write("mixed", {"train": mixed, "test": mixed[:1]}, features)
    with pytest.raises(DataError, match=r"images must have one shape, got \(6, 4, 3\) and, at image 2, \(5, 4, 3\)"):
        Tfds(name="mixed", stream=False).load(tfds_writer.directory)
    Tfds(name="mixed", subset=2).load(tfds_writer.directory)


def test_unlabelled_splits_are_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    unlabelled = [example | {"label": -1} for example in examples(2)]
    tfds_writer.write("hidden", {"train": examples(6), "test": unlabelled}, features)
    with pytest.raises(DataError, match=r"labels must lie in 0..4, got -1..-1 \(is the split labelled\?\)"):
        Tfds(name="hidden").load(tfds_writer.directory)


def test_labels_of_classes_that_there_are_not_are_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    beyond = [*examples(4), examples(1)[0] | {"label": 5}]
    tfds_writer.write("beyond", {"train": beyond, "test": examples(2)}, features)
    with pytest.raises(DataError, match=r"labels must lie in 0..4, got 0..5"):
        Tfds(name="beyond").load(tfds_writer.directory)


def test_test_images_of_another_shape_are_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(None, None, 3), "label": tfds_writer.label(5)}
    tfds_writer.write("apart", {"train": examples(6), "test": examples(2, shape=(5, 4, 3))}, features)
    rule = r"apart: training and test images must have one shape, got \(6, 4, 3\) and \(5, 4, 3\)"
    with pytest.raises(DataError, match=rule):
        Tfds(name="apart", stream=False).load(tfds_writer.directory)


def test_training_images_of_one_class_are_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    alike = [example | {"label": 3} for example in examples(6)]
    tfds_writer.write("alike", {"train": [*alike, *examples(2)], "test": examples(6)}, features)
    with pytest.raises(DataError, match="alike: training images must be of several classes, all 6 are of one"):
        Tfds(name="alike", subset=6).load(tfds_writer.directory)
    Tfds(name="alike").load(tfds_writer.directory)


def test_an_empty_split_of_a_resident_set_is_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    tfds_writer.write("half", {"train": examples(6), "test": []}, features)
    with pytest.raises(DataError, match="half: split 'test' must not be empty"):
        Tfds(name="half", stream=False).load(tfds_writer.directory)


@pytest.mark.parametrize("broken", [b"no image", b""])
def test_an_image_that_cannot_be_decoded_is_numbered(tfds_writer: TfdsWriter, broken: bytes) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    train = [*examples(2), {"image": broken, "label": 1}, *examples(2)]
    tfds_writer.write("torn", {"train": train, "test": examples(2)}, features)
    with pytest.raises(DataError, match="torn: image 2 of split 'train' cannot be decoded; prepare it again"):
        Tfds(name="torn").load(tfds_writer.directory)


@pytest.mark.parametrize(("field", "size"), [("subset", 12), ("test_subset", 5)])
def test_a_subset_larger_than_its_split_is_refused(tfds_writer: TfdsWriter, field: str, size: int) -> None:
    write_small(tfds_writer)
    with pytest.raises(DataError, match=f"small: {field} must be at most {size}, the size of split .*, got 13"):
        Tfds(name="small", **{field: 13}).load(tfds_writer.directory)


def test_what_is_missing_is_said_with_the_remedy(tfds_writer: TfdsWriter) -> None:
    directory = tfds_writer.directory
    with pytest.raises(DataError, match="a data directory must be given"):
        Tfds(name="small").load(None)
    with pytest.raises(DataError, match="the data directory .*nowhere does not exist"):
        Tfds(name="small").load(directory / "nowhere")
    with pytest.raises(DataError, match=f"small is not prepared in {directory}: run `abel data prepare small"):
        Tfds(name="small").load(directory)


def test_other_file_formats_are_refused(tfds_writer: TfdsWriter) -> None:
    features = {"image": tfds_writer.image(6, 4, 3), "label": tfds_writer.label(5)}
    tfds_writer.write("old", {"train": examples(2), "test": examples(1)}, features, file_format="tfrecord")
    with pytest.raises(DataError, match="must be stored as array_record, got tfrecord: run `abel data prepare old"):
        Tfds(name="old").load(tfds_writer.directory)


@pytest.mark.skipif(not (TFDS / "cifar10").is_dir(), reason=f"no prepared cifar10 in {TFDS} (ABEL_SHARED_DATA)")
def test_real_cifar10_is_read() -> None:
    dataset = Tfds(name="cifar10", subset=200, test_subset=100).load(TFDS)
    assert dataset.train_images.shape == (200, 32, 32, 3)
    assert dataset.classes == 10
    assert set(dataset.train_labels) == set(range(10))
    np.testing.assert_allclose(dataset.train_images.mean((0, 1, 2)) / 255, dataset.mean, atol=0.03)
    np.testing.assert_allclose(dataset.train_images.std((0, 1, 2)) / 255, dataset.std, atol=0.03)


# --- prepare


def test_prepare_leaves_what_is_there(tfds_writer: TfdsWriter) -> None:
    write_small(tfds_writer)
    assert preparation.prepare("small", tfds_writer.directory) == tfds_writer.directory / "small" / "1.0.0"


def test_prepare_says_that_tensorflow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"needs TensorFlow, which is not installed: pip install 'abel-sweeps\[prepare\]'"
    ):
        preparation.prepare("cifar10", tmp_path / "new")


class Unreachable:
    """A TFDS builder without a network."""

    data_path = "unused"

    def __init__(self, features: Any) -> None:
        self.info = type("Info", (), {"features": features})

    def download_and_prepare(self) -> NoReturn:
        raise ConnectionError("no route to host")


def test_prepare_says_that_the_network_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(2, 2, 1)), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    monkeypatch.setattr(preparation, "find_spec", lambda name: object())
    monkeypatch.setattr(tfds, "builder", lambda name, **options: Unreachable(features))
    with pytest.raises(
        DataError, match=r"cifar10 could not be downloaded .*ConnectionError: no route to host.*network"
    ):
        preparation.prepare("cifar10", tmp_path)


def test_prepare_refuses_before_downloading_what_cannot_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    monkeypatch.setattr(preparation, "find_spec", lambda name: object())
    monkeypatch.setattr(tfds, "builder", lambda name, **options: Unreachable(features))
    with pytest.raises(DataError, match="imdb is not an image classification set"):
        preparation.prepare("imdb", tmp_path)


def test_prepare_refuses_names_that_tfds_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "find_spec", lambda name: object())
    with pytest.raises(DataError, match="has no set named 'no_such_set'"):
        preparation.prepare("no_such_set", tmp_path)


# --- augmentation


def by_hand(image: np.ndarray, flip: bool, crop: Sequence[int], roll: Sequence[int]) -> np.ndarray:
    """One image flipped, cropped out of its reflection, then rolled."""
    image = image[:, ::-1] if flip else image
    pad = 2
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    height, width, _ = image.shape
    rows, columns = pad + crop[0], pad + crop[1]
    return np.roll(padded[rows : rows + height, columns : columns + width], roll, axis=(0, 1))


def test_every_augmented_image_is_a_flip_crop_and_roll_of_its_own() -> None:
    images = jnp.asarray(RANDOM.integers(256, size=(3, 5, 6, 2), dtype=np.uint8))
    moves = [
        (flip, (row, column), (down, right))
        for flip in (False, True)
        for row in range(-2, 3)
        for column in range(-2, 3)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    possible = [{by_hand(np.asarray(image), *move).tobytes(): move for move in moves} for image in images]
    chosen = jnp.asarray([0, 1, 2] * 300)
    select = jax.jit(augmentation.select, static_argnums=2)
    found = np.asarray(select(images, chosen, Augment(flip=True, crop=2, roll=1), jax.random.key(0)))
    seen = [possible[index][image.tobytes()] for index, image in zip(np.asarray(chosen), found, strict=True)]
    assert {move[1] for move in seen} == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}
    assert {move[2] for move in seen} == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}


def test_half_of_the_images_are_flipped() -> None:
    image = RANDOM.normal(size=(1, 3, 4, 1))
    select = jax.jit(augmentation.select, static_argnums=2)
    found = select(jnp.asarray(image), jnp.zeros(400, int), Augment(flip=True), jax.random.key(0))
    flipped = [bool(np.array_equal(each, jnp.asarray(image)[0, :, ::-1])) for each in found]
    kept = [bool(np.array_equal(each, jnp.asarray(image)[0])) for each in found]
    assert sum(flipped) + sum(kept) == 400
    assert 160 < sum(flipped) < 240


def test_without_augmentation_images_are_untouched() -> None:
    images = jnp.asarray(RANDOM.normal(size=(4, 3, 3, 1)))
    chosen = jnp.asarray([2, 0, 2])
    np.testing.assert_array_equal(augmentation.select(images, chosen, Augment(), jax.random.key(0)), images[chosen])


def test_a_crop_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"augment.crop must be below the image's sides \(8, 4\), got 4"):
        check_augment(Augment(crop=4), (8, 4, 1), np.dtype(np.uint8))


def test_the_digits_are_those_of_scikit_learn() -> None:
    images, labels = load_digits(return_X_y=True)
    dataset = Digits(test=500, seed=3).load(None)
    order = np.random.default_rng(3).permutation(len(labels))
    assert np.array_equal(dataset.test_images[..., 0], images.reshape(-1, 8, 8)[order[:500]].astype(np.float32) / 16)
    assert np.array_equal(np.concatenate([dataset.test_labels, dataset.train_labels]), labels[order])
