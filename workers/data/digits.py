"""Handwritten digits that ship with scikit-learn (1,797 images, 8x8, 16 grey levels), single or in pairs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from workers.config import require
from workers.data import DataError, Dataset

_EXAMPLES = 1797
_WHITE = 16.0  # largest grey level
_TEST_DIGITS = 500  # digits used for test pairs; the other 1,297 are for training pairs
_MEAN, _STD = (0.3,), (1.0,)  # grey levels 0..1 become -0.3..0.7


Labelled = tuple[np.ndarray, np.ndarray]  # images, labels


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Single digits, in ten classes."""

    kind: Literal["digits"] = "digits"
    test: int = 500  # images kept for testing
    seed: int = 0  # of the split

    def __post_init__(self) -> None:
        require(1 <= self.test < _EXAMPLES, "test", f"lie in 1..{_EXAMPLES - 1}", self.test)
        require(self.seed >= 0, "seed", "be at least 0", self.seed)

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The arrays; nothing is read from `data_dir`."""
        train, test = _split(self.test, np.random.default_rng(self.seed))
        return _dataset("digits", train, test, classes=10)


@dataclass(frozen=True, kw_only=True)
class DigitPairs:
    """Two digits side by side, 8x16, labelled 00 to 99; test pairs use digits that are not in training pairs."""

    kind: Literal["digit_pairs"] = "digit_pairs"
    train: int = 1500  # pairs
    test: int = 1000  # pairs
    seed: int = 0  # of the split and of the pairs

    def __post_init__(self) -> None:
        require(self.train >= 1, "train", "be at least 1", self.train)
        require(self.test >= 1, "test", "be at least 1", self.test)
        require(self.seed >= 0, "seed", "be at least 0", self.seed)

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The arrays; nothing is read from `data_dir`."""
        random = np.random.default_rng(self.seed)
        train, test = _split(_TEST_DIGITS, random)
        return _dataset("digit_pairs", _pairs(*train, self.train, random), _pairs(*test, self.test, random), 100)


def _split(test: int, random: np.random.Generator) -> tuple[Labelled, Labelled]:
    """Return (images, labels) for training and for testing, in random order."""
    images, labels = _read()
    order = random.permutation(len(labels))
    scaled = (images.reshape(-1, 8, 8, 1) / _WHITE).astype(np.float32)[order]
    labels = labels.astype(np.int32)[order]
    return (scaled[test:], labels[test:]), (scaled[:test], labels[:test])


def _read() -> Labelled:
    """Return scikit-learn's images f64[N, 64] and labels, from its file: importing it takes 1.5 s of processor time."""
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError("digits: scikit-learn must be installed, whose data they are")
    table = np.loadtxt(Path(package.submodule_search_locations[0]) / "datasets/data/digits.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1]


def _pairs(images: np.ndarray, labels: np.ndarray, count: int, random: np.random.Generator) -> Labelled:
    left, right = random.integers(len(labels), size=(2, count))
    return np.concatenate([images[left], images[right]], axis=2), 10 * labels[left] + labels[right]


def _dataset(name: str, train: Labelled, test: Labelled, classes: int) -> Dataset:
    return Dataset(
        name=name,
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        classes=classes,
        mean=_MEAN,
        std=_STD,
    )
