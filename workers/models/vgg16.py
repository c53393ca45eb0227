"""VGG-16 for small images (Simonyan and Zisserman, arXiv 1409.1556, configuration D): thirteen convolutions, no batch norm.

The paper says only that its VGG-16 has no batch norm; head and initialisation are our choice: one dense layer, as usual for
CIFAR, and He-normal convolutions by default, as deep plain networks need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import added, require
from workers.models.fields import Initialisation, check_choice

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class Vgg16:
    """VGG-16 with widths w, 2w, 4w, 8w, 8w; a pool is skipped if a side is odd."""

    kind: Literal["vgg16"] = "vgg16"
    width: int = 64  # channels of the first convolution
    init: Initialisation = added("he_normal")  # of the convolutions; the dense layer is LeCun-normal

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)
        check_choice(self.init, "init", Initialisation)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import vgg16  # Flax, which reading a spec does not need

        return vgg16.Vgg16Net(self, shape, classes, rngs)
