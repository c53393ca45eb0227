"""Image classification sets of TensorFlow Datasets, read from array_record files without TensorFlow.

A set is decoded into memory and stays on the device, or it is streamed (`workers.data.stream`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from workers.config import added, require
from workers.data import DataError, DataMissing, Dataset
from workers.data.stream import IMAGENET, Records, Stream, open_stream

# Per channel, of pixels scaled to 0..1 (the paper's training code).
_MOMENTS = {
    "cifar10": ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
    "cifar100": ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)),
    "svhn_cropped": ((0.43090966, 0.4302428, 0.44634357), (0.19759192, 0.20029082, 0.19811132)),
}
TEST_SPLITS = {"imagenet2012": "validation"}  # of sets whose test split has no labels
_BLOCK = 1000  # images decoded at a time
_MOST_RESIDENT = 2 * 2**30  # bytes of decoded images; a larger set is streamed unless told otherwise
_LOOKS = 100  # images that are looked at to see whether a set's images vary in size
_SIDE = 224


@dataclass(frozen=True, kw_only=True)
class Tfds:
    """A TensorFlow Datasets set; each example has one image and one class label."""

    kind: Literal["tfds"] = "tfds"
    name: str = "cifar10"  # as TensorFlow Datasets spells it, with "/config" where it has one
    subset: int | None = None  # use only the first `subset` training images; null for all
    test_subset: int | None = None  # use only the first `test_subset` test images; null for all
    train_split: str = "train"  # the split to train on
    test_split: str = "test"  # the split to evaluate on
    shrink: int = 1  # divide each side by this: every pixel is the mean of a `shrink` x `shrink` block
    stream: bool | None = added(None)  # read images while training; null: if their sizes vary or they take over 2 GiB
    side: int = added(_SIDE)  # pixels: streamed images are cropped at random and resized to this

    def __post_init__(self) -> None:
        require(bool(self.name), "name", "be the name of a data set", self.name)
        require(self.subset is None or self.subset >= 1, "subset", "be at least 1, or null", self.subset)
        require(
            self.test_subset is None or self.test_subset >= 1, "test_subset", "be at least 1, or null", self.test_subset
        )
        require(self.shrink >= 1, "shrink", "be at least 1", self.shrink)
        require(self.shrink == 1 or not self.stream, "shrink", "be 1 where stream is true", self.shrink)
        require(self.side >= 1, "side", "be at least 1", self.side)
        resident = self.stream is False or self.shrink > 1
        require(self.side == _SIDE or not resident, "side", "be left out where images are not streamed", self.side)

    def load(self, data_dir: Path | None) -> Dataset | Stream:
        """Decode the images, or open the stream; `data_dir` holds prepared sets (`abel data prepare NAME`)."""
        builder = open_prepared(self.name, data_dir)
        image, label, classes = classification_features(self.name, builder.info.features)
        train, test = (self.train_split, self.subset, "subset"), (self.test_split, self.test_subset, "test_subset")
        if self.stream is not False and self.shrink == 1:
            seen, unseen = (_records(builder, *part, image, label, classes) for part in (train, test))
            if self.stream or _must_stream(builder.info.features[image], seen, unseen):
                moments = _MOMENTS.get(self.name, IMAGENET)
                return open_stream(seen, unseen, self.side, moments, Path(builder.data_path))
        if self.side != _SIDE:
            raise DataError(
                f"{self.name}: side is of streamed images, got {self.side}; set stream: true, or leave it out"
            )
        train_images, train_labels = _read(builder, *train, image, label, self.shrink)
        test_images, test_labels = _read(builder, *test, image, label, self.shrink)
        if train_images.shape[1:] != test_images.shape[1:]:
            shapes = f"{train_images.shape[1:]} and {test_images.shape[1:]}"
            raise DataError(f"{self.name}: training and test images must have one shape, got {shapes}")
        for labels in (train_labels, test_labels):
            if labels.min() < 0 or labels.max() >= classes:
                found = f"{labels.min()}..{labels.max()}"
                raise DataError(
                    f"{self.name}: labels must lie in 0..{classes - 1}, got {found} (is the split labelled?)"
                )
        if train_labels.min() == train_labels.max():
            raise DataError(
                f"{self.name}: training images must be of several classes, all {len(train_labels)} are of one"
            )
        known = _MOMENTS.get(self.name) if self.shrink == 1 else None  # block means have a smaller standard deviation
        mean, std = known or _moments(train_images)
        return Dataset(
            name=self.name,
            train_images=train_images,
            train_labels=train_labels,
            test_images=test_images,
            test_labels=test_labels,
            classes=classes,
            mean=mean,
            std=std,
        )


def open_prepared(name: str, data_dir: Path | None) -> Any:
    """Return the TFDS builder of a set on disk, whether or not TFDS itself knows the name."""
    import tensorflow_datasets as tfds  # takes seconds to import

    if data_dir is None:
        raise DataMissing(f"{name}: a data directory must be given (--data-dir)")
    if not Path(data_dir).is_dir():
        raise DataMissing(f"{name}: the data directory {data_dir} does not exist")
    remedy = f"run `abel data prepare {name} --data-dir {data_dir}`"
    try:
        builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=str(data_dir))
    except tfds.core.DatasetNotFoundError:
        raise DataMissing(f"{name} is not prepared in {data_dir}: {remedy}") from None
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        stored = builder.info.file_format.value
        raise DataError(f"{name} in {data_dir} must be stored as array_record, got {stored}: {remedy}")
    return builder


def classification_features(name: str, features: Any) -> tuple[str, str, int]:
    """Return the names of the image and label features, and the number of classes."""
    import tensorflow_datasets as tfds

    items = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in items.items() if type(feature) is tfds.features.Image]
    labels = [key for key, feature in items.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        found = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in sorted(items.items())) or repr(
            features
        )
        raise DataError(
            f"{name} is not an image classification set: it must have one Image and one ClassLabel, got {found}"
        )
    classes = int(items[labels[0]].num_classes)
    if classes < 2:
        raise DataError(f"{name} must have at least 2 classes, got {classes}")
    return images[0], labels[0], classes


def _must_stream(feature: Any, train: Records, test: Records) -> bool:
    """Whether images vary in size, or the decoded images of both splits are too large to stay in memory."""
    if feature.np_dtype != np.uint8:
        return False
    height, width, channels = feature.shape
    if height is None or width is None:
        height, width, _ = train.read(0)[0].shape
        looks = range(1, min(_LOOKS, len(train)))
        if any(train.read(index)[0].shape[:2] != (height, width) for index in looks):
            return True
    size = (len(train) + len(test)) * height * width * (channels or 3)
    return bool(size > _MOST_RESIDENT)


def _records(builder: Any, split: str, subset: int | None, field: str, image: str, label: str, classes: int) -> Records:
    """Return the first `subset` examples of a split, to be decoded one by one."""
    import tensorflow_datasets as tfds

    source, count = _opened(builder, split, subset, field, decoders={image: tfds.decode.SkipDecoding()})
    name = builder.info.name
    return Records(name=name, split=split, source=source, image=image, label=label, count=count, classes=classes)


def _opened(builder: Any, split: str, subset: int | None, field: str, **options: Any) -> tuple[Any, int]:
    """Return a split as a sequence of examples, and how many of them are used."""
    name = builder.info.name
    try:
        if builder.info.splits[split].num_examples == 0:
            raise DataError(f"{name}: split {split!r} must not be empty")
        source = builder.as_data_source(split=split, **options)
    except DataError:
        raise
    except (ValueError, KeyError):
        raise DataError(f"{name}: split must be one of {', '.join(builder.info.splits)}, got {split!r}") from None
    count = len(source) if subset is None else subset
    if count > len(source):
        raise DataError(f"{name}: {field} must be at most {len(source)}, the size of split {split!r}, got {count}")
    return source, count


def _read(
    builder: Any, split: str, subset: int | None, field: str, image: str, label: str, shrink: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the first `subset` images, uint8 or float32[N, H, W, C], and labels, i32[N], of a split."""
    name = builder.info.name
    source, count = _opened(builder, split, subset, field)
    images, labels = None, np.empty(count, np.int32)
    for start in range(0, count, _BLOCK):
        block = range(start, min(start + _BLOCK, count))
        for index, example in zip(block, _decoded(name, split, source, block), strict=True):
            pixels = _shrunk(name, index, example[image], shrink)
            if images is None:
                images = np.empty((count, *pixels.shape), pixels.dtype)
            _check(name, index, pixels, images)
            images[index], labels[index] = pixels, example[label]
    assert images is not None
    return images, labels


def _decoded(name: str, split: str, source: Any, block: range) -> Sequence[Any]:
    """Return some examples with their images decoded."""
    try:
        return source.__getitems__(list(block))  # type: ignore[no-any-return]
    except Exception:  # TFDS passes on whatever OpenCV makes of the bytes
        for index in block:
            try:
                source[index]
            except Exception as error:
                raise DataError(
                    f"{name}: image {index} of split {split!r} cannot be decoded; prepare it again"
                ) from error
        raise


def _shrunk(name: str, index: int, pixels: np.ndarray, by: int) -> np.ndarray:
    """Return the means of `by` x `by` blocks of pixels, in the same dtype; uint8 means are rounded, halves to even."""
    if by == 1:
        return pixels
    height, width, channels = pixels.shape
    if height % by or width % by:
        raise DataError(f"{name}: shrink must divide the sides of image {index}, {height} and {width}, got {by}")
    blocks = pixels.reshape(height // by, by, width // by, by, channels)
    means = blocks.mean(axis=(1, 3), dtype=np.float64)
    shrunk: np.ndarray = (np.rint(means) if pixels.dtype == np.uint8 else means).astype(pixels.dtype)
    return shrunk


def _check(name: str, index: int, pixels: np.ndarray, images: np.ndarray) -> None:
    if pixels.shape != images.shape[1:]:
        shapes = f"{images.shape[1:]} and, at image {index}, {pixels.shape}"
        raise DataError(f"{name}: images must have one shape, got {shapes}; leave out stream, or set stream: true")
    if pixels.dtype not in (np.uint8, np.float32):
        raise DataError(f"{name}: pixels must be uint8 or float32, got {pixels.dtype}")


def _moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of the scaled pixels; 1 as the deviation of a constant channel."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    channels = images.shape[-1]
    total, total_sq = np.zeros(channels), np.zeros(channels)
    for start in range(0, len(images), _BLOCK):
        pixels = images[start : start + _BLOCK].reshape(-1, channels).astype(np.float64) / scale
        total += pixels.sum(axis=0)
        total_sq += np.square(pixels).sum(axis=0)
    count = images.size // channels
    mean = total / count
    variance = total_sq / count - mean**2
    std = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
    return tuple(mean.tolist()), tuple(std.tolist())
