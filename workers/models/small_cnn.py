"""A small convolutional network with batch norm and dropout, for small images and quick sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import added, require
from workers.models.fields import Initialisation, check_choice

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class SmallCnn:
    """Two 3x3 convolutions (widths w, 2w), each with batch norm, ReLU and a pool, then dropout and one dense layer."""

    kind: Literal["small_cnn"] = "small_cnn"
    width: int = 16  # channels of the first convolution
    dropout: float = 0.1  # probability of dropping a feature before the dense layer
    init: Initialisation = added("lecun_normal")  # of the convolutions; the dense layer is LeCun-normal

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)
        require(0 <= self.dropout < 1, "dropout", "lie in [0, 1)", self.dropout)
        check_choice(self.init, "init", Initialisation)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import small_cnn  # Flax, which reading a spec does not need

        return small_cnn.SmallCnnNet(self, shape, classes, rngs)
