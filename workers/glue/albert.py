"""ALBERT (Lan et al., arXiv 1909.11942): its sizes. The network is in `workers.glue.network`, which needs JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.config import Program, require

_MOST_WIDTH = 65_536
_MOST_VOCABULARY = 2_000_000
_MOST_LAYERS = 2000


@dataclass(frozen=True, kw_only=True)
class Albert:
    """ALBERT; the defaults are those of its base models, version 1 and 2, which differ in how they were pre-trained.

    All layers share one set of weights.
    """

    vocabulary: int = 30_000  # pieces
    embedding: int = 128  # width of the embeddings, which a matrix maps to the width of the layers
    hidden: int = 768  # width of the layers
    layers: int = 12  # times that the one layer is applied
    heads: int = 12  # of attention, which share the width
    intermediate: int = 3072  # width between the two matrices of a layer
    positions: int = 512  # most pieces of an example
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"  # GELU approximated by tanh (gelu_new), or exact

    def __post_init__(self) -> None:
        bounds = {"vocabulary": _MOST_VOCABULARY, "layers": _MOST_LAYERS}
        for name in ("vocabulary", "embedding", "hidden", "layers", "heads", "intermediate", "positions"):
            most, value = bounds.get(name, _MOST_WIDTH), getattr(self, name)
            require(1 <= value <= most, name, f"lie in [1, {most}]", value)
        require(self.hidden % self.heads == 0, "heads", f"divide hidden = {self.hidden}", self.heads)
        holds = self.activation in ("gelu_tanh", "gelu")
        require(holds, "activation", "be 'gelu_tanh' or 'gelu'", self.activation)

    def check_fits(self, pieces: int, longest: int, what: str) -> None:
        """Raise ValueError unless the network has an embedding for each piece and each position.

        Args:
            pieces: number of pieces of the vocabulary.
            longest: pieces of the longest example.
            what: an example is called.
        """
        if pieces > self.vocabulary:
            rule = f"model.vocabulary must be at least {pieces}, the number of pieces of data.vocabulary"
            raise ValueError(f"{rule}, got {self.vocabulary}")
        if longest > self.positions:
            rule = f"model.positions must be at least {longest}, the length of the longest {what}"
            raise ValueError(f"{rule}, got {self.positions}; or set data.max_length")


@dataclass(frozen=True, kw_only=True)
class AlbertProgram(Program):
    """What the programs of all tasks with ALBERT have."""

    model: Albert = Albert()  # sizes of the network

    def check_batch(self, batch_size: int, devices: int) -> None:
        """Raise ValueError unless the devices of a worker can share a batch."""
        if batch_size % devices:
            raise ValueError(f"batch_size must be divisible by the {devices} devices of a worker, got {batch_size}")

    def check_segment(self, examples: int) -> None:
        """Raise ValueError unless a segment of so many examples has a batch."""
        if self.batch_size > examples:
            raise ValueError(f"batch_size must be at most task.segment_examples = {examples}, got {self.batch_size}")
