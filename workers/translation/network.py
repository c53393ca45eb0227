"""The encoder-decoder Transformer: whole sequences in training, one token at a time in a search.

As in Flax's WMT example: norms before the blocks and at both ends, sinusoidal positions, no biases in attention, embeddings drawn
from normal(1), and logits divided by the square root of the width.
Axes: B sources, R rows of a search, S source tokens, T target tokens, Q queries, H heads, F features of a head, D features,
V vocabulary.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workers.translation import PAD
from workers.translation.encoder_decoder import EncoderDecoder

_HIDDEN = -1e10  # a logit of attention that leaves a token out
_WAVELENGTHS = 10_000.0

Cache = list[dict[str, jax.Array]]  # by layer, f32[R, T, H, F]: keys and values of the tokens so far
Source = list[
    tuple[jax.Array, jax.Array, jax.Array]
]  # by layer: keys and values, f32[B, S, H, F], what is seen, bool[B, 1, S]


@jax.custom_vjp
def _product(x: jax.Array, kernel_DE: jax.Array) -> jax.Array:
    """Return x @ kernel, f32[..., E], of x f32[..., D].

    The gradient of the kernel has x on the left, so it is x that a CPU transposes and not the slope, which may be much larger.
    """
    return x @ kernel_DE


def _product_forward(x: jax.Array, kernel_DE: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel_DE, (x, kernel_DE)


def _product_backward(kept: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel_DE = kept
    rows_ND, slopes_NE = x.reshape(-1, x.shape[-1]), slope.reshape(-1, slope.shape[-1])
    return slope @ kernel_DE.T, rows_ND.T @ slopes_NE


_product.defvjp(_product_forward, _product_backward)


def _linear(*sizes: int, **fields: Any) -> nnx.Linear:
    """Return a dense layer whose product is the one above."""
    return nnx.Linear(*sizes, dot_general=lambda x, kernel, *_, **__: _product(x, kernel), **fields)


class _Attention(nnx.Module):
    """Attention of several heads, without biases."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        linear = partial(
            _linear, width, width, use_bias=False, kernel_init=nnx.initializers.xavier_uniform(), rngs=rngs
        )
        self.query, self.key, self.value, self.out = linear(), linear(), linear(), linear()
        self.heads = heads

    def keys_values(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return keys and values, f32[B, T, H, F] each."""
        keys, values = (self._split(project(x_BTD)) for project in (self.key, self.value))
        return keys, values

    def __call__(self, x_BQD: jax.Array, keys: jax.Array, values: jax.Array, seen: jax.Array) -> jax.Array:
        """Return what the queries attend to; `seen` is true for the tokens that they may, bool[B or 1, Q or 1, T]."""
        queries = self._split(self.query(x_BQD))
        logits = jnp.einsum("bqhf,bthf->bhqt", queries, keys) / math.sqrt(queries.shape[-1])
        weights = jax.nn.softmax(jnp.where(seen[:, None], logits, _HIDDEN), axis=-1)
        found = jnp.einsum("bhqt,bthf->bqhf", weights, values)
        output: jax.Array = self.out(found.reshape(x_BQD.shape))
        return output

    def _split(self, x_BTD: jax.Array) -> jax.Array:
        return x_BTD.reshape(*x_BTD.shape[:-1], self.heads, -1)


class _Mlp(nnx.Module):
    """Two dense layers with a ReLU between them."""

    def __init__(self, width: int, features: int, rngs: nnx.Rngs) -> None:
        xavier, small = nnx.initializers.xavier_uniform(), nnx.initializers.normal(1e-6)
        linear = partial(_linear, kernel_init=xavier, bias_init=small, rngs=rngs)
        self.inner, self.outer = linear(width, features), linear(features, width)

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        output: jax.Array = self.outer(jax.nn.relu(self.inner(x_BTD)))
        return output


class _EncoderBlock(nnx.Module):
    """Attention of a source to itself, and a small dense network."""

    def __init__(self, fields: EncoderDecoder, rngs: nnx.Rngs) -> None:
        norm = partial(nnx.LayerNorm, fields.width, epsilon=1e-6, rngs=rngs)
        self.norm, self.attention = norm(), _Attention(fields.width, fields.heads, rngs)
        self.mlp_norm, self.mlp = norm(), _Mlp(fields.width, fields.mlp, rngs)

    def __call__(self, x_BSD: jax.Array, seen: jax.Array) -> jax.Array:
        normed = self.norm(x_BSD)
        x_BSD = x_BSD + self.attention(normed, *self.attention.keys_values(normed), seen)
        output: jax.Array = x_BSD + self.mlp(self.mlp_norm(x_BSD))
        return output


class _DecoderBlock(nnx.Module):
    """Attention of a target to itself and to the source, and a small dense network."""

    def __init__(self, fields: EncoderDecoder, rngs: nnx.Rngs) -> None:
        norm = partial(nnx.LayerNorm, fields.width, epsilon=1e-6, rngs=rngs)
        self.norm, self.attention = norm(), _Attention(fields.width, fields.heads, rngs)
        self.source_norm, self.source_attention = norm(), _Attention(fields.width, fields.heads, rngs)
        self.mlp_norm, self.mlp = norm(), _Mlp(fields.width, fields.mlp, rngs)

    def __call__(
        self, x_BTD: jax.Array, own: tuple[jax.Array, ...], source: tuple[jax.Array, ...], normed: jax.Array
    ) -> jax.Array:
        """Return the output; `own` and `source` are keys, values and what is seen of them, `normed` is `norm(x_BTD)`.

        In a search, the rows of a source follow each other, and are so many queries to it.
        """
        shape, sources = x_BTD.shape, source[0].shape[0]
        x_BTD = (x_BTD + self.attention(normed, *own)).reshape(sources, -1, shape[-1])
        x_BTD = x_BTD + self.source_attention(self.source_norm(x_BTD), *source)
        output: jax.Array = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return output.reshape(shape)


class TranslationNetwork(nnx.Module):
    """The network for a vocabulary of so many tokens."""

    def __init__(self, fields: EncoderDecoder, vocabulary: int, rngs: nnx.Rngs) -> None:
        normal = nnx.initializers.normal(1.0)
        self.embedding = nnx.Embed(vocabulary, fields.width, embedding_init=normal, rngs=rngs)
        for layer in range(fields.layers):
            setattr(self, f"encoder_{layer}", _EncoderBlock(fields, rngs))
            setattr(self, f"decoder_{layer}", _DecoderBlock(fields, rngs))
        self.encoder_norm = nnx.LayerNorm(fields.width, epsilon=1e-6, rngs=rngs)
        self.decoder_norm = nnx.LayerNorm(fields.width, epsilon=1e-6, rngs=rngs)
        self.layers, self.width, self.heads = fields.layers, fields.width, fields.heads

    def __call__(self, sources_BS: jax.Array, targets_BT: jax.Array) -> jax.Array:
        """Return logits_BTV of every target token, given the source and the target tokens before it."""
        return self.decode(self.encode(sources_BS), sources_BS, shifted(targets_BT))

    def encode(self, sources_BS: jax.Array) -> jax.Array:
        """Return the encoded sources, f32[B, S, D]."""
        x_BSD = self.embedding(sources_BS) + sinusoids(sources_BS.shape[1], self.width)
        seen = (sources_BS != PAD)[:, None]
        for block in self._blocks("encoder"):
            x_BSD = block(x_BSD, seen)
        output: jax.Array = self.encoder_norm(x_BSD)
        return output

    def decode(self, encoded_BSD: jax.Array, sources_BS: jax.Array, inputs_BT: jax.Array) -> jax.Array:
        """Return logits_BTV of the tokens that follow each of the inputs."""
        length = inputs_BT.shape[1]
        x_BTD = self.embedding(inputs_BT) + sinusoids(length, self.width)
        before = jnp.tril(jnp.ones((1, length, length), bool))
        for block, source in zip(self._blocks("decoder"), self.source(encoded_BSD, sources_BS), strict=True):
            normed = block.norm(x_BTD)
            own = (*block.attention.keys_values(normed), before)
            x_BTD = block(x_BTD, own, source, normed)
        return self._logits(x_BTD)

    def source(self, encoded_BSD: jax.Array, sources_BS: jax.Array) -> Source:
        """Return what the decoder attends to of encoded sources, which is the same for all tokens and beams."""
        seen = (sources_BS != PAD)[:, None]
        blocks = self._blocks("decoder")
        return [(*block.source_attention.keys_values(encoded_BSD), seen) for block in blocks]

    def cache(self, rows: int, length: int) -> Cache:
        """Return what `next_logits` remembers of at most so many tokens, none yet."""
        empty = jnp.zeros((rows, length, self.heads, self.width // self.heads))
        return [{"key": empty, "value": empty} for _ in range(self.layers)]

    def next_logits(
        self, cache: Cache, source: Source, token_R: jax.Array, place: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Return logits_RV of the token that follows one at a place, from 0, and the cache with it.

        Each source has as many rows as any other, one after another.
        """
        length = cache[0]["key"].shape[1]
        x_RTD = self.embedding(token_R[:, None]) + sinusoids(length, self.width)[place]
        until = (jnp.arange(length) <= place)[None, None]
        after = []
        for block, kept, given in zip(self._blocks("decoder"), cache, source, strict=True):
            normed = block.norm(x_RTD)
            named = zip(("key", "value"), block.attention.keys_values(normed), strict=True)
            kept = {name: kept[name].at[:, place].set(new[:, 0]) for name, new in named}
            x_RTD = block(x_RTD, (kept["key"], kept["value"], until), given, normed)
            after.append(kept)
        return self._logits(x_RTD)[:, 0], after

    def _blocks(self, side: str) -> list[Any]:
        return [getattr(self, f"{side}_{layer}") for layer in range(self.layers)]

    def _logits(self, x_BTD: jax.Array) -> jax.Array:
        return _product(self.decoder_norm(x_BTD) / math.sqrt(self.width), self.embedding.embedding[...].T)


def shifted(targets_BT: jax.Array) -> jax.Array:
    """Return the tokens before those of the targets; the first is the one that fills up rows."""
    return jnp.pad(targets_BT, ((0, 0), (1, 0)), constant_values=PAD)[:, :-1]


def sinusoids(length: int, width: int) -> Any:
    """Return the sinusoids of the first positions, f32[length, width]: all sines, then all cosines."""
    half = width // 2
    rates = np.exp(-math.log(_WAVELENGTHS) * np.arange(half) / max(half - 1, 1))
    angles = np.arange(length)[:, None] * rates
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), jnp.float32)
