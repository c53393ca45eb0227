"""Augmentation on the device, drawn from a key: a policy, then flip, crop and roll in a single gather, then cutout.

Axes: N examples, B batch, H height, W width, C channels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from workers.data import autoaugment
from workers.data.augment import Augment

# Folded into a key that is also split into three. A split's keys are those of the numbers 0, 1 and 2, so this one is new, and
# programs that do not use it draw as they did before it was.
_FOURTH = 3


def select(images_NHWC: jax.Array, chosen_B: jax.Array, augment: Augment, key: jax.Array) -> jax.Array:
    """Return the chosen images, each after the policy, flipped, cropped and rolled by its own random amounts."""
    if augment.policy == "autoaugment":
        images_NHWC = autoaugment.policy(images_NHWC[chosen_B], jax.random.fold_in(key, _FOURTH))
        chosen_B = jnp.arange(chosen_B.shape[0])
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


def cut_out(images_BHWC: jax.Array, augment: Augment, step_key: jax.Array) -> jax.Array:
    """Return the images with one square of zeros, the same in all: cutout (DeVries and Taylor, 2017), once in each batch.

    The square's centre is uniform over the pixels; what lies beyond the border is cut off.
    """
    if not augment.cutout:
        return images_BHWC
    _, height, width, _ = images_BHWC.shape
    row, column = jax.random.randint(jax.random.fold_in(step_key, _FOURTH), (2,), 0, jnp.array([height, width]))
    is_cut_HW = _inside(row, augment.cutout, height)[:, None] & _inside(column, augment.cutout, width)
    return jnp.where(is_cut_HW[..., None], 0, images_BHWC)


def _inside(centre: jax.Array, length: int, side: int) -> jax.Array:
    """Return which pixels along one axis are in the square, bool[side]."""
    offset_S = jnp.arange(side) - (centre - length // 2)
    return (offset_S >= 0) & (offset_S < length)
