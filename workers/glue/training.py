"""Fine-tuning on a task of GLUE: a segment is a number of examples, wherever it begins in a pass over the data.

training = bound_glue(task, program, load)
state, sums = training.advance(training.init(key), training.hyper, learning_rates, key, batch_size, (0, len(learning_rates)))
training.metrics([sums], training.evaluate(state))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers import mesh
from workers.contracts import Load, Metric, Segment
from workers.glue import compiled
from workers.glue.benchmark import SCORES, TSV_LAYOUTS
from workers.glue.compiled import GlueOutputs, GlueRecipe, GlueState, GlueSums, Sentences
from workers.glue.pieces import EncodedSentences
from workers.glue.scores import constant_score, glue_scores
from workers.glue.texts import EncodedGlue
from workers.glue.weights import LoadedWeights, PretrainedWeights
from workers.tasks.numbers import as_arrays, hyper_numbers

if TYPE_CHECKING:
    from workers.tasks.glue import Glue, GlueProgram

SCORE = "glue_score"
_OF_SETS = ("matched", "mismatched")  # of MNLI's two test sets


def bound_glue(task: Glue, program: GlueProgram, load: Load) -> GlueTraining:
    """Return the training of a program over its texts.

    Raises:
        ValueError: the program's parts do not fit its texts, its weights or each other.
    """
    program.check_batch(program.batch_size, jax.device_count())
    program.check_segment(task.segment_examples)
    dataset: EncodedGlue = load(program.data)
    program.model.check_fits(dataset.vocabulary, dataset.width, "example")
    classes = TSV_LAYOUTS[dataset.name].classes
    recipe = GlueRecipe(
        model=program.model,
        optimizer=program.optimizer.static(),
        outputs=len(classes) or 1,
        is_score=not classes,
        l2_on=program.l2_on,
    )
    weights: LoadedWeights | None = None
    if program.weights is not None:
        weights = load(PretrainedWeights(path=program.weights))
        weights.check(compiled.parameter_shapes(recipe))
        weights.check_vocabulary(dataset.vocabulary_digest, dataset.lower_case)
    return GlueTraining(
        recipe=recipe,
        dataset=dataset,
        weights=weights,
        numbers=hyper_numbers(program),
        segment_examples=task.segment_examples,
        save_every_steps=task.save_every_steps,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class GlueTraining:
    """The compiled functions of one program over one task's texts; without weights it starts from scratch."""

    recipe: GlueRecipe
    dataset: EncodedGlue
    weights: LoadedWeights | None
    numbers: dict[str, float]
    segment_examples: int
    save_every_steps: int | None = None

    @cached_property
    def metric(self) -> Metric:
        """The score that the paper reports of the task, 0 where it is negative; a diverged trial counts as a constant answer.

        It has one name for all tasks, so that one sweep can compare schedules over several.
        """
        worst = constant_score(self.dataset.name, [test.labels for test in self.dataset.tests])
        return Metric(name=SCORE, label="GLUE score", unit="%", higher_is_better=True, bounds=(0.0, 100.0), worst=worst)

    @property
    def segment(self) -> Segment:
        """A number of examples."""
        return Segment(examples=self.segment_examples)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the encoded texts, their vocabulary, and the pre-trained weights."""
        if self.weights is None:
            return self.dataset.digest
        return hashlib.sha256(f"{self.dataset.digest}|{self.weights.digest}".encode()).hexdigest()

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none) and the optimiser's numbers, f32[] each."""
        return as_arrays(self.numbers)

    def stretches(self, steps: int) -> list[tuple[int, int]]:
        """Return the parts of a segment after which it can be left: all of it, or `save_every_steps` at a time."""
        every = self.save_every_steps or steps
        return [(first, min(first + every, steps)) for first in range(0, steps, every)]

    def init(self, key: jax.Array) -> GlueState:
        """Return the state before the first segment."""
        pretrained = {} if self.weights is None else dict(self.weights.arrays)
        state: GlueState = compiled.initial_glue_state(self.recipe, self.hyper, pretrained, key)
        return state

    def advance(
        self,
        state: GlueState,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]: of the whole segment
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[GlueState, GlueSums]:
        """Train a stretch of a segment; `state` is consumed. Nothing is drawn from `key`: the state says what comes next."""
        first, last = stretch
        data, state = _placed(self.dataset.train), mesh.placed(state)
        result: tuple[GlueState, GlueSums] = compiled.train_glue(
            self.recipe, state, data, dict(hyper), learning_rates[first:last], batch_size
        )
        return result

    def evaluate(self, state: GlueState, key: jax.Array | None = None) -> tuple[GlueOutputs, ...]:
        """Return losses and outputs for each test set; nothing is drawn at random."""
        state = mesh.placed(state)
        return tuple(compiled.evaluate_glue(self.recipe, state, _placed(test)) for test in self.dataset.tests)

    def metrics(self, train_sums: Sequence[GlueSums], test_sums: tuple[GlueOutputs, ...]) -> dict[str, float]:
        """Return losses (per example), scores (%), norms and gradient terms (means over steps), summed in float64."""
        parts, tests = jax.device_get((list(train_sums), test_sums))
        losses = np.concatenate([test.loss for test in tests])
        after = parts[-1].weight_norm_sq
        found = {name: np.concatenate([getattr(part, name) for part in parts]) for name in GlueSums._fields[:3]}
        return {
            "train_loss": float(np.mean(found["loss"], dtype=np.float64)),
            "test_loss": float(np.mean(losses, dtype=np.float64)),
            **self._scores(tests),
            "grad_norm_sq": float(np.mean(found["grad_norm_sq"], dtype=np.float64)),
            "grad_dot_weight": float(np.mean(found["grad_dot_weight"], dtype=np.float64)),
            "weight_norm_sq": norms.total(after),
            **{f"weight_norm_sq/{name}": float(value) for name, value in after.items()},
        }

    def _scores(self, tests: Sequence[GlueOutputs]) -> dict[str, float]:
        """Return the scores by name, means over the test sets, and for MNLI those of each set."""
        name = self.dataset.name
        pairs = zip(tests, self.dataset.tests, strict=True)
        by_set = [glue_scores(name, np.asarray(found.outputs), test.labels) for found, test in pairs]
        means: dict[str, float] = {one: float(np.mean([scores[one] for scores in by_set])) for one in by_set[0]}
        if len(by_set) > 1:
            each = zip(_OF_SETS, by_set, strict=True)
            means |= {f"{one}_{which}": value for which, scores in each for one, value in scores.items()}
        return {SCORE: max(means[SCORES[name]], 0.0), **means}


@lru_cache(maxsize=32)
def _placed(split: EncodedSentences) -> Sentences:
    """Return a split on the device, placed once and shared by all programs that use it."""
    with jax.ensure_compile_time_eval():  # the first to ask may be a trace that only wants to know shapes
        arrays = (split.pieces, split.lengths, split.seconds, split.labels)
        return mesh.placed(Sentences(*map(jnp.asarray, arrays)))
