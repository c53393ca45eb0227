"""The operations of AutoAugment on one image, with Pillow's arithmetic.

    operate(pixels_HW4, operation("Rotate", -6, (32, 32)))

An operation with its magnitude is data, computed on the host: the numbers of three steps that are the same for all
operations. So a batch in which each image has an operation of its own costs one gather of pixels, one blend and one look-up.
Pixels are RGBA: alpha is 0 where a shear, a shift or a rotation found nothing, and 255 elsewhere.

The results equal those of Pillow (`Image.transform` with nearest resampling, `ImageOps`, `ImageEnhance`) but for rounding, by
at most one grey level: AutoContrast at 0.4 % of all pairs of a range and a value, and a blend by 1.18 at 0.2 % of all pairs of
pixels, where the exact value is a whole number and Pillow's float falls short of it. All arithmetic here is on integers, so
that every device computes the same bits.

Axes: H height, W width, 4 red, green, blue and alpha, 3 the first of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ONE = 1 << 16  # Pillow's fixed point has 16 fractional bits
_BLACK, _GREYS, _MEAN, _SMOOTH = range(4)
_GIVEN, _STRETCHED, _EQUALIZED = range(3)
_VALUES = np.arange(256, dtype=np.uint8)

Sides = tuple[int, int]  # height and width of an image, in pixels


class Operation(NamedTuple):
    """The numbers of the three steps; arrays of them have further axes in front."""

    matrix: Any  # i32[6]: the pixel at (x, y) comes from (ax + by + c, dx + ey + f), in 1/65536 pixel
    partner: Any  # i32[]: what the image is blended with: black, its greys, their mean, or the smoothed image
    share: Any  # i32[]: weight of the image in the blend, in 1/65536; the partner has the rest
    table: Any  # u8[256]: new value of each value
    measured: Any  # i32[]: whether the table is the given one, or depends on the image
    opaque: Any  # bool[]: whether pixels without a source become black


def operation(name: str, magnitude: float, sides: Sides) -> Operation:
    """Return an operation for images of the given height and width.

    Args:
        magnitude: of ShearX and ShearY a slope; of TranslateX and TranslateY pixels; of Rotate degrees, counter-clockwise; of
            Solarize the least value that is inverted; of Posterize the bits that stay; of Color, Contrast, Brightness and
            Sharpness the factor, 1 for no change. AutoContrast, Equalize and Invert have none.
    """
    nothing = Operation(
        matrix=_fixed((1, 0, 0, 0, 1, 0)),
        partner=np.int32(_BLACK),
        share=np.int32(_ONE),
        table=_VALUES,
        measured=np.int32(_GIVEN),
        opaque=np.bool_(False),
    )
    return nothing._replace(**_CHANGES[name](magnitude, sides))


def _fixed(matrix: tuple[float, ...]) -> np.ndarray:
    """Return an affine matrix in fixed point, its origin at the centre of the first pixel."""
    a, b, c, d, e, f = matrix
    centred = (a, b, c + a / 2 + b / 2, d, e, f + d / 2 + e / 2)
    return np.array([math.floor(value * _ONE + 0.5) for value in centred], np.int32)


def _rotation(degrees: float, sides: Sides) -> np.ndarray:
    """Return the matrix of a rotation about the centre, as `Image.rotate` computes it."""
    y, x = (side / 2 for side in sides)
    cosine, sine = (round(of(-math.radians(degrees)), 15) for of in (math.cos, math.sin))
    return _fixed((cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y))


def _blend(partner: int, factor: float) -> dict[str, Any]:
    return {"partner": np.int32(partner), "share": np.int32(round(factor * _ONE))}


def _table(table: np.ndarray, measured: int = _GIVEN) -> dict[str, Any]:
    return {"table": table.astype(np.uint8), "measured": np.int32(measured), "opaque": np.bool_(True)}


_CHANGES: Mapping[str, Callable[[float, Sides], dict[str, Any]]] = {
    "Nothing": lambda _, sides: {},
    "ShearX": lambda slope, sides: {"matrix": _fixed((1, slope, 0, 0, 1, 0))},
    "ShearY": lambda slope, sides: {"matrix": _fixed((1, 0, 0, slope, 1, 0))},
    "TranslateX": lambda pixels, sides: {"matrix": _fixed((1, 0, pixels, 0, 1, 0))},
    "TranslateY": lambda pixels, sides: {"matrix": _fixed((1, 0, 0, 0, 1, pixels))},
    "Rotate": lambda degrees, sides: {"matrix": _rotation(degrees, sides)},
    "Brightness": lambda factor, sides: _blend(_BLACK, factor),
    "Color": lambda factor, sides: _blend(_GREYS, factor),
    "Contrast": lambda factor, sides: _blend(_MEAN, factor),
    "Sharpness": lambda factor, sides: _blend(_SMOOTH, factor),
    "Invert": lambda _, sides: _table(255 - _VALUES),
    "Solarize": lambda threshold, sides: _table(np.where(threshold > _VALUES, _VALUES, 255 - _VALUES)),
    "Posterize": lambda bits, sides: _table(_VALUES & (256 - 2 ** (8 - int(bits)))),
    "AutoContrast": lambda _, sides: _table(_VALUES, _STRETCHED),
    "Equalize": lambda _, sides: _table(_VALUES, _EQUALIZED),
}


def operate(pixels_HW4: jax.Array, operation: Operation) -> jax.Array:
    """Return one image, uint8 RGBA, after an operation."""
    moved_HW4 = _moved(pixels_HW4, operation.matrix)
    blended_HW3 = _blended(moved_HW4[..., :3].astype(jnp.int32), operation.partner, operation.share)
    mapped_HW3 = _mapped(blended_HW3, operation.table, operation.measured)
    alpha_HW1 = jnp.where(operation.opaque, jnp.uint8(255), moved_HW4[..., 3:])
    return jnp.concatenate([mapped_HW3, alpha_HW1], axis=-1)


def _moved(pixels_HW4: jax.Array, matrix: jax.Array) -> jax.Array:
    """Return the image with each pixel taken from where the matrix says; nothing, (0, 0, 0, 0), from outside."""
    height, width, _ = pixels_HW4.shape
    y_H1, x_1W = jnp.arange(height)[:, None], jnp.arange(width)[None]
    column_HW = (matrix[0] * x_1W + matrix[1] * y_H1 + matrix[2]) >> 16
    row_HW = (matrix[3] * x_1W + matrix[4] * y_H1 + matrix[5]) >> 16
    inside_HW = (column_HW >= 0) & (column_HW < width) & (row_HW >= 0) & (row_HW < height)
    source_HW = jnp.where(inside_HW, row_HW * width + column_HW, 0)
    words_HW = lax.bitcast_convert_type(pixels_HW4, jnp.uint32).reshape(-1)  # four bytes are fetched at once
    found_HW = words_HW.at[source_HW].get(mode="promise_in_bounds")
    return lax.bitcast_convert_type(jnp.where(inside_HW, found_HW, 0), jnp.uint8)


def _blended(values_HW3: jax.Array, partner: jax.Array, share: jax.Array) -> jax.Array:
    """Return uint8 partner + share * (values - partner), rounded down and clipped."""
    height, width, _ = values_HW3.shape
    greys_HW1 = ((values_HW3 * jnp.array([19595, 38470, 7471])).sum(axis=-1, keepdims=True) + _ONE // 2) >> 16
    mean = lax.div(2 * greys_HW1.sum() + height * width, 2 * height * width)
    partner_HW3 = jnp.where(partner == _GREYS, greys_HW1, jnp.where(partner == _MEAN, mean, 0))
    partner_HW3 = jnp.where(partner == _SMOOTH, _smooth(values_HW3), partner_HW3)
    # Factors have two decimals: a hundredth of a level more lets exact whole numbers survive the rounding of the share.
    scaled_HW3 = partner_HW3 * _ONE + share * (values_HW3 - partner_HW3) + _ONE // 100
    return jnp.clip(scaled_HW3 >> 16, 0, 255).astype(jnp.uint8)


def _smooth(values_HW3: jax.Array) -> jax.Array:
    """Return Pillow's SMOOTH: the mean of nine pixels in which the middle counts five times; borders stay."""
    inner = values_HW3[1:-1, 1:-1]
    three = values_HW3[:-2] + values_HW3[1:-1] + values_HW3[2:]
    sums = three[:, :-2] + three[:, 1:-1] + three[:, 2:] + 4 * inner
    return values_HW3.at[1:-1, 1:-1].set(lax.div(2 * sums + 13, jnp.full_like(sums, 26)))


def _mapped(values_HW3: jax.Array, table_V: jax.Array, measured: jax.Array) -> jax.Array:
    """Return the values, uint8, each replaced by its entry in the table, given or measured on the channel.

    A measured table is a fraction. Stretched, the least value becomes 0 and the greatest 255; equalized, the values become
    evenly frequent. A channel with a single value stays, and so does one with too few pixels to equalize.
    """
    height, width, _ = values_HW3.shape
    at_HW3 = np.arange(3) * 256 + values_HW3.astype(jnp.int32)
    counts_3V = jnp.zeros(3 * 256, jnp.int32).at[at_HW3.reshape(-1)].add(1, mode="promise_in_bounds").reshape(3, 256)
    least_31 = values_HW3.min(axis=(0, 1)).astype(jnp.int32)[:, None]
    greatest_31 = values_HW3.max(axis=(0, 1)).astype(jnp.int32)[:, None]
    values_V = _VALUES.astype(np.int32)
    brightest_31 = jnp.where(values_V == greatest_31, counts_3V, 0).sum(axis=1, keepdims=True)
    step_31 = lax.div(height * width - brightest_31, jnp.full_like(brightest_31, 255))
    below_3V = jnp.cumsum(counts_3V, axis=1) - counts_3V
    is_equalized = measured == _EQUALIZED
    above_3V = jnp.where(
        is_equalized, step_31 // 2 + below_3V, 255 * (jnp.clip(values_V, least_31, greatest_31) - least_31)
    )
    by_31 = jnp.where(is_equalized, step_31, greatest_31 - least_31)
    found_3V = lax.div(above_3V, jnp.broadcast_to(jnp.maximum(by_31, 1), above_3V.shape))
    keeps_31 = (measured == _GIVEN) | (by_31 == 0)
    table_3V = jnp.where(keeps_31, table_V, jnp.minimum(found_3V, 255).astype(jnp.uint8))
    return table_3V.reshape(-1).at[at_HW3].get(mode="promise_in_bounds")
