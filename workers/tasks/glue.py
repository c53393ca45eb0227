"""Fine-tuning ALBERT on a task of GLUE: its programs, and the task; `workers.glue.training` trains them.

training = Glue().build(program, load)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from workers.config import added, is_inside, require
from workers.contracts import Load
from workers.glue.albert import AlbertProgram
from workers.glue.texts import GlueTexts

if TYPE_CHECKING:
    from workers.glue.training import GlueTraining


@dataclass(frozen=True, kw_only=True)
class GlueProgram(AlbertProgram):
    """ALBERT with a linear head, trained on the sentences of a task of GLUE."""

    data: GlueTexts  # the task and its sentences
    weights: str | None = None  # pre-trained: a .safetensors file or a TensorFlow checkpoint; null: from scratch

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = self.weights is None or is_inside(self.weights)
        require(inside, "weights", "be a path inside the data directory, or null", self.weights)
        named = self.weights is None or self.data.vocabulary is not None
        require(named, "data.vocabulary", "name the vocabulary of weights, a SentencePiece file", self.data.vocabulary)


@dataclass(frozen=True, kw_only=True)
class Glue:
    """A task of GLUE, by the score that the paper reports of it."""

    program: ClassVar = GlueProgram
    kind: Literal["glue"] = "glue"
    segment_examples: int = 8000  # examples between two records; what remains of the last batch is left out
    save_every_steps: int | None = added(None)  # a segment can be left after so many; null: only after all

    def __post_init__(self) -> None:
        require(self.segment_examples >= 1, "segment_examples", "be at least 1", self.segment_examples)
        holds = self.save_every_steps is None or self.save_every_steps >= 1
        require(holds, "save_every_steps", "be at least 1, or null", self.save_every_steps)

    def build(self, program: GlueProgram, load: Load) -> GlueTraining:
        """Bind the task to a program and its data."""
        from workers.glue.training import bound_glue  # JAX, which reading a spec does not need

        return bound_glue(self, program, load)
