"""Wide residual networks (Zagoruyko and Komodakis, arXiv 1605.07146), as in the training code that the paper builds on.

The paper's WRN 28-10 (CIFAR) is depth 28 and width 10, WRN 16-8 (SVHN) depth 16 and width 8. Its shortcuts have no
parameters: they average-pool and pad with zeros. Those of the original WRN are 1x1 convolutions of the activated input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import added, require
from workers.models.fields import Initialisation, Shortcut, check_choice, check_norm_examples, check_sides

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class WideResnet:
    """Three groups of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times `width` channels."""

    kind: Literal["wide_resnet"] = "wide_resnet"
    depth: int = 28  # 6 n + 4 layers, in n blocks a group
    width: int = 10  # multiple of 16, 32 and 64 channels
    init: Initialisation = added("he_normal_fan_out")  # of the convolutions
    shortcut: Shortcut = added("pool_and_pad")  # where the shape changes: without parameters, or a 1x1 convolution
    norm_examples: int | None = added(None)  # images that share batch statistics in training; null for the whole batch
    remat: bool = added(False)  # compute the activations of each block again in the backward pass, to save memory

    def __post_init__(self) -> None:
        require(self.depth >= 10 and self.depth % 6 == 4, "depth", "be 10, 16, 22, 28 or so on, 6 n + 4", self.depth)
        require(self.width >= 1, "width", "be at least 1", self.width)
        check_choice(self.init, "init", Initialisation)
        check_choice(self.shortcut, "shortcut", Shortcut)
        check_norm_examples(self.norm_examples)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import layers, wide_resnet  # Flax, which reading a spec does not need

        check_sides(self.kind, shape, 4)
        return layers.in_groups(wide_resnet.WideResnetNet(self, shape, classes, rngs), self.norm_examples)
