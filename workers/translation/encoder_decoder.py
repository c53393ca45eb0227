"""An encoder-decoder Transformer: its fields; `workers.translation.network` has the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.config import require


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """A Transformer with norms before its blocks, and one embedding for sources, targets and output, as Flax's WMT example.

    The defaults are the base model of Vaswani et al. (arXiv 1706.03762); the example has width 1024, 16 heads and mlp 4096.
    """

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    layers: int = 6  # of the encoder, and of the decoder
    width: int = 512  # features of a token
    heads: int = 8  # of every attention
    mlp: int = 2048  # features between the two layers of a block after its attention

    def __post_init__(self) -> None:
        require(self.layers >= 1, "layers", "be at least 1", self.layers)
        require(self.width >= 4 and self.width % 2 == 0, "width", "be an even number, at least 4", self.width)
        divides = self.heads >= 1 and self.width % self.heads == 0
        require(divides, "heads", f"be at least 1 and divide width, {self.width}", self.heads)
        require(self.mlp >= 1, "mlp", "be at least 1", self.mlp)
