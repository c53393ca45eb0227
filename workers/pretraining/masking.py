"""Which pieces of a line a network has to guess, and what it reads in their places.

Of the chosen pieces 80 % become [MASK], 10 % a piece drawn from the whole vocabulary, and 10 % stay, as in BERT and ALBERT. Here
pieces are chosen one by one, in ALBERT runs of up to three words. Axes: B lines, T positions, M masked pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_MASKED = 0.8
_MASKED_OR_DRAWN = 0.9


class MaskedPieces(NamedTuple):
    """What a network reads, and what it has to guess where."""

    pieces: jax.Array  # i32[B, T]
    positions: jax.Array  # i32[B, M]: different ones in each row
    targets: jax.Array  # i32[B, M]: the pieces that were there
    is_masked: (
        jax.Array
    )  # bool[B, M]: false for positions beyond those to mask in a short line, which stay as they were


def mask_pieces(
    key: jax.Array,
    pieces_BT: jax.Array,
    lengths_B: jax.Array,
    to_mask_B: jax.Array,
    *,
    most: int,
    mask: int,
    vocabulary: int,
) -> MaskedPieces:
    """Mask pieces of each line; the first and last piece of a line, which mark its ends, are never chosen.

    Args:
        lengths_B: pieces of each line, its ends included.
        to_mask_B: how many pieces of each line to choose, at most `most`.
        mask: the number of the piece [MASK].
        vocabulary: number of pieces.
    """
    places_key, kinds_key, drawn_key = jax.random.split(key, 3)
    pieces_BT = jnp.asarray(pieces_BT, jnp.int32)
    positions_T = jnp.arange(pieces_BT.shape[1])
    inner_BT = (positions_T > 0) & (positions_T < lengths_B[:, None] - 1)
    order_BT = jnp.where(inner_BT, jax.random.uniform(places_key, pieces_BT.shape), -1.0)
    _, positions_BM = lax.top_k(order_BT, most)
    is_masked_BM = jnp.arange(most) < to_mask_B[:, None]
    targets_BM = jnp.take_along_axis(pieces_BT, positions_BM, axis=1)
    kinds_BM = jax.random.uniform(kinds_key, positions_BM.shape)
    drawn_BM = jax.random.randint(drawn_key, positions_BM.shape, 0, vocabulary)
    shown_BM = jnp.where(kinds_BM < _MASKED, mask, jnp.where(kinds_BM < _MASKED_OR_DRAWN, drawn_BM, targets_BM))
    shown_BM = jnp.where(is_masked_BM, shown_BM, targets_BM)
    rows_B1 = jnp.arange(len(pieces_BT))[:, None]
    return MaskedPieces(pieces_BT.at[rows_B1, positions_BM].set(shown_BM), positions_BM, targets_BM, is_masked_BM)
