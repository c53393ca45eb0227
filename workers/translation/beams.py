"""Beam search: the sequence of tokens with the highest log probability over a length penalty (Wu et al., arXiv 1609.08144).

As in Flax's WMT example: of the best 2 K continuations of K open beams, those that end are closed. The search of a sentence stops
when no open beam can overtake the worst closed one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from workers.translation import PAD

Tree = Any  # a pytree of arrays
# (cache, sequences so far i32[B * K, 1 + length], place i32[]) -> logits f32[B * K, V] of the token after the place, cache
Next = Callable[[Tree, jax.Array, jax.Array], tuple[jax.Array, Tree]]

_NEVER = -1e7  # a score below all others


class _Beams(NamedTuple):
    """The state of a search."""

    place: jax.Array  # i32[]: of the last token
    scores: jax.Array  # f32[B, K]: log probabilities of the open beams
    sequences: jax.Array  # i32[B, K, 1 + length]: the first token is PAD
    closed_scores: jax.Array  # f32[B, K]: over the length penalty, the best first
    closed: jax.Array  # i32[B, K, 1 + length]
    cache: Tree  # leaves [B * K, ...]


def beam_search(
    following: Next, cache: Tree, rows: int, *, beams: int, length: int, end: int, alpha: float
) -> jax.Array:
    """Return the best sequence of each row, i32[rows, length], filled up after its end.

    Args:
        following: returns the logits of the next tokens.
        cache: what it remembers; leaves of shape [rows * beams, ...], where the beams of a row follow each other. They are moved
            with the beams at every token, so what all beams of a row share belongs in `following`.
        end: the token that closes a sequence.
        alpha: exponent of the length penalty ((5 + tokens) / 6) ** alpha.
    """
    empty = jnp.full((rows, beams, 1 + length), PAD, jnp.int32)
    scores = jnp.full((rows, beams), _NEVER)
    first = scores.at[:, 0].set(0.0)  # all beams are equal at first
    start = _Beams(jnp.zeros((), jnp.int32), first, empty, scores, empty, cache)

    def goes_on(now: _Beams) -> jax.Array:
        reachable = now.scores.max(axis=1) / _penalty(jnp.asarray(length), alpha)
        return (now.place < length) & (reachable > now.closed_scores.min(axis=1)).any()

    def step(now: _Beams) -> _Beams:
        return _extended(following, now, end, alpha)

    final = lax.while_loop(goes_on, step, start)
    has_closed = final.closed_scores[:, :1] > _NEVER
    return jnp.where(has_closed, final.closed[:, 0], final.sequences[:, 0])[:, 1:]


def _extended(following: Next, now: _Beams, end: int, alpha: float) -> _Beams:
    """Return the beams with one more token."""
    rows, beams, _ = now.sequences.shape
    logits, cache = following(now.cache, now.sequences.reshape(rows * beams, -1), now.place)
    logs = jax.nn.log_softmax(logits).reshape(rows, beams, -1)
    scores, flat = lax.top_k((now.scores[..., None] + logs).reshape(rows, -1), 2 * beams)
    parents, tokens = flat // logs.shape[-1], (flat % logs.shape[-1]).astype(jnp.int32)
    place = now.place + 1
    candidates = _chosen(now.sequences, parents).at[:, :, place].set(tokens)
    ends = tokens == end

    open_scores, kept = lax.top_k(jnp.where(ends, _NEVER, scores), beams)
    parents = jnp.take_along_axis(parents, kept, axis=1)
    flat_parents = (parents + beams * jnp.arange(rows)[:, None]).reshape(-1)
    cache = jax.tree.map(lambda leaf: leaf[flat_parents], cache)

    ended = jnp.where(ends, scores / _penalty(place, alpha), _NEVER)
    both = jnp.concatenate([now.closed, candidates], axis=1)
    closed_scores, best = lax.top_k(jnp.concatenate([now.closed_scores, ended], axis=1), beams)
    return _Beams(place, open_scores, _chosen(candidates, kept), closed_scores, _chosen(both, best), cache)


def _chosen(sequences: jax.Array, which: jax.Array) -> jax.Array:
    return jnp.take_along_axis(sequences, which[..., None], axis=1)


def _penalty(tokens: jax.Array, alpha: float) -> jax.Array:
    return ((5.0 + tokens) / 6.0) ** alpha
