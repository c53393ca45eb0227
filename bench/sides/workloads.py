"""A program with the shape of its images, and noise in that shape, so nothing has to be downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.data import Dataset
from workers.tasks.classify import ClassifyProgram


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A program, the shape of its images, and the steps of a round, at most those of an epoch."""

    program: ClassifyProgram
    shape: tuple[int, int, int]  # height, width, channels
    classes: int
    steps: int

    @property
    def label(self) -> str:
        """Network, size of the images and batch, such as "wide_resnet 10-1, 16x16x3, batch 32"."""
        given: Any = self.program.model
        size = "-".join(f"{getattr(given, name):g}" for name in ("depth", "width", "alpha") if hasattr(given, name))
        return f"{given.kind} {size}, {'x'.join(map(str, self.shape))}, batch {self.program.batch_size}"


def noise(workload: Workload, seed: int = 0) -> Dataset:
    """Return a data set of as many uint8 images as a round trains."""
    random, examples = np.random.default_rng(seed), workload.program.batch_size * workload.steps
    channels = workload.shape[2]
    return Dataset(
        name="noise",
        train_images=random.integers(256, size=(examples, *workload.shape), dtype=np.uint8),
        train_labels=random.integers(workload.classes, size=examples, dtype=np.int32),
        test_images=np.zeros((1, *workload.shape), np.uint8),
        test_labels=np.zeros(1, np.int32),
        classes=workload.classes,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
