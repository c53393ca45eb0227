"""Translation: its programs, and the task; `workers.translation` trains them.

training = Translate().build(program, load)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from workers.config import Program, require
from workers.contracts import Load
from workers.translation.encoder_decoder import EncoderDecoder
from workers.translation.text_pairs import TextPairs

if TYPE_CHECKING:
    from workers.translation.training import Translation


@dataclass(frozen=True, kw_only=True)
class TranslateProgram(Program):
    """An encoder-decoder trained to translate sentences. `batch_size` counts tokens: the rows of a batch times their length."""

    model: EncoderDecoder = EncoderDecoder()
    data: TextPairs
    label_smoothing: float = 0.1  # share of a token's target that is spread over all others, in training

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.label_smoothing < 1, "label_smoothing", "lie in [0, 1)", self.label_smoothing)

    def check_batch(self, batch_size: int, devices: int) -> None:
        """Raise ValueError unless a batch has a row of the longest bucket for each device."""
        longest = self.data.buckets[-1]
        if batch_size < longest * devices:
            least = f"{longest} tokens, the longest of data.buckets" + f", times {devices} devices" * (devices > 1)
            raise ValueError(f"batch_size must be at least {least}, got {batch_size}")


@dataclass(frozen=True, kw_only=True)
class Translate:
    """Translation of sentences, compared by BLEU. A segment, which a spec calls an epoch, is a number of steps."""

    program: ClassVar = TranslateProgram
    kind: Literal["translate"] = "translate"
    segment_steps: int = 1000  # steps of a segment at the program's batch size
    bleu_every: int = 1  # segments from one BLEU to the next; records between repeat the last, and 0 before the first
    beams: int = 4  # of the search for a translation
    alpha: float = 0.6  # exponent of its length penalty
    save_every_steps: int | None = None  # a segment can be left after so many; null: 1000

    def __post_init__(self) -> None:
        for name in ("segment_steps", "bleu_every", "beams"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        require(math.isfinite(self.alpha) and self.alpha >= 0, "alpha", "be finite and at least 0", self.alpha)
        holds = self.save_every_steps is None or self.save_every_steps >= 1
        require(holds, "save_every_steps", "be at least 1, or null", self.save_every_steps)

    @property
    def cadence(self) -> int:
        """Segments from one measurement of the metric to the next."""
        return self.bleu_every

    def build(self, program: TranslateProgram, load: Load) -> Translation:
        """Bind the task to a program and its data."""
        from workers.translation.training import bound_translation  # JAX, which reading a spec does not need

        return bound_translation(self, program, load)
