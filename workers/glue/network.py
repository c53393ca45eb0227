"""The network of `workers.glue.albert`, with a head for a GLUE task.

Axes: B batch, T positions, E width of embeddings, D width of layers, H heads, K outputs.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from workers.glue.albert import Albert

NORMAL = nnx.initializers.truncated_normal(0.02)
_HIDDEN_FROM_ATTENTION = -1e9  # logit of a position that no example counts


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=NORMAL, rngs=rngs)


def _embed(count: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
    return nnx.Embed(count, width, embedding_init=NORMAL, rngs=rngs)


def _layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-12, use_fast_variance=False, rngs=rngs)


class AlbertEmbeddings(nnx.Module):
    """The sum of the embeddings of piece, position and sentence, normalised."""

    def __init__(self, config: Albert, rngs: nnx.Rngs) -> None:
        self.word = _embed(config.vocabulary, config.embedding, rngs)
        self.position = _embed(config.positions, config.embedding, rngs)
        self.sentence = _embed(2, config.embedding, rngs)
        self.norm = _layer_norm(config.embedding, rngs)

    def __call__(self, pieces_BT: jax.Array, sentences_BT: jax.Array) -> jax.Array:
        """Return embeddings_BTE; `sentences` is 1 for the second of a pair."""
        positions_T = jnp.arange(pieces_BT.shape[1])
        # Rows of two embeddings are chosen without a gather, whose gradient adds up row by row.
        first_E, second_E = self.sentence.embedding[0], self.sentence.embedding[1]
        of_sentence_BTE = jnp.where(sentences_BT[..., None] == 1, second_E, first_E)
        normed_BTE: jax.Array = self.norm(self.word(pieces_BT) + self.position(positions_T) + of_sentence_BTE)
        return normed_BTE


class AlbertLayer(nnx.Module):
    """Attention and two dense matrices, each followed by the norm of its sum with its input."""

    def __init__(self, config: Albert, rngs: nnx.Rngs) -> None:
        width = config.hidden
        self.heads = config.heads
        self.approximate = config.activation == "gelu_tanh"
        self.query, self.key, self.value = (_linear(width, width, rngs) for _ in range(3))
        self.output = _linear(width, width, rngs)
        self.attention_norm = _layer_norm(width, rngs)
        self.up = _linear(width, config.intermediate, rngs)
        self.down = _linear(config.intermediate, width, rngs)
        self.norm = _layer_norm(width, rngs)

    def __call__(self, hidden_BTD: jax.Array, counts_BT: jax.Array) -> jax.Array:
        """Return hidden_BTD of the next layer; positions where `counts` is false are hidden from the others."""
        attended_BTD: jax.Array = self.attention_norm(hidden_BTD + self._attention(hidden_BTD, counts_BT))
        raised_BTI = nnx.gelu(self.up(attended_BTD), approximate=self.approximate)
        normed_BTD: jax.Array = self.norm(attended_BTD + self.down(raised_BTI))
        return normed_BTD

    def _attention(self, hidden_BTD: jax.Array, counts_BT: jax.Array) -> jax.Array:
        shape = (*hidden_BTD.shape[:2], self.heads, -1)
        query, key, value = (one(hidden_BTD).reshape(shape) for one in (self.query, self.key, self.value))
        logits_BHTS = jnp.einsum("BTHC,BSHC->BHTS", query, key) / math.sqrt(query.shape[-1])
        logits_BHTS = jnp.where(counts_BT[:, None, None, :], logits_BHTS, _HIDDEN_FROM_ATTENTION)
        mixed_BTHC = jnp.einsum("BHTS,BSHC->BTHC", jax.nn.softmax(logits_BHTS), value)
        output_BTD: jax.Array = self.output(mixed_BTHC.reshape(hidden_BTD.shape))
        return output_BTD


class AlbertEncoder(nnx.Module):
    """ALBERT's embeddings and layers, without dropout, as in the paper."""

    def __init__(self, config: Albert, rngs: nnx.Rngs) -> None:
        self.layers = config.layers
        self.embeddings = AlbertEmbeddings(config, rngs)
        self.widen = _linear(config.embedding, config.hidden, rngs)
        self.layer = AlbertLayer(config, rngs)

    def hidden(self, pieces_BT: jax.Array, lengths_B: jax.Array, seconds_B: jax.Array) -> jax.Array:
        """Return the last layer's hidden_BTD.

        Args:
            pieces_BT: numbers of pieces.
            lengths_B: pieces of each example; the positions after them are ignored.
            seconds_B: where the second sentence begins; the number of pieces if there is only one.
        """
        pieces_BT = pieces_BT.astype(jnp.int32)
        positions_T = jnp.arange(pieces_BT.shape[1])
        counts_BT = positions_T < lengths_B[:, None]
        sentences_BT = (counts_BT & (positions_T >= seconds_B[:, None])).astype(jnp.int32)
        start_BTD = self.widen(self.embeddings(pieces_BT, sentences_BT))

        def layer(hidden_BTD: jax.Array, _: None) -> tuple[jax.Array, None]:
            return self.layer(hidden_BTD, counts_BT), None

        hidden_BTD: jax.Array = jax.lax.scan(layer, start_BTD, None, length=self.layers)[0]
        return hidden_BTD


class AlbertNet(AlbertEncoder):
    """ALBERT with a linear head on the pooled first position."""

    def __init__(self, config: Albert, outputs: int, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs)
        self.pooler = _linear(config.hidden, config.hidden, rngs)
        self.head = _linear(config.hidden, outputs, rngs)

    def pooled(self, hidden_BTD: jax.Array) -> jax.Array:
        """Return pooled_BD of the first position."""
        return jnp.tanh(self.pooler(hidden_BTD[:, 0]))

    def __call__(self, pieces_BT: jax.Array, lengths_B: jax.Array, seconds_B: jax.Array) -> jax.Array:
        """Return outputs_BK, of the arguments of `hidden`."""
        outputs_BK: jax.Array = self.head(self.pooled(self.hidden(pieces_BT, lengths_B, seconds_B)))
        return outputs_BK
