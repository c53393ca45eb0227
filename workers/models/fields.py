"""Fields that several models have, and their rules."""

from __future__ import annotations

from workers.config import require


def check_norm_examples(examples: int | None) -> None:
    """Raise if a number of images in a group is not possible."""
    require(examples is None or examples >= 1, "norm_examples", "be at least 1, or null", examples)


def check_sides(kind: str, shape: tuple[int, int, int], divisor: int) -> None:
    """Raise if a side of images (height, width, channels) is not divisible, so a strided network would not fit."""
    height, width, _ = shape
    if height % divisor or width % divisor:
        rule = f"the sides of an image must be divisible by {divisor}, got {height} x {width}"
        raise ValueError(f"model {kind}: {rule}")
