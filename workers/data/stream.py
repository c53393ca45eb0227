"""Image sets that are read, decoded and cropped while they train, by grain's threads: they need not fit anywhere.

    for pixels_BHWC, labels_B in stream.train_batches(order, range(first * 256, last * 256), words, 256): ...

Which batches come, and their bits, follow from the arguments alone: an iterator has no state worth saving, and the number of
threads affects only the speed. Axes: N examples, B batch, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.data import DataError, crops
from workers.data.batches import Batches, in_batches
from workers.data.crops import Crop, Draws

# Mean and standard deviation of ImageNet, per channel, of pixels scaled to 0..1 (Flax's example).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Moments = tuple[tuple[float, ...], tuple[float, ...]]
_LOOKS = 100  # labels that are looked at before training
_TRANSFORM = ("cubic", crops.AREA, crops.RATIO, crops.COVERED, crops.ATTEMPTS, crops.PADDING)


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """The first `count` examples of a split on disk, with their images as they were compressed."""

    name: str  # of the set
    split: str
    source: Any  # of TFDS: yields dictionaries
    image: str  # the names of the features
    label: str
    count: int
    classes: int

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """Return an image, uint8[H, W, 3] as blue, green, red, and its label.

        Raises:
            DataError: the image cannot be decoded, or there is no such class.
        """
        import cv2

        example = self.source[index]
        label = self._label(index, example)
        try:
            # Greys and CMYK become colours; a camera's orientation is ignored, as by TensorFlow.
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels_HWC = cv2.imdecode(np.frombuffer(example[self.image], np.uint8), flags)
        except cv2.error:  # there are no bytes
            pixels_HWC = None
        if pixels_HWC is None:
            raise DataError(f"{self._place(index)}: the image cannot be decoded; prepare the set again")
        return pixels_HWC, label

    def check_labels(self, *, several: bool) -> None:
        """Look at labels at even distances, without decoding images.

        Args:
            several: whether they must be of several classes; if those looked at are not, the others are looked at too.

        Raises:
            DataError: one is out of range, or all are of one class.
        """
        looks = np.linspace(0, self.count - 1, min(_LOOKS, self.count)).astype(int).tolist()
        found = {self._label(index, self.source[index]) for index in looks}
        if several and len(found) == 1 and all(self._label(at, self.source[at]) in found for at in range(self.count)):
            rule = f"training images must be of several classes, all {self.count} are of one"
            raise DataError(f"{self.name}: {rule}")

    def _label(self, index: int, example: Any) -> int:
        label = int(example[self.label])
        if not 0 <= label < self.classes:
            rule = f"labels must lie in 0..{self.classes - 1}, got {label} (is the split labelled?)"
            raise DataError(f"{self._place(index)}: {rule}")
        return label

    def files(self) -> list[Path]:
        """Return the shards of the split, in order."""
        return [Path(part.filename) for part in self._parts()]

    def _parts(self) -> Sequence[Any]:
        return self.source.dataset_info.splits[self.split].file_instructions  # type: ignore[no-any-return]

    def _place(self, index: int) -> str:
        """Name an example for people: its set, shard, and number in the shard, from 0."""
        for part in self._parts():
            if index < part.take:
                return f"{self.name}: {Path(part.filename).name}, record {part.skip + index}"
            index -= part.take
        return f"{self.name}: split {self.split!r}, record {index}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """An image classification set that is streamed; every image is shown as side x side RGB pixels."""

    name: str
    train: Records
    test: Records
    classes: int
    side: int
    mean: tuple[float, ...]  # per channel, of pixels scaled to 0..1
    std: tuple[float, ...]
    digest: str  # sha256 (hex): see `digest_of`

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return len(self.train)

    @property
    def test_examples(self) -> int:
        """Number of test examples."""
        return len(self.test)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        return self.side, self.side, 3

    def train_batches(self, order_N: np.ndarray, positions: range, words: Sequence[int], batch_size: int) -> Batches:
        """Yield whole batches of an epoch, each image cropped and flipped at random.

        Args:
            order_N: the epoch's order: which example comes at each position.
            positions: the positions to read.
            words: data of the key of the epoch's crops, as uint32.
        """

        def example(position: int, out_HWC: np.ndarray) -> int:
            pixels_HWC, label = self.train.read(int(order_N[position]))
            height, width, _ = pixels_HWC.shape
            _show(pixels_HWC, crops.training_crop(height, width, self.side, Draws(words, position)), out_HWC)
            return label

        return in_batches(example, positions, batch_size, self.side)

    def test_batches(self, batch_size: int) -> Batches:
        """Yield the centres of all test images, in the order of the split; the last batch may be smaller."""

        def example(index: int, out_HWC: np.ndarray) -> int:
            pixels_HWC, label = self.test.read(index)
            height, width, _ = pixels_HWC.shape
            _show(pixels_HWC, crops.centre_crop(height, width, self.side), out_HWC)
            return label

        return in_batches(example, range(self.test_examples), batch_size, self.side)


def open_stream(train: Records, test: Records, side: int, moments: Moments, folder: Path) -> Stream:
    """Return a set as a stream, after decoding the first image of each split and looking at some labels.

    Args:
        moments: mean and standard deviation per channel, of pixels scaled to 0..1.
        folder: of the prepared set, with its metadata.

    Raises:
        DataError: a shard is missing, a first image is of no use, or so are labels.
    """
    digest = digest_of(train, test, (side, moments), folder)
    for records in (train, test):
        records.read(0)
        records.check_labels(several=records is train)
    (mean, std), name, classes = moments, train.name, train.classes
    return Stream(name=name, train=train, test=test, classes=classes, side=side, mean=mean, std=std, digest=digest)


def digest_of(train: Records, test: Records, settings: tuple[Any, ...], folder: Path) -> str:
    """Return a sha256 (hex) that stands for the pixels of a streamed set, without reading them.

    It covers the name and size of every shard, the metadata of TFDS (bytes and examples of every shard, classes), which examples
    are used, what is done to an image, and what decides the bits that OpenCV decodes: its version, its JPEG library, and the
    instructions that it uses of this processor. It does not cover the content of the shards, which may be 150 GB: an image that
    is replaced by one of exactly the same size goes unnoticed.

    Raises:
        DataError: a shard is missing.
    """
    hashed = hashlib.sha256(repr((_decoder(), _TRANSFORM, settings)).encode())
    for records in (train, test):
        hashed.update(repr((records.split, records.image, records.label, records.count, records.classes)).encode())
        for file in records.files():
            if not file.is_file():
                raise DataError(f"{records.name}: the shard {file} is missing; prepare the set again")
            hashed.update(repr((file.name, file.stat().st_size)).encode())
    for metadata in ("dataset_info.json", "features.json"):
        hashed.update((folder / metadata).read_bytes())
    return hashed.hexdigest()


def _decoder() -> tuple[str, ...]:
    import cv2

    jpeg = [line.split() for line in cv2.getBuildInformation().splitlines() if line.lstrip().startswith("JPEG:")]
    return cv2.__version__, " ".join(sum(jpeg, [])), cv2.getCPUFeaturesLine()


def _show(pixels_HWC: np.ndarray, crop: Crop, out_HWC: np.ndarray) -> None:
    """Write the crop of a decoded image, resized by cubic interpolation, as RGB."""
    import cv2

    part_HWC = pixels_HWC[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    shown_HWC = cv2.resize(part_HWC, out_HWC.shape[:2], interpolation=cv2.INTER_CUBIC)
    if crop.is_flipped:
        shown_HWC = cv2.flip(shown_HWC, 1)
    cv2.cvtColor(shown_HWC, cv2.COLOR_BGR2RGB, dst=out_HWC)
