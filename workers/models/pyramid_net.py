"""PyramidNet with bottlenecks and ShakeDrop (Han, Kim and Kim, arXiv 1610.02915; Yamada et al., arXiv 1802.02375).

The paper says only "Shake-Drop PyramidNet"; depth 272 and alpha 200 are the defaults of the training code that it builds on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import added, require
from workers.models.fields import Initialisation, Shortcut, check_choice, check_norm_examples, check_sides

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class PyramidNet:
    """Three groups of (depth - 2) / 9 bottlenecks whose channels grow by `alpha` in equal steps over all of them."""

    kind: Literal["pyramid_net"] = "pyramid_net"
    depth: int = 272  # 9 n + 2 layers, in n bottleneck blocks a group
    alpha: float = 200.0  # channels that all blocks together add
    init: Initialisation = added("he_normal_fan_out")  # of the convolutions
    shortcut: Shortcut = added("pool_and_pad")  # where the shape changes: without parameters, or a 1x1 convolution
    norm_examples: int | None = added(None)  # images that share batch statistics in training; null for the whole batch
    remat: bool = added(False)  # compute the activations of each block again in the backward pass, to save memory

    def __post_init__(self) -> None:
        require(self.depth >= 11 and self.depth % 9 == 2, "depth", "be 11, 20, 29 or so on, 9 n + 2", self.depth)
        require(math.isfinite(self.alpha) and 0 <= self.alpha <= 1e5, "alpha", "lie in [0, 100000]", self.alpha)
        check_choice(self.init, "init", Initialisation)
        check_choice(self.shortcut, "shortcut", Shortcut)
        check_norm_examples(self.norm_examples)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import layers, pyramid_net  # Flax, which reading a spec does not need

        check_sides(self.kind, shape, 4)
        return layers.in_groups(pyramid_net.PyramidNetNet(self, shape, classes, rngs), self.norm_examples)
