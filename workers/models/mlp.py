"""A plain network of dense layers, for small observations and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.config import require

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """Dense layers with ReLU, all of one width, over the flattened image."""

    kind: Literal["mlp"] = "mlp"
    width: int = 128  # features of each layer
    layers: int = 2  # before the last one

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", "be at least 1", self.width)
        require(self.layers >= 1, "layers", "be at least 1", self.layers)

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network for images of the given shape (height, width, channels)."""
        from workers.networks import mlp  # Flax, which reading a spec does not need

        return mlp.MlpNet(self, shape, classes, rngs)
