"""The training of a masked language model: segments of so many lines, tested on lines that are held out.

training = bound_masked_lm(task, program, load)
training.export(state, folder)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from abel import norms
from workers import mesh, update
from workers.contracts import Load, Metric, Segment
from workers.glue.compiled import GlueState
from workers.glue.weights import write_safetensors
from workers.pretraining import compiled
from workers.pretraining.compiled import MaskedRecipe, MaskedSums, MaskedTests, PlacedLines
from workers.pretraining.plain_texts import EncodedLines, EncodedSplit
from workers.tasks.numbers import as_arrays, hyper_numbers

if TYPE_CHECKING:
    from workers.tasks.masked_lm import MaskedLm, MaskedLmProgram

ACCURACY = "masked_accuracy"
WEIGHTS = "model.safetensors"
VOCABULARY = "spiece.model"
_SAVE_EVERY_STEPS = 1000  # the default: minutes on one accelerator


def bound_masked_lm(task: MaskedLm, program: MaskedLmProgram, load: Load) -> MaskedLmTraining:
    """Return the training of a program over its lines.

    Raises:
        ValueError: the program's parts do not fit its lines or each other.
    """
    program.check_batch(program.batch_size, jax.device_count())
    program.check_segment(task.segment_examples)
    lines: EncodedLines = load(program.data)
    program.model.check_fits(lines.vocabulary.size, lines.width, "line")
    recipe = MaskedRecipe(
        model=program.model,
        optimizer=program.optimizer.static(),
        l2_on=program.l2_on,
        vocabulary=lines.vocabulary.size,
        mask=lines.mask,
        most=max(int(split.to_mask(task.masked).max()) for split in (lines.train, lines.test)),
    )
    return MaskedLmTraining(recipe=recipe, task=task, lines=lines, numbers=hyper_numbers(program))


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedLmTraining:
    """The compiled functions of one program over one set of lines."""

    recipe: MaskedRecipe
    task: MaskedLm
    lines: EncodedLines
    numbers: dict[str, float]

    @property
    def metric(self) -> Metric:
        """Share of the masked pieces of the held-out lines that are guessed; a diverged trial guesses the most frequent one."""
        worst = self.lines.most_frequent
        return Metric(name=ACCURACY, label="masked accuracy", unit="%", higher_is_better=True, worst=worst)

    @property
    def segment(self) -> Segment:
        """A number of lines."""
        return Segment(examples=self.task.segment_examples)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the encoded lines and their vocabulary."""
        return self.lines.digest

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none) and the optimiser's numbers, f32[] each."""
        return as_arrays(self.numbers)

    def stretches(self, steps: int) -> list[tuple[int, int]]:
        """Return the parts of a segment after which it can be left."""
        every = self.task.save_every_steps or _SAVE_EVERY_STEPS
        return [(first, min(first + every, steps)) for first in range(0, steps, every)]

    def init(self, key: jax.Array) -> GlueState:
        """Return the state before the first segment."""
        state: GlueState = compiled.initial_masked_state(self.recipe, self.hyper, key)
        return state

    def advance(
        self,
        state: GlueState,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]: of the whole segment
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[GlueState, MaskedSums]:
        """Train a stretch of a segment; `state` is consumed. It says which lines come next, `key` and the step which masks."""
        first, last = stretch
        lines, state, rates = (
            _placed(self.lines.train, self.task.masked),
            mesh.placed(state),
            learning_rates[first:last],
        )
        result: tuple[GlueState, MaskedSums] = compiled.train_masked(
            self.recipe, state, lines, dict(hyper), rates, key, np.int32(first), batch_size
        )
        return result

    def evaluate(self, state: GlueState, key: jax.Array | None = None) -> MaskedTests:
        """Return loss and right guesses of the held-out lines; their masks are always the same."""
        lines = _placed(self.lines.test, self.task.masked)
        result: MaskedTests = compiled.evaluate_masked(self.recipe, mesh.placed(state), lines)
        return result

    def metrics(self, train_sums: Sequence[MaskedSums], test_sums: MaskedTests) -> dict[str, float]:
        """Return losses (per masked piece), accuracies (%), norms and gradient terms (means over steps)."""
        parts, test = jax.device_get((list(train_sums), test_sums))
        found = {name: np.concatenate([getattr(part, name) for part in parts]) for name in MaskedSums._fields[:5]}
        after = parts[-1].weight_norm_sq
        tested = int(self.lines.test.to_mask(self.task.masked).sum())
        trained = int(found["masked"].sum())
        return {
            "train_loss": float(np.sum(found["loss"], dtype=np.float64)) / trained,
            "test_loss": float(np.sum(test.loss, dtype=np.float64)) / tested,
            "train_masked_accuracy": 100 * int(found["right"].sum()) / trained,
            ACCURACY: 100 * int(test.right.sum()) / tested,
            "grad_norm_sq": float(np.mean(found["grad_norm_sq"], dtype=np.float64)),
            "grad_dot_weight": float(np.mean(found["grad_dot_weight"], dtype=np.float64)),
            "weight_norm_sq": norms.total(after),
            **{f"weight_norm_sq/{name}": float(value) for name, value in after.items()},
        }

    def export(self, state: Any, folder: Path) -> None:
        """Write the network without its head as Hugging Face names it, and the vocabulary, which a GLUE program reads.

        Raises:
            OSError: a file cannot be written.
        """
        params = update.evaluated(self.recipe.optimizer, state.params, state.slots)
        by_path = flatten_dict(jax.device_get(params), sep="/")  # type: ignore[no-untyped-call]
        write_safetensors(folder / WEIGHTS, by_path, self.lines.vocabulary)
        (folder / VOCABULARY).write_bytes(self.lines.vocabulary.model)


@lru_cache(maxsize=32)
def _placed(split: EncodedSplit, masked: float) -> PlacedLines:
    """Return a split on the device, placed once and shared by all programs that use it."""
    with jax.ensure_compile_time_eval():  # the first to ask may be a trace that only wants to know shapes
        arrays = (split.pieces, split.lengths, split.to_mask(masked))
        return mesh.placed(PlacedLines(*map(jnp.asarray, arrays)))
