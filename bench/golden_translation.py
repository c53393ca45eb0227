"""The encoder-decoder compared with an independent build in PyTorch: logits, loss, and a step of Adam.

    make bench            # or: python bench/golden_translation.py

Prints the largest relative error of every quantity. `--write FILE` stores PyTorch's results;
`tests/workers/translation/test_network.py` compares ours with them without PyTorch. Inputs are draws of NumPy's PCG64.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from workers.optimizers.adam import Adam
from workers.translation.compiled import TranslationRecipe, network_of, trained_batch
from workers.translation.encoder_decoder import EncoderDecoder
from workers.translation.network import TranslationNetwork

FIELDS = EncoderDecoder(layers=2, width=16, heads=4, mlp=24)
VOCABULARY, ROWS, LENGTH, SEED = 30, 4, 7, 5
ADAM = Adam(b1=0.9, b2=0.98, eps=1e-9)
L2, CLIP, SMOOTHING, LEARNING_RATE = 0.01, 0.5, 0.1, 0.5  # a large rate: a step spans many roundings of a weight
TOLERANCE = 1e-4

Leaves = dict[str, np.ndarray]  # by path


class Inputs(NamedTuple):
    """What both sides compute from: weights, Adam's moments, and pairs with rows that are filled up."""

    params: Leaves
    means: Leaves
    squares: Leaves
    sources: np.ndarray  # i32[ROWS, LENGTH]
    targets: np.ndarray

    @property
    def checksum(self) -> int:
        leaves = [leaf for part in self[:3] for leaf in part.values()]
        return zlib.crc32(b"".join(leaf.tobytes() for leaf in [*leaves, *self[3:]]))


def inputs() -> Inputs:
    """Draw them; scales and biases differ from their initial values, so misuse shows."""
    random = np.random.default_rng(SEED)
    abstract = nnx.eval_shape(lambda: TranslationNetwork(FIELDS, VOCABULARY, nnx.Rngs(0)))
    shapes = {path: leaf.shape for path, leaf in sorted(_by_path(nnx.to_pure_dict(nnx.state(abstract))).items())}

    def drawn(middle: float, reach: float) -> Leaves:
        return {
            path: (middle + reach * (2 * random.random(shape) - 1)).astype(np.float32) for path, shape in shapes.items()
        }

    params = drawn(0.0, 0.4)
    params |= {path: 1 + leaf for path, leaf in params.items() if path.endswith("scale")}
    means, squares = drawn(0.0, 0.02), drawn(0.001, 0.0005)
    sources, targets = (random.integers(1, VOCABULARY, size=(ROWS, LENGTH)).astype(np.int32) for _ in range(2))
    sources[1, 4:], targets[1, 5:], targets[2, 2:] = 0, 0, 0
    return Inputs(params, means, squares, sources, targets)


def ours(given: Inputs) -> dict[str, np.ndarray]:
    """Compute with the compiled functions of training."""
    recipe = TranslationRecipe(model=FIELDS, vocabulary=VOCABULARY, optimizer=ADAM.static(), label_smoothing=SMOOTHING)
    hyper = {name: jnp.float32(value) for name, value in ({"l2": L2, "clip": CLIP} | ADAM.hyper()).items()}
    params, means, squares = (unflatten_dict(jax.tree.map(jnp.asarray, part), sep="/") for part in given[:3])
    logits = jax.jit(lambda params: network_of(recipe, params)(given.sources, given.targets))(params)
    slots = ADAM.transform(hyper).init(params)._replace(mu=means, nu=squares)
    after, _, found = trained_batch(
        recipe, params, slots, hyper, given.sources, given.targets, jnp.float32(LEARNING_RATE)
    )
    measured = [found.grad_norm_sq, found.grad_dot_weight]
    return results(given, logits, found.sums.loss / found.sums.tokens, measured, _by_path(after))


def theirs(given: Inputs) -> dict[str, np.ndarray]:
    """Compute with PyTorch."""
    from reference import translation

    found = translation.outcome(
        asdict(FIELDS),
        *given,
        smoothing=SMOOTHING,
        l2=L2,
        clip=CLIP,
        learning_rate=LEARNING_RATE,
        betas=(ADAM.b1, ADAM.b2),
        eps=ADAM.eps,
    )
    return results(given, *found)


def results(given: Inputs, logits: Any, loss: Any, measured: Any, after: Any) -> dict[str, np.ndarray]:
    """Return what is compared, f64: the logits of tokens that count, the mean loss, |g|^2 and g.w, and the step by leaf."""
    steps = {
        f"step/{path}": leaf - np.asarray(after[path], np.float64).reshape(leaf.shape)
        for path, leaf in given.params.items()
    }
    whole = {"logits": np.asarray(logits)[given.targets > 0], "loss": loss, "measured": measured}
    return {name: np.asarray(value, np.float64).ravel() for name, value in (whole | steps).items()}


def errors(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the relative error of every quantity: the norm of the difference over the norm."""
    return {
        name: float(np.linalg.norm(found[name] - value) / np.linalg.norm(value)) for name, value in expected.items()
    }


def _by_path(tree: Any) -> dict[str, Any]:
    return dict(sorted(flatten_dict(tree, sep="/").items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options, _ = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")
    given = inputs()
    expected = theirs(given)
    if options.write:
        stored = {name: value.astype(np.float32) for name, value in expected.items()}
        np.savez_compressed(options.write, checksum=given.checksum, **stored)
    found = errors(ours(given), expected)
    for name in ("logits", "loss", "measured"):
        print(f"{name}: {found[name]:.1e}")
    print(f"step, largest of {len(given.params)} leaves: {max(found[f'step/{path}'] for path in given.params):.1e}")
    worst = max(found.values())
    print(f"\nTarget: at most {TOLERANCE}. Worst here: {worst:.1e}.")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
