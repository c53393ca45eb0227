"""Fields that several models have, and their rules."""

from __future__ import annotations

from typing import Literal, get_args

from workers.config import require

# Initial distributions by their names in jax.nn.initializers. `he_normal_fan_out` is that of the training code that the paper
# builds on: a normal distribution, not truncated, of variance 2 / (side^2 * channels out).
Initialisation = Literal[
    "he_normal_fan_out", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform"
]
Shortcut = Literal["pool_and_pad", "convolution"]


def check_choice(choice: str, name: str, choices: object) -> None:
    """Raise unless the value of a field is one of a literal type's."""
    require(choice in get_args(choices), name, f"be one of {', '.join(get_args(choices))}", choice)


def check_norm_examples(examples: int | None) -> None:
    """Raise if a number of images in a group is not possible."""
    require(examples is None or examples >= 1, "norm_examples", "be at least 1, or null", examples)


def check_sides(kind: str, shape: tuple[int, int, int], divisor: int) -> None:
    """Raise if a side of images (height, width, channels) is not divisible, so a strided network would not fit."""
    height, width, _ = shape
    if height % divisor or width % divisor:
        rule = f"the sides of an image must be divisible by {divisor}, got {height} x {width}"
        raise ValueError(f"model {kind}: {rule}")
