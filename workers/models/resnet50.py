"""ResNet-50, version 1 (He et al., arXiv 1512.03385), as in the Flax ImageNet example that the paper builds on.

The stride of a block is at its 3x3 convolution, and the last batch norm of a block starts at scale 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import added, require
from workers.models.fields import Initialisation, check_choice, check_norm_examples

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class Resnet50:
    """Four stages of bottlenecks with w, 2w, 4w and 8w inner channels.

    Args:
        width: w, 64 in the paper.
        blocks: number of bottlenecks in each stage.
        stem: start with a 7x7 convolution and a max-pool, each of stride 2; without it, for small images, with a 3x3 convolution.
    """

    kind: Literal["resnet50"] = "resnet50"
    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: bool = True
    init: Initialisation = added("lecun_normal")  # of the convolutions; the dense layer is LeCun-normal
    norm_examples: int | None = added(None)  # images that share batch statistics in training; null for the whole batch
    remat: bool = added(False)  # compute the activations of each block again in the backward pass, to save memory

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)
        holds = len(self.blocks) == 4 and all(1 <= count <= 1000 for count in self.blocks)
        require(holds, "blocks", "have four entries from 1 to 1000", self.blocks)
        check_choice(self.init, "init", Initialisation)
        check_norm_examples(self.norm_examples)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import layers, resnet50  # Flax, which reading a spec does not need

        return layers.in_groups(resnet50.Resnet50Net(self, shape, classes, rngs), self.norm_examples)
