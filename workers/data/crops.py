"""Which part of an image a stream shows: random crops for training, the centre for tests, as Flax's ImageNet example has them.

The random crop is that of TensorFlow's `sample_distorted_bounding_box` whose object is the whole image: a rectangle with a random
ratio of its sides, a random height and a random place. What is drawn follows from the epoch's key and the example's position in
the epoch alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

AREA = (0.08, 1.0)  # of the image
RATIO = (3 / 4, 4 / 3)  # width / height
COVERED = 0.1  # least part of the object, here of the image, in a crop: the area's first bound is thereby 0.1
ATTEMPTS = 10  # then the centre is taken
PADDING = 32  # the centre is side / (side + PADDING) of the shorter side


class Crop(NamedTuple):
    """A rectangle of an image, in pixels, and whether it is shown as in a mirror."""

    top: int
    left: int
    height: int
    width: int
    is_flipped: bool = False


class Draws:
    """Numbers in [0, 1), one after the other, of the example at a position of an epoch.

    They are raw output of Philox, seeded by `SeedSequence`; NumPy keeps both the same across versions.

    Args:
        words: the data of the epoch's key, as uint32.
    """

    def __init__(self, words: Sequence[int], position: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence((*words, position)))

    def uniform(self) -> float:
        """Return a multiple of 2**-53 in [0, 1)."""
        return float((self._bits.random_raw() >> 11) * 2.0**-53)

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound)."""
        return int(self.uniform() * bound)


def training_crop(height: int, width: int, side: int, draws: Draws) -> Crop:
    """Return a random rectangle of a height x width image, flipped with probability 1/2.

    The centre is taken after `ATTEMPTS` rectangles that do not fit, and instead of a rectangle that is the whole image.
    """
    is_flipped = draws.uniform() < 0.5
    for _ in range(ATTEMPTS):
        crop = _random_rectangle(height, width, draws)
        if crop is not None and crop.height * crop.width >= COVERED * height * width:
            break
    else:
        crop = None
    if crop is None or (crop.height, crop.width) == (height, width):
        crop = centre_crop(height, width, side)
    return crop._replace(is_flipped=is_flipped)


def centre_crop(height: int, width: int, side: int) -> Crop:
    """Return the square in the middle of a height x width image that is shown as side x side pixels."""
    square = max(1, int(side / (side + PADDING) * min(height, width)))
    return Crop((height - square + 1) // 2, (width - square + 1) // 2, square, square)


def _random_rectangle(height: int, width: int, draws: Draws) -> Crop | None:
    """Return a rectangle of random ratio, size and place; None if rounding leaves none (TensorFlow's GenerateRandomCrop)."""
    ratio = RATIO[0] + draws.uniform() * (RATIO[1] - RATIO[0])
    least, most = (bound * height * width for bound in AREA)
    tallest = round(math.sqrt(most / ratio))
    if round(tallest * ratio) > width:
        tallest = int((width + 0.5 - 1e-7) / ratio)
        tallest -= round(tallest * ratio) > width
    tallest = min(tallest, height)
    tall = min(round(math.sqrt(least / ratio)), tallest)
    tall += draws.below(tallest - tall + 1) if tall < tallest else 0
    tall += tall * round(tall * ratio) < least
    tall -= tall * round(tall * ratio) > most
    wide = round(tall * ratio)
    if not (least <= tall * wide <= most and 0 < tall <= height and 0 < wide <= width):
        return None
    top = draws.below(height - tall) if tall < height else 0
    left = draws.below(width - wide) if wide < width else 0
    return Crop(top, left, tall, wide)
