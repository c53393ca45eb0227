"""The convolutional network of the DQN paper (Mnih et al., Nature 2015), as in Flax's PPO example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import require

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class NatureCnn:
    """Convolutions 8x8 of stride 4, 4x4 of stride 2 and 3x3 (widths w, 2w, 2w), a dense layer of 16w, each with ReLU."""

    kind: Literal["nature_cnn"] = "nature_cnn"
    width: int = 32  # channels of the first convolution

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import nature_cnn  # Flax, which reading a spec does not need

        return nature_cnn.NatureCnnNet(self, shape, classes, rngs)
