"""Batches of examples that threads make ahead of time, by grain; each thread writes its images into their batch.

Which examples come, and in which order, follows from the arguments alone; the number of threads affects only the speed.
Axes: B batch, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from threading import Lock

import numpy as np

_AHEAD = 2  # batches that are made before they are asked for
_TOGETHER = 4  # examples that a thread makes in one go

Batches = Iterator[tuple[np.ndarray, np.ndarray]]  # uint8[B, H, W, 3] and int32[B]
Example = Callable[[int, np.ndarray], int]  # writes the image at a position, uint8[H, W, 3]; returns its label


def in_batches(example: Example, positions: range, batch_size: int, side: int) -> Batches:
    """Yield batches of examples; threads read and decode the next ones meanwhile."""
    import cv2
    import grain

    cv2.setNumThreads(1)  # one image keeps one thread busy; there are others
    starts = range(0, len(positions), batch_size)
    batches = [_Batch(positions[start : start + batch_size], side) for start in starts]

    def filled(group: tuple[_Batch, range]) -> range:
        batch, places = group
        batch.fill(places, example)
        return places

    threads, each = decoding_threads(), [batch.groups() for batch in batches]
    ahead = max(_AHEAD * len(each[0]), threads) if each else threads
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    data = grain.MapDataset.source(list(chain.from_iterable(each))).map(filled)
    with closing(iter(data.to_iter_dataset(options))) as done:
        for batch, groups in zip(batches, each, strict=True):
            for _ in groups:
                next(done)
            yield batch.taken()


def decoding_threads() -> int:
    """Return the number of threads that decode: as many as compute on CPU, where workers share the cores, else one a core."""
    import jax  # here, because reading a spec does without

    computing = os.environ.get("NPROC", "")
    if computing.isdecimal() and jax.default_backend() == "cpu":
        return max(1, int(computing))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Batch:
    """The arrays of one batch, which threads fill group by group; they exist from the first group until they are taken."""

    def __init__(self, positions: range, side: int) -> None:
        self._positions, self._side, self._lock = positions, side, Lock()
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    def groups(self) -> list[tuple[_Batch, range]]:
        """Return what a thread does in one go, as arguments of `fill`."""
        every = range(len(self._positions))
        return [(self, every[at : at + _TOGETHER]) for at in range(0, len(every), _TOGETHER)]

    def fill(self, places: range, example: Example) -> None:
        """Read the examples at some places of the batch."""
        with self._lock:
            if self._arrays is None:
                size, side = len(self._positions), self._side
                self._arrays = np.empty((size, side, side, 3), np.uint8), np.empty(size, np.int32)
        pixels_BHWC, labels_B = self._arrays
        for place in places:
            labels_B[place] = example(self._positions[place], pixels_BHWC[place])

    def taken(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the filled arrays, and forget them."""
        assert self._arrays is not None
        arrays, self._arrays = self._arrays, None
        return arrays
