"""How training images are augmented; `workers.data.augmentation` does it on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workers.config import added, require


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random augmentation of each training image, drawn again every epoch and applied in this order."""

    policy: Literal["none", "autoaugment"] = added("none")  # AutoAugment's for CIFAR-10, of uint8 RGB images
    flip: bool = False  # left to right, with probability 1/2
    crop: int = 0  # pixels: shift by up to this much in both axes, filled by reflection
    roll: int = 0  # pixels: cyclic shift by up to this much in both axes
    noise: float = 0.0  # standard deviation of Gaussian noise added to the standardised pixels
    cutout: int = added(0)  # pixels: side of a square set to zero after all else, at one random place in each batch

    def __post_init__(self) -> None:
        require(self.policy in ("none", "autoaugment"), "policy", "be 'none' or 'autoaugment'", self.policy)
        require(self.crop >= 0, "crop", "be at least 0", self.crop)
        require(self.roll >= 0, "roll", "be at least 0", self.roll)
        require(math.isfinite(self.noise) and self.noise >= 0, "noise", "be finite and at least 0", self.noise)
        require(self.cutout >= 0, "cutout", "be at least 0", self.cutout)


def check_augment(augment: Augment, shape: tuple[int, int, int], dtype: np.dtype) -> None:
    """Raise if the images do not suit the augmentation; `shape` is (height, width, channels) of one."""
    sides, channels = shape[:2], shape[2]
    if augment.crop >= min(sides):
        raise ValueError(f"augment.crop must be below the image's sides {sides}, got {augment.crop}")
    if augment.cutout > min(sides):
        raise ValueError(f"augment.cutout must be at most the image's sides {sides}, got {augment.cutout}")
    if augment.policy != "none" and (dtype != np.uint8 or channels != 3):
        got = f"{augment.policy!r} for {dtype} with {channels} channel{'s' * (channels != 1)}"
        raise ValueError(f"augment.policy must be 'none' unless images are uint8 with 3 channels, got {got}")
