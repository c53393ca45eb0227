"""The network of `workers.glue.albert`, with the head that guesses masked pieces.

Axes: B lines, T positions, M masked pieces, D width of layers, E width of embeddings, V pieces of the vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from workers.glue.albert import Albert
from workers.glue.network import NORMAL, AlbertEncoder


class MaskedAlbert(AlbertEncoder):
    """ALBERT whose head is dense to the width of the embeddings, with GELU, a norm, and the embeddings of pieces as output.

    It has no pooler: without a gradient, L2 and weight decay would shrink it, and its norm would count among the weights'.
    """

    def __init__(self, config: Albert, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs)
        self.head = nnx.Linear(config.hidden, config.embedding, kernel_init=NORMAL, rngs=rngs)
        self.head_norm = nnx.LayerNorm(config.embedding, epsilon=1e-12, use_fast_variance=False, rngs=rngs)
        self.head_bias = nnx.Param(jnp.zeros(config.vocabulary))

    def logits_at(self, pieces_BT: jax.Array, lengths_B: jax.Array, positions_BM: jax.Array) -> jax.Array:
        """Return logits_BMV of the pieces at some positions of lines that are single sentences."""
        hidden_BTD = self.hidden(pieces_BT, lengths_B, lengths_B)
        masked_BMD = jnp.take_along_axis(hidden_BTD, positions_BM[..., None], axis=1)
        raised_BME = nnx.gelu(self.head(masked_BMD), approximate=self.layer.approximate)
        logits_BMV: jax.Array = self.embeddings.word.attend(self.head_norm(raised_BME)) + self.head_bias[...]
        return logits_BMV
