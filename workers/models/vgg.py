"""VGG-5: four 3x3 convolutions, each followed by ReLU and 2x2 max-pooling, then one dense layer; no batch norm.

The paper names VGG-5 (supplement, figure S6) but does not describe it; this is our interpretation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import require
from workers.models.fields import Initialisation, check_choice

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class Vgg5:
    """VGG-5 with widths w, 2w, 2w, 2w; a pool is also skipped if a side is odd."""

    kind: Literal["vgg5"] = "vgg5"
    width: int = 64  # channels of the first convolution
    pools: tuple[bool, bool, bool, bool] = (True, True, True, True)  # which convolutions are followed by a pool
    init: Initialisation = "lecun_normal"  # of the convolutions; the dense layer is LeCun-normal

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)
        require(len(self.pools) == 4, "pools", "have four entries", self.pools)
        check_choice(self.init, "init", Initialisation)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import vgg  # Flax, which reading a spec does not need

        return vgg.Vgg5Net(self, shape, classes, rngs)
