"""AutoAugment's policy for CIFAR-10 on the device (Cubuk et al., 2019, https://arxiv.org/abs/1805.09501, table 7).

Magnitudes are those of the code with which the policy was found, `augmentation_transforms.py` in tensorflow/models: levels 0 to
10, shifts in pixels of a 32x32 image, factors from 0.1 to 1.9 without a sign. Where torchvision differs, for example in
Posterize (it keeps 5 bits at level 7, the original 2) and in the sign of Color, this follows the original.

Axes: B batch, H height, W width, C channels, 2 places in a sub-policy, 4 red, green, blue and alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from workers.data.operations import Operation, Sides, operate, operation

# (operation, probability, level) in the first and the second place.
_SUB_POLICIES = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)
_PROBABILITIES = np.array([[probability for _, probability, _ in places] for places in _SUB_POLICIES], np.float32)

# What stays without a source is the mean of CIFAR-10's training images: about 0 after standardising, where the original writes 0.
_FILL = np.array([125, 123, 114], np.uint8)


def _factor(level: int) -> float:
    return level * 1.8 / 10 + 0.1


_MAGNITUDES: Mapping[str, Callable[[int], float]] = {
    "ShearX": lambda level: level * 0.3 / 10,
    "ShearY": lambda level: level * 0.3 / 10,
    "TranslateX": float,
    "TranslateY": float,
    "Rotate": lambda level: level * 30 // 10,
    "Solarize": lambda level: 256 - level * 256 // 10,
    "Posterize": lambda level: 4 - level * 4 // 10,
    "Color": _factor,
    "Contrast": _factor,
    "Brightness": _factor,
    "Sharpness": _factor,
}
_SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def _variants(name: str, level: int, sides: Sides) -> list[Operation]:
    """Return what can happen in one place: nothing, the operation, and the operation with the other sign."""
    magnitude = _MAGNITUDES[name](level) if name in _MAGNITUDES else 0.0
    other = -magnitude if name in _SIGNED else magnitude
    return [operation("Nothing", 0, sides), operation(name, magnitude, sides), operation(name, other, sides)]


def _all_operations(sides: Sides) -> Operation:
    """Return the operations of all sub-policies as arrays by sub-policy, place and variant."""
    found = [[_variants(name, level, sides) for name, _, level in places] for places in _SUB_POLICIES]
    stacked: Operation = jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(len(found), 2, 3, *leaves[0].shape),
        *[variant for places in found for variants in places for variant in variants],
    )
    return stacked


@jax.jit
def policy(images_BHWC: jax.Array, key: jax.Array) -> jax.Array:
    """Return the images, uint8 RGB, each after its own random sub-policy.

    Pixels that a shear, a shift or a rotation leaves without a source become the mean colour of CIFAR-10, as in the original,
    which keeps them transparent and sets them to zero after standardising. If an operation that drops transparency follows
    (AutoContrast, Equalize, Invert, Posterize, Solarize), they are black before it, also as in the original.
    """
    batch, height, width, _ = images_BHWC.shape
    choice_key, applied_key, sign_key = jax.random.split(key, 3)
    chosen_B = jax.random.randint(choice_key, (batch,), 0, len(_SUB_POLICIES))
    applied_B2 = jax.random.uniform(applied_key, (batch, 2)) < jnp.asarray(_PROBABILITIES)[chosen_B]
    negated_B2 = jax.random.bernoulli(sign_key, 0.5, (batch, 2))
    variant_B2 = jnp.where(applied_B2, 1 + negated_B2, 0)
    pixels_BHW4 = jnp.pad(images_BHWC, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=255)
    index_2B = (chosen_B[None], np.array([[0], [1]]), variant_B2.T)
    drawn_2B = jax.tree.map(lambda leaf: jnp.asarray(leaf)[index_2B], _all_operations((height, width)))

    def place(pixels_BHW4: jax.Array, drawn_B: Operation) -> tuple[jax.Array, None]:
        return jax.vmap(operate)(pixels_BHW4, drawn_B), None

    pixels_BHW4, _ = lax.scan(place, pixels_BHW4, drawn_2B)
    return jnp.where(pixels_BHW4[..., 3:] == 0, _FILL, pixels_BHW4[..., :3])
