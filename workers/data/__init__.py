"""Data sources: decoded arrays on the host, with their metadata.

Axes: N examples, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class DataError(ValueError):
    """A data set is missing, not prepared, of the wrong kind or too small; the message says what to do."""


class DataMissing(DataError):
    """A data set is not on this machine, or no directory is given; the message says what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A decoded image classification set. Images are uint8 (0..255, scaled by 1/255 on the device) or float32."""

    name: str
    train_images: np.ndarray  # uint8 or float32[N, H, W, C]
    train_labels: np.ndarray  # int32[N]
    test_images: np.ndarray  # as train_images
    test_labels: np.ndarray  # int32[N]
    classes: int
    mean: tuple[float, ...]  # per channel, of the scaled pixels
    std: tuple[float, ...]  # per channel; the model receives (pixel - mean) / std

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return len(self.train_labels)

    @property
    def test_examples(self) -> int:
        """Number of test examples."""
        return len(self.test_labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over dtype, shape and bytes of the four arrays, and over classes, mean and std."""
        hashed = hashlib.sha256(repr((self.classes, self.mean, self.std)).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            hashed.update(f"{array.dtype.str}{array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()
