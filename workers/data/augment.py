"""Augmentation on the device: flip, crop and roll are a single gather, drawn from a key.

Axes: N examples, B batch, H height, W width, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from workers.config import require


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random augmentation of each training image, drawn again every epoch and applied in this order."""

    flip: bool = False  # left to right, with probability 1/2
    crop: int = 0  # pixels: shift by up to this much in both axes, filled by reflection
    roll: int = 0  # pixels: cyclic shift by up to this much in both axes
    noise: float = 0.0  # standard deviation of Gaussian noise added to the standardised pixels

    def __post_init__(self) -> None:
        require(self.crop >= 0, "crop", "be at least 0", self.crop)
        require(self.roll >= 0, "roll", "be at least 0", self.roll)
        require(math.isfinite(self.noise) and self.noise >= 0, "noise", "be finite and at least 0", self.noise)


def check_augment(augment: Augment, shape: tuple[int, int, int]) -> None:
    """Raise if the images are too small for the augmentation; `shape` is (height, width, channels)."""
    if augment.crop >= min(shape[:2]):
        raise ValueError(f"augment.crop must be below the image's sides {shape[:2]}, got {augment.crop}")


def select(images_NHWC: jax.Array, chosen_B: jax.Array, augment: Augment, key: jax.Array) -> jax.Array:
    """Return the chosen images, each flipped, then cropped, then rolled by its own random amounts."""
    if not (augment.flip or augment.crop or augment.roll):
        return images_NHWC[chosen_B]
    _, height, width, _ = images_NHWC.shape
    flip_key, crop_key, roll_key = jax.random.split(key, 3)
    batch = chosen_B.shape[0]
    crops_2B1 = jax.random.randint(crop_key, (2, batch, 1), -augment.crop, augment.crop + 1)
    rolls_2B1 = jax.random.randint(roll_key, (2, batch, 1), -augment.roll, augment.roll + 1)
    rows_BH = _source(jnp.arange(height)[None], rolls_2B1[0], crops_2B1[0], height)
    columns_BW = _source(jnp.arange(width)[None], rolls_2B1[1], crops_2B1[1], width)
    if augment.flip:
        flipped_B1 = jax.random.bernoulli(flip_key, 0.5, (batch, 1))
        columns_BW = jnp.where(flipped_B1, width - 1 - columns_BW, columns_BW)
    at = (chosen_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :])
    return images_NHWC.at[at].get(mode="promise_in_bounds")


def _source(target_1S: jax.Array, roll_B1: jax.Array, crop_B1: jax.Array, side: int) -> jax.Array:
    """Return the source index of each target pixel along one axis: undo the roll, then the reflecting crop."""
    shifted = (target_1S - roll_B1) % side + crop_B1
    last = side - 1
    return last - jnp.abs(last - jnp.abs(shifted))
