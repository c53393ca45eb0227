"""Pre-training ALBERT as a masked language model: its programs, and the task; `workers.pretraining` trains them.

training = MaskedLm().build(program, load)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from workers.config import require
from workers.contracts import Load
from workers.glue.albert import AlbertProgram
from workers.pretraining.plain_texts import PlainTexts

if TYPE_CHECKING:
    from workers.pretraining.training import MaskedLmTraining


@dataclass(frozen=True, kw_only=True)
class MaskedLmProgram(AlbertProgram):
    """ALBERT from scratch, trained to guess masked pieces of lines of text."""

    data: PlainTexts  # the lines


@dataclass(frozen=True, kw_only=True)
class MaskedLm:
    """A masked language model, compared by the share of masked pieces that it guesses; the order of sentences is not trained."""

    program: ClassVar = MaskedLmProgram
    kind: Literal["masked_lm"] = "masked_lm"
    segment_examples: int = 64_000  # lines between two records; what remains of the last batch is left out
    masked: float = 0.15  # share of a line's pieces that are masked, rounded, and at least one
    save_every_steps: int | None = None  # a segment can be left after so many; null: 1000

    def __post_init__(self) -> None:
        require(self.segment_examples >= 1, "segment_examples", "be at least 1", self.segment_examples)
        require(0 < self.masked < 1, "masked", "lie in (0, 1)", self.masked)
        holds = self.save_every_steps is None or self.save_every_steps >= 1
        require(holds, "save_every_steps", "be at least 1, or null", self.save_every_steps)

    def build(self, program: MaskedLmProgram, load: Load) -> MaskedLmTraining:
        """Bind the task to a program and its data."""
        from workers.pretraining.training import bound_masked_lm  # JAX, which reading a spec does not need

        return bound_masked_lm(self, program, load)
