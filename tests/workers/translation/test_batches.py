"""Batches of tokens: every pair once a pass, in static shapes, and the same ones from any point of the stream."""

from collections import Counter
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from workers.translation.batches import Cursor, PairBatch, begun, next_batches
from workers.translation.corpus import PairTokens

BUCKETS = (4, 8, 16)
TOKENS = 48  # 12 rows of 4, 6 of 8, 3 of 16


@pytest.fixture(scope="module")
def pairs() -> PairTokens:
    lengths = np.minimum(np.random.default_rng(0).geometric(0.25, size=2 * 100), 16)
    return PairTokens(tokens=np.ones(lengths.sum(), np.int64), starts=np.concatenate([[0], np.cumsum(lengths)]))


@dataclass
class Stream:
    """A stream of batches, at a position."""

    pairs: PairTokens
    cursor: Cursor

    def take(self, count: int, tokens: int = TOKENS, devices: int = 1) -> list[PairBatch]:
        found, self.cursor = next_batches(self.cursor, self.pairs, BUCKETS, tokens, devices, count)
        return found


def stream(pairs: PairTokens, seed: int = 0) -> Stream:
    return Stream(pairs, begun(jax.random.key(seed)))


def whole_pass(pairs: PairTokens, seed: int = 0, devices: int = 1) -> list[PairBatch]:
    """The batches of the first pass."""
    batches = stream(pairs, seed).take(60, devices=devices)
    ends = np.cumsum([len(batch.chosen) for batch in batches])
    return batches[: int(np.searchsorted(ends, len(pairs))) + 1]


def numbers(batches: list[PairBatch]) -> list[int]:
    return [int(number) for batch in batches for number in batch.chosen]


def test_a_pass_trains_every_pair_once_in_rows_that_hold_it(pairs: PairTokens) -> None:
    batches = whole_pass(pairs)
    assert sorted(numbers(batches)) == list(range(100))
    assert {(batch.rows, batch.length) for batch in batches} == {(12, 4), (6, 8), (3, 16)}
    assert all(pairs.lengths[batch.chosen].max() <= batch.length for batch in batches)
    assert [batch.length for batch in batches] != sorted(batch.length for batch in batches)


def test_only_one_batch_of_a_pass_has_empty_rows(pairs: PairTokens) -> None:
    open_rows = [batch.length for batch in whole_pass(pairs) if len(batch.chosen) < batch.rows]
    assert open_rows in ([], [16])


def test_passes_and_seeds_differ_in_their_order(pairs: PairTokens) -> None:
    here = stream(pairs)
    first, second = (numbers(here.take(len(whole_pass(pairs)))) for _ in range(2))
    assert Counter(first) == Counter(range(100))
    assert first != second and first != numbers(whole_pass(pairs, seed=1))


def test_the_stream_goes_on_from_any_position(pairs: PairTokens) -> None:
    whole, parted = stream(pairs), stream(pairs)
    expected = numbers(whole.take(60))
    assert sum((numbers(parted.take(count)) for count in (1, 7, 30, 22)), []) == expected
    assert jax.tree.map(int, parted.cursor[1:]) == jax.tree.map(int, whole.cursor[1:])


def test_another_batch_size_begins_a_new_pass(pairs: PairTokens) -> None:
    here = stream(pairs)
    here.take(5)
    (batch,) = here.take(1, tokens=2 * TOKENS)
    assert (int(here.cursor.passes), int(here.cursor.batch), int(here.cursor.tokens)) == (1, 1, 96)
    assert batch.rows * batch.length == 96


def test_devices_divide_the_rows(pairs: PairTokens) -> None:
    batches = whole_pass(pairs, devices=3)
    assert {batch.rows for batch in batches} == {12, 6, 3}
    assert sorted(numbers(batches)) == list(range(100))
