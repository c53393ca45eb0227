"""The vision models compared with independent builds in PyTorch: evaluation, and a training step with batch statistics.

    make bench            # or: python bench/golden.py --cases resnet50

Prints the largest relative error of every quantity. `--write FOLDER` stores PyTorch's results; `tests/workers/test_golden.py`
compares ours with them without PyTorch. Networks are small. Weights, running statistics, momentum and images are uniform draws
of NumPy's PCG64, leaf by leaf in the order of their paths; files hold their checksum. `reference/` has PyTorch's side.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from workers import update
from workers.contracts import Model
from workers.models.pyramid_net import PyramidNet
from workers.models.resnet50 import Resnet50
from workers.models.vgg import Vgg5
from workers.models.vgg16 import Vgg16
from workers.models.wide_resnet import WideResnet
from workers.optimizers.sgd import Sgd

CLASSES = 10
LEARNING_RATE, MOMENTUM = 2.0, 0.9  # a large rate: a step spans many roundings of a weight
BUCKETS = 512  # numbers kept of a leaf
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, a batch, and what its step is computed with.

    Args:
        seed: of the draws. Those below were chosen, among hundreds, for the distance of all activations from the kinks of ReLU
            and max-pooling: nearer to one, another machine's rounding could take the other derivative.
        l2: larger than the paper's, so an error in the penalty shows.
        clip: smaller than the paper's, so it acts; 1000 doesn't.
    """

    model: Model
    seed: int
    shape: tuple[int, int, int]  # height, width, channels
    examples: int = 8
    l2: float = 0.01
    l2_on: Literal["all", "kernels"] = "all"
    clip: float = 2.0
    smoothing: float = 0.0


IMAGENET: dict[str, Any] = {"l2_on": "kernels", "smoothing": 0.1}
CASES = {
    "vgg5": Case(model=Vgg5(width=8), seed=31, shape=(32, 32, 3)),
    "vgg5_odd_sides": Case(model=Vgg5(width=8), seed=26, shape=(12, 20, 1), clip=1e3),
    "vgg16": Case(model=Vgg16(width=8), seed=30, shape=(32, 32, 3), examples=4),
    "wide_resnet": Case(model=WideResnet(depth=16, width=1), seed=173, shape=(16, 16, 3), **IMAGENET),
    "wide_resnet_groups": Case(model=WideResnet(depth=10, width=2, norm_examples=4), seed=68, shape=(16, 16, 3)),
    "pyramid_net": Case(model=PyramidNet(depth=11, alpha=10), seed=6, shape=(16, 16, 3)),
    "resnet50": Case(model=Resnet50(width=8), seed=225, shape=(64, 64, 3), examples=4, clip=1e3, **IMAGENET),
    "resnet50_no_stem": Case(
        model=Resnet50(width=8, blocks=(1, 1, 1, 1), stem=False), seed=118, shape=(32, 32, 3), examples=4
    ),
}


class Inputs(NamedTuple):
    """Arrays, those of the network by path, such as "block1_1/conv1/kernel"."""

    params: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]  # of batch norms
    momentum: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    draws: np.ndarray  # [blocks, 3, B]: b (0 or 1), alpha and beta of every ShakeDrop, which our model takes from JAX

    @property
    def checksum(self) -> int:
        arrays = [array for group in self[:3] for array in group.values()]
        return zlib.crc32(b"".join(array.tobytes() for array in [*arrays, *self[3:]]))


def inputs(case: Case) -> Inputs:
    """Draw what a case is computed from; scales, biases and statistics differ from their initial values, so misuse shows."""
    random = np.random.default_rng(case.seed)

    def uniform(shape: tuple[int, ...], middle: float, reach: float) -> np.ndarray:
        return (middle + reach * (2 * random.random(shape) - 1)).astype(np.float32)

    def leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
        match path.split("/")[-2:]:
            case [_, "kernel"]:
                return uniform(shape, 0.0, math.sqrt(6 / math.prod(shape[:-1])))  # variance 2 / fan in
            case ["norm3", "scale"] if isinstance(case.model, Resnet50):
                return uniform(shape, 0.0, 0.3)  # it starts at 0
            case [_, "scale" | "var"]:
                return uniform(shape, 1.0, 0.5)
        return uniform(shape, 0.0, 0.3)

    model = _abstract(case.model, case.shape)
    parts = [_by_path(nnx.to_pure_dict(part)) for part in nnx.state(model, nnx.Param, ...)]
    params, statistics = ({path: leaf(path, like.shape) for path, like in part.items()} for part in parts)
    reach = math.sqrt(3 / sum(array.size for array in params.values()))  # its norm is about 1
    momentum = {path: uniform(array.shape, 0.0, reach) for path, array in params.items()}
    images = uniform((case.examples, *case.shape), 0.0, math.sqrt(3))
    labels = (CLASSES * random.random(case.examples)).astype(np.int32)
    return Inputs(params, statistics, momentum, images, labels, _draws(case))


def _draws(case: Case) -> np.ndarray:
    rngs, drawn = nnx.Rngs(jax.random.key(case.seed)), []
    blocks = (case.model.depth - 2) // 3 if isinstance(case.model, PyramidNet) else 0
    for number in range(1, blocks + 1):
        keys, shape = jax.random.split(rngs(), 3), (case.examples,)
        kept = jax.random.bernoulli(keys[0], 1 - 0.5 * number / blocks, shape)
        drawn.append([kept, jax.random.uniform(keys[1], shape, minval=-1), jax.random.uniform(keys[2], shape)])
    return np.asarray(drawn, np.float32)


QUANTITIES = (
    "evaluated",  # [B * K]: logits with the running statistics, before the step
    "trained",  # [B * K]: logits with the batch's statistics
    "loss",  # [1]: the mean over the batch, without the penalty
    "measured",  # [2]: |g|^2 and g.w of that loss
    "step",  # parameters before minus after, sketched
    "statistics",  # running statistics after, sketched
)
Results = dict[str, list[np.ndarray]]  # by quantity, its leaves in the order of their paths


def ours(case: Case) -> Results:
    """Compute with the model, and with `workers.update.step`."""
    given, graph = inputs(case), nnx.graphdef(_abstract(case.model, case.shape))
    wanted_BK = optax.smooth_labels(jax.nn.one_hot(given.labels, CLASSES), case.smoothing)
    optimizer = Sgd(momentum=MOMENTUM, nesterov=True)
    hyper = jax.tree.map(jnp.asarray, {"l2": case.l2, "clip": case.clip} | optimizer.hyper())

    @jax.jit
    def evaluate(params: Any, statistics: Any, images_BHWC: jax.Array) -> jax.Array:
        model = nnx.merge(graph, params, statistics)
        model.eval()
        return model(images_BHWC)

    @jax.jit
    def train(params: Any, statistics: Any, momentum: Any, images_BHWC: jax.Array) -> tuple[Any, ...]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graph, params, statistics, copy=True)
            model.train()
            logits_BK = model(images_BHWC, rngs=nnx.Rngs(jax.random.key(case.seed)))
            losses_B = optax.softmax_cross_entropy(logits_BK, wanted_BK)
            return losses_B.mean(), (logits_BK, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

        (mean, (logits_BK, after)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        slots = optimizer.transform(hyper).init(params)._replace(trace=momentum)
        moved, _, measured = update.step(optimizer, case.l2_on, hyper, LEARNING_RATE, gradient, params, slots)
        return logits_BK, mean, measured, moved, after

    params, statistics, momentum = (unflatten_dict(leaves, sep="/") for leaves in given[:3])
    evaluated = evaluate(params, statistics, given.images)
    trained, mean, measured, moved, after = train(params, statistics, momentum, given.images)
    return results(given, evaluated, trained, mean, measured, _by_path(moved), _by_path(after))


def theirs(case: Case) -> tuple[Results, float]:
    """Compute with PyTorch; also return the distance of the nearest kink."""
    from reference import training

    given, network = inputs(case), training.build(asdict(case.model), case.shape, CLASSES)
    recipe = {name: getattr(case, name) for name in ("l2", "l2_on", "clip", "smoothing")}
    *found, kink = training.outcome(network, *given, learning_rate=LEARNING_RATE, decay=MOMENTUM, **recipe)
    return results(given, *found), kink


def results(given: Inputs, *found: Any) -> Results:
    """Return what is compared, from the quantities in their order and with parameters after the step."""
    *whole, params, statistics = found
    step = {path: before - np.asarray(params[path], np.float64) for path, before in given.params.items()}
    leaves = [[np.asarray(value, np.float64).ravel()] for value in whole]
    leaves += [[sketched(path, part[path]) for path in sorted(part)] for part in (step, statistics)]
    return {name: kept for name, kept in zip(QUANTITIES, leaves, strict=True) if kept}


def sketched(path: str, leaf: np.ndarray) -> np.ndarray:
    """Return a leaf, or if it is large, the sums of its numbers, with random signs, in random buckets.

    Such a count sketch has the norm of the leaf, on average over the draws, and an error anywhere in the leaf changes it.
    """
    values = np.asarray(leaf, np.float64).ravel()
    if values.size <= BUCKETS:
        return values
    random = np.random.default_rng(zlib.crc32(path.encode()))
    signs = np.where(random.random(values.size) < 0.5, -1.0, 1.0)
    return np.bincount((BUCKETS * random.random(values.size)).astype(int), signs * values, minlength=BUCKETS)


def errors(found: Results, expected: Results) -> dict[str, float]:
    """Return the largest relative error of every quantity, over its leaves: the norm of the difference over the norm."""
    pairs = {name: list(zip(found[name], leaves, strict=True)) for name, leaves in expected.items()}
    return {
        name: max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in both) for name, both in pairs.items()
    }


def _by_path(tree: Any) -> dict[str, Any]:
    return dict(sorted(flatten_dict(tree, sep="/").items()))


@cache
def _abstract(model: Model, shape: tuple[int, int, int]) -> nnx.Module:
    return nnx.eval_shape(lambda: model.build(shape, CLASSES, nnx.Rngs(0)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    options, _ = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")
    print("Largest relative error of a leaf: ours in single precision, PyTorch's in double.")
    print(f"| case | {' | '.join(QUANTITIES)} | nearest kink |\n|---|{'---|' * len(QUANTITIES)}---|")
    worst = 0.0
    for name in options.cases:
        case = CASES[name]
        expected, kink = theirs(case)
        if options.write:
            arrays = {quantity: np.concatenate(leaves).astype(np.float32) for quantity, leaves in expected.items()}
            given = {"checksum": inputs(case).checksum, "draws": inputs(case).draws}
            np.savez_compressed(options.write / f"{name}.npz", **given, **arrays)
        found = errors(ours(case), expected)
        worst = max(worst, *found.values())
        cells = [f"{found[quantity]:.1e}" if quantity in found else "-" for quantity in QUANTITIES]
        print(f"| {name} | {' | '.join(cells)} | {kink:.1e} |", flush=True)
    print(f"\nTarget: at most {TOLERANCE}. Worst here: {worst:.1e}.")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
