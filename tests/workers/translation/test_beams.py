"""Beam search: it finds what an exhaustive search finds, and a cache changes nothing."""

import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from workers.optimizers.sgd import Sgd
from workers.translation import compiled
from workers.translation.beams import beam_search
from workers.translation.compiled import TranslationRecipe, network_of
from workers.translation.encoder_decoder import EncoderDecoder
from workers.translation.network import Cache, Source, TranslationNetwork, shifted

END, VOCABULARY, LENGTH = 1, 4, 3
ALPHA = 0.6
FIELDS = EncoderDecoder(layers=1, width=16, heads=2, mlp=32)
RECIPE = TranslationRecipe(model=FIELDS, vocabulary=20, optimizer=Sgd())


def log_probabilities(seed: int) -> np.ndarray:
    """f32[V, V]: of the next token, by the last one."""
    logits = np.random.default_rng(seed).normal(0, 1.5, (VOCABULARY, VOCABULARY))
    return np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))


def exhaustive(logs: np.ndarray, alpha: float) -> list[int]:
    """The best of all sequences that end in time."""
    best, score = [], -math.inf
    for count in range(LENGTH):
        for tokens in itertools.product([0, 2, 3], repeat=count):
            sequence = [*tokens, END]
            total = sum(logs[one, other] for one, other in itertools.pairwise([0, *sequence]))
            penalised = total / ((5 + len(sequence)) / 6) ** alpha
            if penalised > score:
                best, score = sequence, penalised
    return best + [0] * (LENGTH - len(best))


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_enough_beams_find_the_best_sequence(alpha: float) -> None:
    tables = [log_probabilities(seed) for seed in range(6)]

    def following(cache: jax.Array, sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        return cache[jnp.arange(len(cache)), sequences[:, place]], cache

    beams = VOCABULARY**LENGTH
    cache = jnp.repeat(jnp.stack(tables), beams, axis=0)
    found = beam_search(following, cache, len(tables), beams=beams, length=LENGTH, end=END, alpha=alpha)
    assert found.tolist() == [exhaustive(logs, alpha) for logs in tables]


def test_a_sequence_that_never_ends_fills_its_row() -> None:
    def following(cache: None, sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        return jnp.where(jnp.arange(VOCABULARY) == END, -1e9, jnp.arange(VOCABULARY)) * jnp.ones((2, 1)), cache

    found = beam_search(following, None, 1, beams=2, length=LENGTH, end=END, alpha=ALPHA)
    assert found.tolist() == [[3, 3, 3]]


@pytest.fixture(scope="module")
def network() -> TranslationNetwork:
    """A network of random weights, whose sentences do not end at once and differ from each other."""
    random = np.random.default_rng(4)
    shapes = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: TranslationNetwork(FIELDS, 20, nnx.Rngs(0)))))
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), shapes)
    params["embedding"]["embedding"] = params["embedding"]["embedding"].at[: END + 1].set(0.0) * 0.3
    return network_of(RECIPE, params)


def test_a_search_finds_what_one_without_a_cache_and_one_that_moves_all_find(network: TranslationNetwork) -> None:
    rows, beams, length = 3, 4, 6
    sources = np.random.default_rng(0).integers(2, 20, size=(rows, 5))
    sources[0, 3:] = 0
    repeated = jnp.repeat(jnp.asarray(sources), beams, axis=0)

    @jax.jit
    def all_three() -> list[jax.Array]:
        encoded, cache = network.encode(repeated), network.cache(rows * beams, length)
        source = network.source(network.encode(jnp.asarray(sources)), jnp.asarray(sources))

        def cached(cache: Cache, sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, Cache]:
            return network.next_logits(cache, source, sequences[:, place], place)

        def moved(both: tuple[Cache, Source], sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, Any]:
            logits, cache = network.next_logits(*both, sequences[:, place], place)
            return logits, (cache, both[1])

        def uncached(cache: None, sequences: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
            return network.decode(encoded, repeated, sequences[:, :-1])[:, place], cache

        return [
            beam_search(following, cache, rows, beams=beams, length=length, end=END, alpha=ALPHA)
            for following, cache in (
                (cached, cache),
                (moved, (cache, network.source(encoded, repeated))),
                (uncached, None),
            )
        ]

    found, moved, expected = all_three()
    assert found.tolist() == moved.tolist() == expected.tolist()
    assert len({tuple(row) for row in found.tolist()}) > 1 and len(np.unique(found)) > 3


def test_one_token_at_a_time_gives_the_logits_of_the_whole(network: TranslationNetwork) -> None:
    random = np.random.default_rng(1)
    sources, targets = (jnp.asarray(random.integers(2, 20, size=(2, 5))) for _ in range(2))

    @jax.jit
    def both() -> tuple[jax.Array, jax.Array]:
        cache, source = network.cache(2, 5), network.source(network.encode(sources), sources)
        inputs, found = shifted(targets), []
        for place in range(5):
            logits, cache = network.next_logits(cache, source, inputs[:, place], jnp.asarray(place))
            found.append(logits)
        return jnp.stack(found, axis=1), network(sources, targets)

    found, whole = both()
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_a_search_moves_nothing_that_its_beams_share(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[int, ...]] = []

    def search(following: Any, cache: Any, rows: int, **settings: Any) -> jax.Array:
        moved.extend(leaf.shape for leaf in jax.tree.leaves(cache))
        return beam_search(following, cache, rows, **settings)

    monkeypatch.setattr(compiled, "beam_search", search)
    hyper = {name: np.float32(value) for name, value in Sgd().hyper().items()}
    params, slots = jax.eval_shape(partial(compiled.initial_weights, RECIPE), hyper, jax.random.key(0))
    translate = partial(compiled.translated_batch, RECIPE, beams=4, length=6, end=END, alpha=ALPHA)
    found = jax.eval_shape(translate, params, slots, jax.ShapeDtypeStruct((3, 5), jnp.int32))
    assert found.shape == (3, 6)
    assert moved == [(3 * 4, 6, 2, 8)] * 2  # keys and values of the one layer, of the tokens so far
