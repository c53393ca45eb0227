"""Which pairs a step trains: batches of so many tokens, pass after pass over the data, in buckets of static shape.

A batch belongs to a bucket: each of its rows is filled up to the bucket's length, so every bucket is one compiled shape. A pass
shuffles all pairs. Those left over in a bucket, too few for a batch, move up to the next; the last batch of the longest may have
empty rows. So a pass trains every pair once. Its order follows from the cursor alone, which is part of the training state.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from workers.translation.corpus import PairTokens

_BATCHES = 2**32 - 1  # sets the key of the order of batches apart from that of the pairs


class Cursor(NamedTuple):
    """The position in the stream of batches; arrays in a training state, numbers on the host."""

    key: jax.Array  # u32[2]: of all passes
    passes: jax.Array  # i32[]: number of the pass, from 0
    batch: jax.Array  # i32[]: number of the next batch in it, from 0
    tokens: jax.Array  # i32[]: batch size of the pass
    segments: jax.Array  # i32[]: segments trained


class PairBatch(NamedTuple):
    """The pairs of a batch, and its shape."""

    chosen: np.ndarray  # i64[at most rows]
    rows: int
    length: int


def rows_of(length: int, batch_size: int, devices: int) -> int:
    """Return the rows of a batch of at most so many tokens a side; the devices divide it."""
    return batch_size // length // devices * devices


def begun(key: jax.Array) -> Cursor:
    """Return the cursor before the first batch; the order of all passes follows from the key."""
    zero = jnp.zeros((), jnp.int32)
    return Cursor(jax.random.key_data(key), zero, zero, zero, zero)


def next_batches(
    cursor: Cursor, pairs: PairTokens, buckets: tuple[int, ...], batch_size: int, devices: int, count: int
) -> tuple[list[PairBatch], Cursor]:
    """Return the next batches, and the cursor after them. A batch size that changes begins a new pass.

    Args:
        cursor: with numbers, or arrays that can be read.
    """
    passes, batch, tokens = (int(number) for number in cursor[1:4])
    if tokens != batch_size and batch:
        passes, batch = passes + 1, 0
    found: list[PairBatch] = []
    while True:
        whole = _pass(cursor.key, passes, pairs, buckets, batch_size, devices)
        part = whole[batch : batch + count - len(found)]
        found, batch = found + part, batch + len(part)
        if len(found) == count:
            break
        passes, batch = passes + 1, 0
    numbers = (jnp.asarray(number, jnp.int32) for number in (passes, batch, batch_size, cursor.segments))
    return found, Cursor(cursor.key, *numbers)


def _pass(
    key: jax.Array, number: int, pairs: PairTokens, buckets: tuple[int, ...], batch_size: int, devices: int
) -> list[PairBatch]:
    """Return the batches of a pass, in their order."""
    pass_key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(np.asarray(key))), number)
    order_N = np.asarray(jax.random.permutation(pass_key, len(pairs)))
    bucket_N = np.searchsorted(np.array(buckets), pairs.lengths.max(axis=1))[order_N]
    batches: list[PairBatch] = []
    left = np.empty(0, np.int64)
    for bucket, length in enumerate(buckets):
        rows = rows_of(length, batch_size, devices)
        waiting = np.concatenate([left, order_N[bucket_N == bucket]])
        full = len(waiting) // rows * rows
        batches += [PairBatch(chosen, rows, length) for chosen in waiting[:full].reshape(-1, rows)]
        left = waiting[full:]
    if len(left):
        batches.append(PairBatch(left, rows_of(buckets[-1], batch_size, devices), buckets[-1]))
    order = np.asarray(jax.random.permutation(jax.random.fold_in(pass_key, _BATCHES), len(batches)))
    return [batches[place] for place in order]
