"""The training of a translation: segments of so many steps over batches of tokens, tested by token error and by BLEU.

BLEU needs a search for every sentence of the test. So it is taken every few segments, at the end of the last stretch, and kept in
the state until the next. Everything that is random follows from the cursor, which is part of the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abel import norms
from workers import mesh
from workers.contracts import Load, Metric, Segment
from workers.tasks.numbers import as_arrays, hyper_numbers
from workers.tracing import is_traced
from workers.translation import compiled, scores
from workers.translation.batches import Cursor, begun, next_batches
from workers.translation.compiled import TokenSums, TrainedBatch, TranslationRecipe
from workers.translation.corpus import PairTokens, ParallelCorpus

if TYPE_CHECKING:
    from workers.tasks.translate import Translate, TranslateProgram

Tree = Any  # a pytree of arrays

_SAVE_EVERY_STEPS = 1000  # the default: minutes on one accelerator
_TEST_ROWS = 64  # sentences that are tested or translated at a time; the last batch has empty rows
_AHEAD = 2  # calls that may wait for the device
_ORDER = 2**32 - 1  # sets the key of the order of pairs apart from that of the weights


class TranslationState(NamedTuple):
    """Training state."""

    params: Tree  # f32
    slots: Tree  # of the optimiser
    cursor: Cursor
    bleu: jax.Array  # f32[]: the last one taken, 0 before the first


class SegmentSums(NamedTuple):
    """Values of each step of a stretch, and the norms of the weights after it."""

    batches: TrainedBatch  # [steps]
    weight_norm_sq: dict[str, jax.Array]  # f32[] by parameter


class TestSums(NamedTuple):
    """Sums of each batch of the test, and the last BLEU."""

    batches: TokenSums  # [batches]
    bleu: jax.Array


def bound_translation(task: Translate, program: TranslateProgram, load: Load) -> Translation:
    """Return the training of a program over its data.

    Raises:
        ValueError: the program's parts do not fit its data or each other.
    """
    program.check_batch(program.batch_size, jax.device_count())
    numbers = hyper_numbers(program)
    corpus: ParallelCorpus = load(program.data)
    recipe = TranslationRecipe(
        model=program.model,
        vocabulary=corpus.subwords.size,
        optimizer=program.optimizer.static(),
        l2_on=program.l2_on,
        label_smoothing=program.label_smoothing,
    )
    return Translation(recipe=recipe, task=task, batch_size=program.batch_size, corpus=corpus, numbers=numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Translation:
    """The compiled functions of one program over one corpus."""

    recipe: TranslationRecipe
    task: Translate
    batch_size: int
    corpus: ParallelCorpus
    numbers: dict[str, float]

    @property
    def metric(self) -> Metric:
        """BLEU on the test pairs; a diverged trial counts as 0."""
        return Metric(name="bleu", label="BLEU", higher_is_better=True, bounds=(0.0, 100.0), worst=0.0)

    @property
    def segment(self) -> Segment:
        """So many steps, in tokens."""
        return Segment(examples=self.task.segment_steps * self.batch_size)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the corpus, with its vocabulary, and of what scores its translations."""
        return hashlib.sha256(f"{self.corpus.digest} {scores.signature()}".encode()).hexdigest()

    @cached_property
    def hyper(self) -> dict[str, jax.Array]:
        """l2, clip (infinite for none) and the optimiser's numbers, f32[] each."""
        return as_arrays(self.numbers)

    def stretches(self, steps: int) -> list[tuple[int, int]]:
        """Return the parts of a segment after which it can be left."""
        every = self.task.save_every_steps or _SAVE_EVERY_STEPS
        return [(first, min(first + every, steps)) for first in range(0, steps, every)]

    def init(self, key: jax.Array) -> TranslationState:
        """Return the state before the first segment."""
        params, slots = compiled.initial_weights(self.recipe, self.hyper, key)
        return TranslationState(params, slots, begun(jax.random.fold_in(key, _ORDER)), jnp.zeros(()))

    def advance(
        self,
        state: TranslationState,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]: of the whole segment
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[TranslationState, SegmentSums]:
        """Train a stretch of a segment; `state` is consumed. In a trace, one step tells the shapes of all."""
        first, last = stretch
        state = mesh.placed(state)
        step = partial(compiled.trained_batch, self.recipe)
        if is_traced(state):
            blank = jnp.ones((jax.device_count(), self.corpus.buckets[0]), jnp.int32)
            params, slots, column = step(state.params, state.slots, dict(hyper), blank, blank, learning_rates[first])
            columns = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (last - first, *leaf.shape)), column)
            return state._replace(params=params, slots=slots), SegmentSums(columns, compiled.weight_norms(params))
        batches, cursor = next_batches(
            state.cursor, self.corpus.train, self.corpus.buckets, batch_size, jax.device_count(), last - first
        )
        params, slots, columns = state.params, state.slots, []
        for (chosen, rows, length), rate in zip(batches, learning_rates[first:last], strict=True):
            tokens = self.corpus.train.rows(chosen, rows, length)
            params, slots, column = step(params, slots, dict(hyper), *tokens, rate)
            columns.append(column)
            _wait(columns)
        state = TranslationState(params, slots, cursor, state.bleu)
        if last == len(learning_rates):
            state = self._scored(state)
        return state, SegmentSums(_stacked(columns), compiled.weight_norms(params))

    def evaluate(self, state: TranslationState, key: jax.Array | None = None) -> TestSums:
        """Return sums over the test pairs; nothing is drawn at random."""
        state = mesh.placed(state)
        test = partial(compiled.tested_batch, self.recipe, state.params, state.slots)
        found: list[TokenSums] = []
        for _, tokens in self._tests():
            found.append(test(*tokens))
            _wait(found)
        return TestSums(_stacked(found), state.bleu)

    def metrics(self, train_sums: Sequence[SegmentSums], test_sums: TestSums) -> dict[str, float]:
        """Return losses (per target token), token errors (%), BLEU, norms and gradient terms (means over steps)."""
        parts, test = jax.device_get((list(train_sums), test_sums))
        train: TrainedBatch = jax.tree.map(lambda *pieces: np.concatenate(pieces), *(part.batches for part in parts))
        ended = parts[-1].weight_norm_sq
        return {
            **{f"train_{name}": value for name, value in _per_token(train.sums).items()},
            **{f"test_{name}": value for name, value in _per_token(test.batches).items()},
            "bleu": float(test.bleu),
            "grad_norm_sq": float(np.mean(train.grad_norm_sq, dtype=np.float64)),
            "grad_dot_weight": float(np.mean(train.grad_dot_weight, dtype=np.float64)),
            "weight_norm_sq": norms.total(ended),
            **{f"weight_norm_sq/{name}": float(value) for name, value in ended.items()},
        }

    def translations(self, state: TranslationState) -> list[str]:
        """Return the translation of each test pair's source, in their order."""
        state, task = mesh.placed(state), self.task
        search = partial(
            compiled.translated_batch,
            self.recipe,
            state.params,
            state.slots,
            beams=task.beams,
            length=self.corpus.buckets[-1],
            end=self.corpus.subwords.end,
            alpha=task.alpha,
        )
        texts = [""] * len(self.corpus.test)
        for chosen, (sources, _) in self._tests():
            rows = np.asarray(search(sources))[: len(chosen)]
            for number, text in zip(chosen, self.corpus.subwords.decode(rows.tolist()), strict=True):
                texts[number] = text
        return texts

    def _scored(self, state: TranslationState) -> TranslationState:
        """Return the state after a segment, with its BLEU if one is due."""
        segments = int(state.cursor.segments) + 1
        cursor = state.cursor._replace(segments=jnp.asarray(segments, jnp.int32))
        if segments % self.task.bleu_every:
            return state._replace(cursor=cursor)
        score = scores.bleu(self.translations(state), self.corpus.references)
        return state._replace(cursor=cursor, bleu=jnp.asarray(score, jnp.float32))

    def _tests(self) -> Iterable[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
        """Yield the numbers of test pairs and their tokens, of similar length together: a search ends with its longest."""
        pairs: PairTokens = self.corpus.test
        rows = mesh.divisible(min(_TEST_ROWS, len(pairs)))
        order = np.argsort(pairs.lengths[:, 0], kind="stable")
        for start in range(0, len(pairs), rows):
            chosen = order[start : start + rows]
            yield chosen, pairs.rows(chosen, rows, self.corpus.buckets[-1])


def _per_token(sums: TokenSums) -> dict[str, float]:
    tokens = int(sums.tokens.sum())
    return {
        "loss": float(np.sum(sums.loss, dtype=np.float64)) / tokens,
        "error": 100 * int(sums.wrong.sum()) / tokens,
    }


def _stacked(columns: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(list(columns)))


def _wait(called: Sequence[Tree]) -> None:
    """Wait for the results of all calls but the last few."""
    if len(called) > _AHEAD:
        jax.block_until_ready(called[-1 - _AHEAD])  # type: ignore[no-untyped-call]
